"""What the platform offers: pool domains, nameservers, reserved labels."""

from collections.abc import Callable

from litestar import get
from litestar.handlers import HTTPRouteHandler

from pdm_service.api.access import CHECK
from pdm_service.api.problems import CALLED, documented
from pdm_service.names.policy import Policy
from pdm_service.pools.registration import Guard
from pdm_service.pools.zones import PoolStatus
from pdm_service.wire import Dnssec, NameserversReply, PoolRegistration, PoolReply, PoolsReply, ReservedReply


def handlers(
    nameservers: tuple[str, ...], pools: dict[str, PoolStatus], guard: Guard | None, policy: Callable[[], Policy]
) -> list[HTTPRouteHandler]:
    """Return the routes that show what the platform offers."""

    @get("/v1/pools", responses=documented(*CALLED), opt=CHECK)
    async def list_pools() -> PoolsReply:
        found = [_pool(domain, pools[domain], nameservers) for domain in sorted(pools)]
        for pool in found:
            pool.registration = _registration(pool.pool_domain, guard)
        return PoolsReply(pools=found)

    @get("/v1/nameservers", responses=documented(*CALLED), opt=CHECK)
    async def list_nameservers() -> NameserversReply:
        return NameserversReply(nameservers=list(nameservers))

    @get("/v1/reserved", responses=documented(*CALLED), opt=CHECK)
    async def list_reserved() -> ReservedReply:
        words = policy().words
        by_reason = {reason: list(entries) for reason, entries in words.lists().items()}
        return ReservedReply(reserved=list(words.bare()), by_reason=by_reason)

    return [list_pools, list_nameservers, list_reserved]


def _pool(domain: str, status: PoolStatus, nameservers: tuple[str, ...]) -> PoolReply:
    return PoolReply(
        pool_domain=domain,
        state="ready" if status.ready else "pending",
        nameservers=list(nameservers),
        dnssec=Dnssec(ds=list(status.ds)) if status.ds else None,
        problems=list(status.problems) or None,
        last_error=status.last_error,
        checked_at=status.checked_at,
    )


def _registration(domain: str, guard: Guard | None) -> PoolRegistration | None:
    if guard is None or (found := guard.status.get(domain)) is None:
        return None
    return PoolRegistration(
        registrar=guard.name,
        state=found.state,
        nameservers=None if found.nameservers is None else list(found.nameservers),
        ds=None if found.ds is None else list(found.ds),
        problem=found.problem,
        checked_at=found.checked_at,
        repaired_at=found.repaired_at,
    )
