"""Namecheap as a Registrar.

1. getInfo says in one request who owns a domain, what a guest may do, and the nameservers.
2. A domain that is only on FreeDNS is registered elsewhere.
3. Its status `Locked` is the transfer lock, which does not stop a change of nameservers.
4. There is no API for DS. DNSSEC that was switched on at Namecheap leaves its DS behind: the parent has to
   be asked before nameservers are changed.
"""

from collections.abc import Sequence
from typing import ClassVar

from adapters.base import (
    SECONDS,
    About,
    Change,
    DomainNotInAccount,
    Locked,
    MissingPermission,
    NotSupported,
    Registrar,
    RegistrarError,
    SetsGlue,
    Validation,
    known,
    wanted,
)
from adapters.change import set_nameservers, settle
from adapters.http import Http, deadline
from adapters.namecheap.api import BASE_URL, Api, Domain, Key


class Namecheap:
    """Domains registered with Namecheap."""

    about: ClassVar[About] = About(
        name="namecheap",
        title="Namecheap",
        token_form="apiUser:apiKey[:userName][:clientIp]",  # noqa: S106 - the form, not a token
        token_url="https://ap.www.namecheap.com/settings/tools/apiaccess/",  # noqa: S106
        sets_nameservers=True,
        tells_permission=True,
        reads_ds=False,
        sets_ds=False,
        asynchronous=False,
        settles_within=60,
        propagation="minutes at the registry; resolvers may keep the old nameservers for up to 48 hours",
        notes=(
            "API access has to be switched on in the account, which Namecheap grants from 20 domains or 50 USD on.",
            "The platform's outgoing IPv4 address has to be on the list of the account's API settings.",
        ),
    )

    def __init__(self, http: Http, url: str = BASE_URL, client_ip: str | None = None) -> None:
        """`client_ip` is the IPv4 address that this service calls from, where it is known."""
        self._http = http
        self._url = url
        self._client_ip = client_ip

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """See Registrar."""
        found = await self._api(credential, within).get_info(domain)
        obstacle = _obstacle(found)
        return Validation(
            nameservers=known(found.nameservers),
            can_set_nameservers=obstacle is None,
            obstacle=obstacle,
            warnings=() if obstacle is None else (obstacle.detail,),
        )

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """See Registrar."""
        return (await self.validate(credential, domain, within=within)).nameservers

    async def set_nameservers(
        self, credential: str, domain: str, nameservers: Sequence[str], *, within: float = SECONDS
    ) -> Change:
        """See Registrar."""
        hosts = wanted(nameservers)
        api = self._api(credential, within)

        async def look() -> tuple[tuple[str, ...], RegistrarError | None]:
            found = await api.get_info(domain)
            return known(found.nameservers), _obstacle(found)

        return await set_nameservers(hosts, look, lambda: api.set_custom(domain, hosts))

    async def set_glue(
        self, credential: str, domain: str, host: str, addresses: Sequence[str], *, within: float = SECONDS
    ) -> None:
        """See SetsGlue; Namecheap takes one IPv4 address."""
        if len(addresses) != 1 or ":" in addresses[0]:
            raise NotSupported(
                f"Namecheap's API takes one IPv4 address of a nameserver; register {host} with {', '.join(addresses)}"
                " on the domain's page there (Advanced DNS, Personal DNS Server)"
            )
        address: str | None = addresses[0]
        api = self._api(credential, within)
        before: str | None = None

        async def look() -> str | None:
            nonlocal before
            before = await api.host_address(domain, host)
            return before

        await settle(address, look, lambda: api.set_host(domain, host, addresses[0], before))

    def _api(self, credential: str, within: float) -> Api:
        return Api(self._http, self._url, Key.parse(credential), self._client_ip, deadline(within))


def _obstacle(domain: Domain) -> RegistrarError | None:
    """Return why the nameservers cannot be set; raises DomainNotInAccount."""
    if not domain.owner and not domain.rights:
        raise DomainNotInAccount("the domain is not registered in this Namecheap account, at most on its FreeDNS")
    if not domain.owner and not domain.rights & {"*", "nameserver"}:
        detail = (
            "the domain's owner shares it with this account, but not its nameservers; the right `nameserver` is missing"
        )
        return MissingPermission(detail)
    if domain.status == "expired":
        return Locked("the domain has expired; renew it at Namecheap first")
    return None


_: type[Registrar] = Namecheap
__: type[SetsGlue] = Namecheap
