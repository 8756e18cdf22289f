"""Cloudflare as a Registrar, as far as it is one.

1. The nameservers of a domain that is registered with Cloudflare are Cloudflare's, by its terms:
   https://developers.cloudflare.com/registrar/faq/ . validate says so, with what to do instead.
2. A zone at Cloudflare does not mean that the domain is registered there; mostly it is not.
3. The nameservers that the API gives are the ones that Cloudflare has assigned. A registry may have others, for a
   registrant who is not verified for instance.
4. DS are Cloudflare's own, published by itself; they can be read.
5. Whether a good token that an account owns may read registrations is not documented: a refusal is no verdict.
"""

from collections.abc import Sequence
from typing import ClassVar

from adapters.base import (
    SECONDS,
    About,
    Change,
    DomainNotInAccount,
    Ds,
    InvalidCredential,
    ManagedByRegistrar,
    MissingPermission,
    ReadsDs,
    Registrar,
    Unavailable,
    Validation,
    known,
    wanted,
)
from adapters.cloudflare.api import BASE_URL, Api, Token, Zone
from adapters.http import Http, deadline

_REMEDY = (
    "Cloudflare does not let a domain that is registered with it use other nameservers: transfer the domain to another "
    "registrar, or delegate a sub-domain by NS records in its Cloudflare zone"
)
_ELSEWHERE = "the domain is not registered with Cloudflare, it only has a zone there; use the token of its registrar"
_CANNOT_TELL = "the token may not read registrations, so it is not known whether the domain is registered here"


class Cloudflare:
    """Domains registered with Cloudflare."""

    about: ClassVar[About] = About(
        name="cloudflare",
        title="Cloudflare",
        token_form="token",  # noqa: S106 - the form, not a token
        token_url="https://dash.cloudflare.com/profile/api-tokens",  # noqa: S106
        sets_nameservers=False,
        tells_permission=True,
        reads_ds=True,
        sets_ds=False,
        asynchronous=False,
        settles_within=60,
        propagation="never: Cloudflare does not change the nameservers of domains that are registered with it",
        notes=(_REMEDY + ".",),
    )

    def __init__(self, http: Http, url: str = BASE_URL) -> None:
        """`url` is the API's, up to and including its version."""
        self._http = http
        self._url = url

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """See Registrar."""
        zone, registered = await self._look(credential, domain, within)
        obstacle = ManagedByRegistrar(_REMEDY)
        return Validation(
            nameservers=known(zone.name_servers or ()),
            can_set_nameservers=False,
            obstacle=obstacle,
            warnings=(obstacle.detail,) if registered else (obstacle.detail, _CANNOT_TELL),
        )

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """See Registrar; those that Cloudflare has assigned."""
        zone, _ = await self._look(credential, domain, within)
        return known(zone.name_servers or ())

    async def set_nameservers(
        self, credential: str, domain: str, nameservers: Sequence[str], *, within: float = SECONDS
    ) -> Change:
        """Raise ManagedByRegistrar, asking nobody; InvalidCredential and Rejected as ever."""
        Token.parse(credential)
        wanted(nameservers)
        raise ManagedByRegistrar(_REMEDY)

    async def get_ds(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[Ds, ...]:
        """See ReadsDs; those that Cloudflare publishes for its own keys."""
        api = self._api(credential, within)
        zone, _ = await self._look(credential, domain, within)
        found = await api.get_dnssec(zone.id)
        if found.status != "active":
            return ()
        if None in (found.key_tag, found.algorithm, found.digest_type, found.digest):
            raise Unavailable("Cloudflare gave an answer that cannot be understood")
        try:
            numbers = int(found.key_tag or 0), int(found.algorithm or ""), int(found.digest_type or "")
        except ValueError:
            raise Unavailable("Cloudflare gave an answer that cannot be understood") from None
        return (Ds(*numbers, (found.digest or "").lower(), found.flags or 257, found.public_key or ""),)

    async def _look(self, credential: str, domain: str, within: float) -> tuple[Zone, bool]:
        """Return the zone of the account that the domain is registered in, and whether that is known.

        Raises DomainNotInAccount.
        """
        api = self._api(credential, within)
        maybe: Zone | None = None
        for zone in await _zones(api, Token.parse(credential), domain):
            try:
                await api.get_registration(zone.account.id, domain)
            except DomainNotInAccount:
                continue
            except (MissingPermission, InvalidCredential):
                maybe = maybe or zone
            else:
                return zone, True
        if maybe is None:
            raise DomainNotInAccount(_ELSEWHERE)
        return maybe, False

    def _api(self, credential: str, within: float) -> Api:
        return Api(self._http, self._url, Token.parse(credential), deadline(within))


async def _zones(api: Api, token: Token, domain: str) -> list[Zone]:
    """Return the domain's zones, one of each account that has one; where none can be seen, raise why."""
    try:
        zones = await api.find_zones(domain)
    except (MissingPermission, InvalidCredential) as failure:
        # "Authentication error" comes for good tokens too, for what they may not do.
        if isinstance(failure, InvalidCredential) and not failure.code == "10000":
            raise
        await _refuse_unless_active(api, token)
        if isinstance(failure, MissingPermission):
            raise
        raise MissingPermission("the Cloudflare token may not read this; it needs Zone Read, for this domain") from None
    if not zones:
        await _refuse_unless_active(api, token, may_look=True)
        raise DomainNotInAccount("Cloudflare shows no zone of that domain to this token")
    return zones


async def _refuse_unless_active(api: Api, token: Token, *, may_look: bool = False) -> None:
    """Raise InvalidCredential for a token that is expired, disabled or unknown; one of an account cannot be asked."""
    if token.of_account:
        return
    try:
        status = await api.verify()
    except InvalidCredential:
        # What may look is known; refused here, it is an account's, of the time when those had no prefix.
        if may_look:
            return
        raise
    if status != "active":
        raise InvalidCredential(
            f"the Cloudflare token is {status if status in {'expired', 'disabled'} else 'not active'}"
        )


_: type[Registrar] = Cloudflare
__: type[ReadsDs] = Cloudflare
