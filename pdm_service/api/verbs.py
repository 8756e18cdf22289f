"""The verbs on /v1 that change something: reserve, renew, commit, release."""

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from pdm_service import names
from pdm_service.allocator import Allocator, Commit, Held, Registrar, Release, Terms
from pdm_service.api.access import ALLOCATE
from pdm_service.api.problems import CALLED, documented
from pdm_service.api.replies import AllocationKey, IdempotencyKey, Tell, actor, committed
from pdm_service.callers import Rates
from pdm_service.callers.gate import calling
from pdm_service.errors import InvalidAddress, InvalidBody, MissingAddress
from pdm_service.model.allocation import Mode
from pdm_service.wire import (
    AllocationReply,
    CommitRequest,
    ReleaseRequest,
    RenewRequest,
    ReserveRequest,
)

_HELD = (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 502, 503)
_GIVEN_BACK = (400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503)


def handlers(allocator: Allocator, tell: Tell, rates: Rates) -> list[HTTPRouteHandler]:
    """Return the routes of the allocations' life."""

    @post("/v1/reserve", status_code=201, responses=documented(400, 409, 413, 415, 422, 503, *CALLED), opt=ALLOCATE)
    async def reserve(
        data: JSONBody[ReserveRequest], idempotency_key: IdempotencyKey = None, allocation_key: AllocationKey = None
    ) -> AllocationReply:
        if data.mode != "pool":
            rates.take(calling.get(), "claims")
        held = await _reserved(allocator, data, idempotency_key, allocation_key)
        return tell(held.allocation, held.token, held.warning)

    @post("/v1/renew", status_code=200, responses=documented(*_HELD), opt=ALLOCATE)
    async def renew(data: JSONBody[RenewRequest]) -> AllocationReply:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        rates.take(calling.get(), "renewals")
        return tell(await allocator.renew(fqdn, data.reservation_token, data.ttl_seconds, actor()))

    @post("/v1/commit", status_code=200, responses=documented(*_HELD, late=AllocationReply), opt=ALLOCATE)
    async def commit(data: JSONBody[CommitRequest]) -> Response[AllocationReply]:
        made = await allocator.commit(_commit(allocator, data), actor())
        return committed(made.allocation, tell, made.problems)

    @post("/v1/release", status_code=200, responses=documented(*_GIVEN_BACK, late=AllocationReply), opt=ALLOCATE)
    async def release(data: JSONBody[ReleaseRequest]) -> Response[AllocationReply]:
        allocation, free = await allocator.release(_release(allocator, data), actor())
        return Response(tell(allocation), status_code=200 if free else 202)

    return [reserve, renew, commit, release]


async def _reserved(
    allocator: Allocator, data: ReserveRequest, key: str | None, allocation_key: str | None
) -> Held:  # fmt: skip
    """Reserve in the mode that the request says; raises as the reserves of the modes, and InvalidBody."""
    terms = Terms(
        created_by=data.created_by,
        ttl_seconds=data.ttl_seconds,
        key=key,
        tenant=data.tenant,
        acknowledged=tuple(data.acknowledge),
    )
    if data.mode == "pool":
        pool, label = _required(poolDomain=data.pool_domain, subdomain=data.subdomain)
        _unwanted(data.mode, domain=data.domain, acknowledge=data.acknowledge or None)
        return await allocator.pool_names.reserve(pool, label, terms, actor(), allocation_key)
    (domain,) = _required(domain=data.domain)
    _unwanted(data.mode, poolDomain=data.pool_domain, subdomain=data.subdomain)
    return await allocator.customer_domains.reserve(Mode(data.mode), domain, terms, actor())


def _commit(allocator: Allocator, data: CommitRequest) -> Commit:
    return Commit(
        fqdn=allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain),
        token=data.reservation_token,
        addresses=_addresses(data),
        sovereign_fqdn=data.sovereign_fqdn,
        registrar=Registrar(name=data.registrar, token=data.registrar_token),
        acknowledged=tuple(data.acknowledge),
        imports=tuple((f"{_plain(one.name)}.", one.type.strip().upper()) for one in data.imports),
        zonefile=data.import_zonefile,
    )


def _release(allocator: Allocator, data: ReleaseRequest) -> Release:
    return Release(
        fqdn=allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain),
        token=data.reservation_token or None,
        force=data.force,
        registrar=Registrar(name=data.registrar, token=data.registrar_token),
    )


def _plain(name: str) -> str:
    return name.strip().removesuffix(".").lower()


def _required(**fields: str | None) -> list[str]:
    """Return the values of fields that this mode needs; raises InvalidBody."""
    if missing := [name for name, value in fields.items() if value is None]:
        raise InvalidBody(f"Object missing required field `{missing[0]}`")
    return [value for value in fields.values() if value is not None]


def _unwanted(mode: str, **fields: object) -> None:
    """Raise InvalidBody for fields that belong to another mode."""
    if present := [name for name, value in fields.items() if value is not None]:
        raise InvalidBody(f"{present[0]} is not a field of a reservation with mode {mode}")


def _addresses(data: JSONBody[CommitRequest]) -> list[str]:
    single = [] if data.load_balancer_ip is None else [data.load_balancer_ip]
    if data.load_balancer_ips is None:
        if not any(single):
            msg = "a commit needs loadBalancerIP or loadBalancerIPs"
            raise MissingAddress(msg)
        return single
    if single and names.addresses(single)[0] not in names.addresses(data.load_balancer_ips):
        msg = "loadBalancerIP is not one of loadBalancerIPs; send only one of the two"
        raise InvalidAddress(msg)
    return data.load_balancer_ips
