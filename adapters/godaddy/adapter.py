"""GoDaddy as a Registrar.

1. Nothing lets one find out whether a credential may change nameservers: the first change shows it.
2. `transferLock` and `locked` stop transfers, not changes of nameservers.
3. A domain that was moved away still answers, with a status that says so, and one that only has its DNS at
   GoDaddy answers too. v1 has more words for it than v3.
4. There is no DS in v3. In v2 it takes a customer id, which a classic key cannot find out.
"""

from collections.abc import Sequence
from typing import ClassVar
from uuid import uuid4

from adapters.base import (
    SECONDS,
    About,
    Change,
    DomainNotInAccount,
    Follows,
    KnowsRepeats,
    Locked,
    NotSupported,
    Pending,
    Progress,
    Registrar,
    RegistrarError,
    Rejected,
    Validation,
    known,
    wanted,
)
from adapters.change import set_nameservers
from adapters.godaddy.api import BASE_URL, V1, V3, Api, Domain, Key, Taken, failure_of, is_operation_id
from adapters.http import Http, deadline

_GONE = {
    "TRANSFERRED", "TRANSFERRED_OUT", "CANCELLED", "REPOSSESSED", "CONFISCATED", "OWNERSHIP_CHANGED",
    "UPDATED_OWNERSHIP", "FAILED",
}  # fmt: skip
_ELSEWHERE = {"PENDING_DNS_ACTIVE", "PENDING_DNS_INACTIVE"}
_STOPPED = (
    "EXPIRED", "HELD_", "LOCKED_", "SUSPENDED", "DELETED_", "CANCELLED_", "PENDING_TRANSFER", "PENDING_REGISTRATION",
    "PARKED_EXPIRED", "PARKED_AND_HELD",
)  # fmt: skip
"""Beginnings of statuses. Those that the documents don't have are for GoDaddy to judge."""
_CANNOT_TELL = "GoDaddy offers no way to find out whether the token may change nameservers; the first change will tell"


class GoDaddy:
    """Domains registered with GoDaddy."""

    about: ClassVar[About] = About(
        name="godaddy",
        title="GoDaddy",
        token_form="key:secret, or a personal access token gd_pat_…",  # noqa: S106 - the form, not a token
        token_url="https://developer.godaddy.com/keys",  # noqa: S106
        sets_nameservers=True,
        tells_permission=False,
        reads_ds=False,
        sets_ds=False,
        asynchronous=True,
        settles_within=900,
        propagation="minutes at the registry; resolvers may keep the old nameservers for up to 48 hours",
        notes=(
            "A personal access token needs the scopes domains.domain:read and domains.nameserver:update, and expires.",
            "Classic keys (key:secret) end with 2026. GoDaddy does not open its API to every account.",
        ),
    )

    def __init__(self, http: Http, url: str = BASE_URL) -> None:
        """`url` is the root that /v1 and /v3 are below."""
        self._http = http
        self._url = url

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """See Registrar."""
        found = await self._api(credential, within).get_domain(domain)
        obstacle = _obstacle(found)
        return Validation(
            nameservers=known(found.name_servers or ()),
            can_set_nameservers=None if obstacle is None else False,
            obstacle=obstacle,
            warnings=(_CANNOT_TELL if obstacle is None else obstacle.detail,),
        )

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """See Registrar."""
        return (await self.validate(credential, domain, within=within)).nameservers

    async def set_nameservers(
        self,
        credential: str,
        domain: str,
        nameservers: Sequence[str],
        *,
        within: float = SECONDS,
        key: str | None = None,
    ) -> Change:
        """See Registrar, and KnowsRepeats."""
        hosts = wanted(nameservers)
        api = self._api(credential, within)

        async def look() -> tuple[tuple[str, ...], RegistrarError | None]:
            found = await api.get_domain(domain)
            return known(found.name_servers or ()), _obstacle(found)

        async def write() -> Pending | None:
            return _pending(await api.set_nameservers(domain, hosts, key or str(uuid4())), credential)

        return await set_nameservers(hosts, look, write)

    def knows_repeats(self, credential: str) -> bool:
        """See KnowsRepeats; with a personal access token it does."""
        return not Key.parse(credential).classic

    async def progress(self, credential: str, domain: str, operation: str, *, within: float = SECONDS) -> Progress:
        """See Follows; raises NotSupported for a classic key, which has no operations."""
        key = Key.parse(credential)
        if key.classic:
            raise NotSupported("GoDaddy's classic keys have no operations to ask about; read the nameservers again")
        if not is_operation_id(operation):
            raise Rejected("that is not an operation of GoDaddy")
        taken = await self._taken(V3(self._http, self._url, key, deadline(within)), domain, operation)
        if taken.operation.status == "FAILED":
            return Progress(done=False, failed=failure_of(taken.operation.error, credential))
        return Progress(done=taken.operation.status == "COMPLETED", poll_after_seconds=taken.poll_after_seconds)

    @staticmethod
    async def _taken(api: V3, domain: str, operation: str) -> Taken:
        """Return an operation of the domain; raises Rejected where GoDaddy has none of that id."""
        try:
            taken = await api.get_operation(operation)
        except DomainNotInAccount:
            await api.get_domain(domain)
            raise Rejected("GoDaddy does not know that operation; see what it has on record instead") from None
        if taken.operation.domain and known([taken.operation.domain]) != known([domain]):
            raise Rejected("that operation of GoDaddy is one of another domain")
        return taken

    def _api(self, credential: str, within: float) -> Api:
        key = Key.parse(credential)
        return (V1 if key.classic else V3)(self._http, self._url, key, deadline(within))


def _obstacle(domain: Domain) -> RegistrarError | None:
    """Return why the nameservers cannot be set; raises DomainNotInAccount."""
    if domain.status in _GONE:
        raise DomainNotInAccount("the domain is not in this GoDaddy account, or no longer", domain.status)
    if domain.status in _ELSEWHERE:
        detail = "the domain has only its DNS at GoDaddy, and is registered elsewhere; use the token of its registrar"
        raise DomainNotInAccount(detail, domain.status)
    if domain.status.startswith(_STOPPED):
        return Locked("the domain's status at GoDaddy does not allow changes")
    return None


def _pending(taken: Taken | None, credential: str) -> Pending | None:
    if taken is None or taken.operation.status == "COMPLETED":
        return None
    if taken.operation.status == "FAILED":
        raise failure_of(taken.operation.error, credential)
    return Pending(taken.operation.operation_id, taken.poll_after_seconds)


_: type[Registrar] = GoDaddy
__: type[Follows] = GoDaddy
___: type[KnowsRepeats] = GoDaddy
