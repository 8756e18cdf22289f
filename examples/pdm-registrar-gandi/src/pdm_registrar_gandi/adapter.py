"""Gandi as a Registrar.

1. A change of nameservers is taken (202) and carried out later; there is nothing to ask about it, so it is read again.
2. What a token may do cannot be read; the first change tells.
3. A domain that the token must not see is refused like one that it may not change; the token's list tells them apart.
4. A DS is set by its DNSKEY, one at a time; Gandi makes the digest, with SHA-256.
"""

from collections.abc import Sequence
from typing import ClassVar

from adapters.base import (
    SECONDS,
    About,
    Change,
    DomainNotInAccount,
    Ds,
    DsRdata,
    Locked,
    MissingPermission,
    NotSupported,
    Pending,
    Registrar,
    RegistrarError,
    SetsDs,
    Validation,
    known,
    wanted,
)
from adapters.change import set_nameservers, settle
from adapters.http import Http, deadline
from pdm_registrar_gandi.api import BASE_URL, PERMISSION, Api, DnsKey, Domain, Token

_SHA256 = 2
# RFC 5731 section 2.3: with these the registry refuses an update.
_STOPPED = {
    "clientUpdateProhibited", "serverUpdateProhibited", "pendingCreate", "pendingDelete", "pendingTransfer",
    "pendingUpdate", "redemptionPeriod",
}  # fmt: skip
_CANNOT_TELL = "Gandi does not tell what a token may do; the first change will show whether it may change nameservers"


class Gandi:
    """Domains registered with Gandi."""

    about: ClassVar[About] = About(
        name="gandi",
        title="Gandi",
        token_form="personalAccessToken",  # noqa: S106 - the form, not a token
        token_url="https://admin.gandi.net/organizations/account/pat",  # noqa: S106
        sets_nameservers=True,
        tells_permission=False,
        reads_ds=True,
        sets_ds=True,
        asynchronous=True,
        settles_within=3600,
        propagation="minutes at Gandi; resolvers may keep the old nameservers for up to 48 hours",
        notes=(f'The token needs the permission "{PERMISSION}".',),
    )

    def __init__(self, http: Http, url: str = BASE_URL) -> None:
        """`url` is Gandi's or its sandbox's, up to and including /v5."""
        self._http = http
        self._url = url

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """See Registrar."""
        found = await _domain(self._api(credential, within), domain)
        obstacle = _obstacle(found)
        return Validation(
            nameservers=known(found.nameservers),
            can_set_nameservers=None if obstacle is None else False,
            obstacle=obstacle,
            warnings=(_CANNOT_TELL if obstacle is None else obstacle.detail,),
        )

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """See Registrar."""
        return known((await _domain(self._api(credential, within), domain)).nameservers)

    async def set_nameservers(
        self, credential: str, domain: str, nameservers: Sequence[str], *, within: float = SECONDS
    ) -> Change:
        """See Registrar."""
        hosts = wanted(nameservers)
        api = self._api(credential, within)

        async def look() -> tuple[tuple[str, ...], RegistrarError | None]:
            found = await _domain(api, domain)
            return known(found.nameservers), _obstacle(found)

        return await set_nameservers(hosts, look, lambda: api.set_nameservers(domain, hosts))

    async def get_ds(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[Ds, ...]:
        """See ReadsDs."""
        return tuple(sorted(_ds(key) for key in await self._api(credential, within).dnskeys(domain)))

    async def set_ds(
        self, credential: str, domain: str, ds: Sequence[Ds], *, within: float = SECONDS
    ) -> Pending | None:
        """See SetsDs; raises NotSupported where a DS comes without its key, or is not of SHA-256."""
        api = self._api(credential, within)
        new = {one.rdata: _key(one) for one in ds}

        async def look() -> frozenset[DsRdata]:
            return frozenset(_ds(key).rdata for key in await api.dnskeys(domain))

        async def write() -> None:
            # New ones first: of the DS at the registry one fits at any time.
            old = {_ds(key).rdata: key.id for key in await api.dnskeys(domain)}
            for rdata in new.keys() - old.keys():
                await api.add_dnskey(domain, *new[rdata])
            for rdata in old.keys() - new.keys():
                await api.delete_dnskey(domain, old[rdata])

        return await settle(frozenset(new), look, write)

    def _api(self, credential: str, within: float) -> Api:
        return Api(self._http, self._url, Token.parse(credential), deadline(within))


async def _domain(api: Api, domain: str) -> Domain:
    """Return a domain; raises DomainNotInAccount where the token's list does not have it."""
    try:
        return await api.get_domain(domain)
    except MissingPermission:
        if await api.has(domain):
            raise
    raise DomainNotInAccount("the domain is not in this Gandi account, or the token must not see it")


def _obstacle(domain: Domain) -> RegistrarError | None:
    """Return why the nameservers cannot be set."""
    if _STOPPED.isdisjoint(domain.status):
        return None
    return Locked("the domain's status at Gandi does not allow changes: a lock, its expiry, or a change under way")


def _ds(key: DnsKey) -> Ds:
    flags = 257 if key.type.lower() == "ksk" else 256
    return Ds(key.key_tag, key.algorithm, key.digest_type, key.digest.lower(), flags, key.public_key)


def _key(ds: Ds) -> tuple[int, str]:
    """Return what Gandi takes for a DS; raises NotSupported."""
    if not ds.public_key:
        raise NotSupported("Gandi takes the DNSKEY, not the DS alone")
    if ds.digest_type != _SHA256 or ds.flags != 257:
        raise NotSupported("Gandi makes the DS by itself, of a key-signing key and with SHA-256 (digest type 2)")
    return ds.algorithm, ds.public_key


_: type[Registrar] = Gandi
__: type[SetsDs] = Gandi
