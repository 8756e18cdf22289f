"""The v1 API."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict
from urllib.parse import parse_qsl

from litestar import MediaType, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Operation, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import Scope
from msgspec.json import Encoder

from pdm_service import names, reserved
from pdm_service.allocator import Allocator, Held, Verdict
from pdm_service.api.problems import told
from pdm_service.api.replies import IdempotencyKey, Tell, actor, committed
from pdm_service.byo import Byo, Commit
from pdm_service.errors import InvalidAddress, InvalidBody, InvalidQuery, MissingAddress
from pdm_service.guard import Guard
from pdm_service.model import Allocation, Mode
from pdm_service.pools import PoolStatus
from pdm_service.store import Actor, Filter, place_of
from pdm_service.wire import (
    AllocationPage,
    AllocationReply,
    CheckReply,
    CommitRequest,
    Dnssec,
    EventPage,
    EventReply,
    NameserversReply,
    PoolRegistration,
    PoolReply,
    PoolsReply,
    ReleaseRequest,
    RenewRequest,
    ReservedReply,
    ReserveRequest,
)

_HELD = (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 502, 503)
_GIVEN_BACK = (400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503)

Limit = Annotated[int, QueryParameter(ge=1, le=500, required=False)]
State = Literal["", "reserved", "active", "releasing"]


def handlers(allocator: Allocator, byo: Byo, tell: Tell) -> list[HTTPRouteHandler]:
    """Return the routes of the allocations' life."""

    # The one route that is asked at every keystroke: it spares itself what the framework does for others.
    @get(
        "/v1/check",
        operation_class=CheckOperation,
        responses={200: ResponseSpec(CheckReply, description="OK", generate_examples=False), **told(503)},
    )
    async def check(scope: Scope) -> ASGIResponse:
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        verdict = await allocator.check(asked.get("poolDomain", ""), asked.get("subdomain", ""))
        return ASGIResponse(body=_encode(checked(verdict)), media_type=MediaType.JSON)

    @post("/v1/reserve", status_code=201, responses=told(400, 409, 413, 415, 422, 503))
    async def reserve(data: JSONBody[ReserveRequest], idempotency_key: IdempotencyKey = None) -> AllocationReply:
        held = await _reserved(allocator, byo, data, idempotency_key)
        return tell(held.allocation, held.token)

    @post("/v1/renew", status_code=200, responses=told(*_HELD))
    async def renew(data: JSONBody[RenewRequest]) -> AllocationReply:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        verbs = byo if byo.concerns(fqdn) else allocator
        return tell(await verbs.renew(fqdn, data.reservation_token, data.ttl_seconds, actor()))

    @post("/v1/commit", status_code=200, responses=told(*_HELD, late=AllocationReply))
    async def commit(data: JSONBody[CommitRequest]) -> Response[AllocationReply]:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        return committed(await _committed(allocator, byo, fqdn, data), tell)

    @post("/v1/release", status_code=200, responses=told(*_GIVEN_BACK, late=AllocationReply))
    async def release(data: JSONBody[ReleaseRequest]) -> Response[AllocationReply]:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        allocation, free = await _released(allocator, byo, fqdn, data)
        return Response(tell(allocation), status_code=200 if free else 202)

    @delete(
        "/v1/allocations/{fqdn:str}", status_code=200, responses=told(400, 404, 409, 422, 503, late=AllocationReply)
    )
    async def release_by_name(
        fqdn: FromPath[str], *, force: Annotated[bool, QueryParameter(required=False)] = False
    ) -> Response[AllocationReply]:
        allocation, free = await _released(allocator, byo, names.domain(fqdn), ReleaseRequest(force=force))
        return Response(tell(allocation), status_code=200 if free else 202)

    return [check, reserve, renew, commit, release, release_by_name, *_looking(allocator, byo, tell)]


# --- which verbs: a pool name's, or those of a customer's domain ----------------------------------------


class Terms(TypedDict):
    """What a reserve is asked with, in every mode."""

    created_by: str | None
    ttl_seconds: int | None
    key: str | None
    actor: Actor


async def _reserved(allocator: Allocator, byo: Byo, data: ReserveRequest, key: str | None) -> Held:
    more: Terms = {
        "created_by": data.created_by,
        "ttl_seconds": data.ttl_seconds,
        "key": key,
        "actor": actor(),
    }
    if data.mode == "pool":
        pool, label = _required(poolDomain=data.pool_domain, subdomain=data.subdomain)
        _unwanted(data.mode, domain=data.domain)
        return await allocator.reserve(pool, label, **more)
    (domain,) = _required(domain=data.domain)
    _unwanted(data.mode, poolDomain=data.pool_domain, subdomain=data.subdomain)
    return await byo.reserve(Mode(data.mode), domain, **more)


async def _committed(allocator: Allocator, byo: Byo, fqdn: str, data: CommitRequest) -> Allocation:
    addresses = _addresses(data)
    if not byo.concerns(fqdn):
        return await allocator.commit(fqdn, data.reservation_token, addresses, data.sovereign_fqdn, actor())
    order = Commit(
        fqdn=fqdn,
        token=data.reservation_token,
        addresses=addresses,
        sovereign_fqdn=data.sovereign_fqdn,
        registrar=data.registrar,
        registrar_token=data.registrar_token,
        acknowledged=tuple(data.acknowledge),
        imports=tuple((one.name.strip().removesuffix(".").lower(), one.type.strip().upper()) for one in data.imports),
    )
    return await byo.commit(order, actor())


async def _released(allocator: Allocator, byo: Byo, fqdn: str, data: ReleaseRequest) -> tuple[Allocation, bool]:
    if not byo.concerns(fqdn):
        return await allocator.release(fqdn, data.reservation_token, actor())
    return await byo.release(
        fqdn,
        data.reservation_token,
        force=data.force,
        registrar=data.registrar,
        registrar_token=data.registrar_token,
        actor=actor(),
    )


def _required(**fields: str | None) -> list[str]:
    """Return the values of fields that this mode needs; raises InvalidBody."""
    if missing := [name for name, value in fields.items() if value is None]:
        raise InvalidBody(f"Object missing required field `{missing[0]}`")
    return [value for value in fields.values() if value is not None]


def _unwanted(mode: str, **fields: str | None) -> None:
    """Raise InvalidBody for fields that belong to another mode."""
    if present := [name for name, value in fields.items() if value is not None]:
        raise InvalidBody(f"{present[0]} is not a field of a reserve with mode {mode}")


def _looking(allocator: Allocator, byo: Byo, tell: Tell) -> list[HTTPRouteHandler]:
    @get("/v1/allocations", responses=told(400, 422, 503))
    async def allocations(
        pool_domain: Annotated[str, QueryParameter(name="poolDomain", required=False)] = "",
        mode: Annotated[Literal["", "pool", "byo-manual", "byo-api"], QueryParameter(required=False)] = "",
        allocation_state: Annotated[State, QueryParameter(name="state", required=False)] = "",
        created_by: Annotated[str, QueryParameter(name="createdBy", required=False)] = "",
        limit: Limit = 100,
        cursor: Annotated[str, QueryParameter(required=False)] = "",
    ) -> AllocationPage:
        wanted = Filter(
            pool_domain=allocator.pool(pool_domain) if pool_domain else None,
            mode=mode or None,
            state=allocation_state or None,
            created_by=names.text("createdBy", created_by) if created_by else None,
        )
        found = await allocator.page(wanted, _from_cursor(cursor), limit + 1)
        following = _to_cursor(place_of(found[limit - 1])) if len(found) > limit else None
        return AllocationPage(allocations=[tell(one) for one in found[:limit]], next_cursor=following)

    @get("/v1/allocations/{fqdn:str}", responses=told(404, 422, 503))
    async def allocation(fqdn: FromPath[str]) -> AllocationReply:
        name = names.domain(fqdn)
        return tell(await byo.find(name) if byo.concerns(name) else await allocator.find(name))

    @get("/v1/allocations/{fqdn:str}/events", responses=told(400, 404, 422, 503))
    async def events(
        fqdn: FromPath[str], limit: Limit = 100, cursor: Annotated[str, QueryParameter(required=False)] = ""
    ) -> EventPage:
        after = _from_cursor(cursor)
        if after and not (after.isdecimal() and len(after) < 18):
            raise InvalidQuery(_BAD_CURSOR)
        found = await allocator.events(fqdn, int(after or 0), limit + 1)
        trail = [
            EventReply(
                at=one.at,
                action=one.action,
                actor=one.actor,
                request_id=one.request_id,
                from_state=one.from_state,
                to_state=one.to_state,
                outcome=one.outcome,
            )
            for one in found[:limit]
        ]
        following = _to_cursor(str(found[limit - 1].id)) if len(found) > limit else None
        return EventPage(fqdn=names.domain(fqdn), events=trail, next_cursor=following)

    return [allocations, allocation, events]


def platform(nameservers: tuple[str, ...], pools: dict[str, PoolStatus], guard: Guard | None) -> list[HTTPRouteHandler]:
    """Return the routes that tell what the platform offers."""

    @get("/v1/pools")
    async def list_pools() -> PoolsReply:
        found = [_pool(domain, pools[domain], nameservers) for domain in sorted(pools)]
        for pool in found:
            pool.registration = _registration(pool.pool_domain, guard)
        return PoolsReply(pools=found)

    @get("/v1/nameservers")
    async def list_nameservers() -> NameserversReply:
        return NameserversReply(nameservers=list(nameservers))

    @get("/v1/reserved")
    async def list_reserved() -> ReservedReply:
        by_reason = {reason: list(entries) for reason, entries in reserved.lists().items()}
        return ReservedReply(reserved=list(reserved.words()), by_reason=by_reason)

    return [list_pools, list_nameservers, list_reserved]


@dataclass
class CheckOperation(Operation):
    """What the API's document says of a check, which reads its query itself."""

    def __post_init__(self) -> None:
        """Name the parameters."""
        text = Schema(type=OpenAPIType.STRING)
        self.parameters = [
            OpenAPIParameter(name=name, param_in="query", schema=text) for name in ("poolDomain", "subdomain")
        ]


_encode = Encoder().encode


def checked(verdict: Verdict) -> CheckReply:
    """Return the reply that tells whether a name is free."""
    return CheckReply(available=verdict.reason is None, reason=verdict.reason, detail=verdict.detail, fqdn=verdict.fqdn)


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


def _addresses(data: JSONBody[CommitRequest]) -> list[str]:
    single = [] if data.load_balancer_ip is None else [data.load_balancer_ip]
    if data.load_balancer_ips is None:
        if not any(single):
            msg = "a commit needs loadBalancerIP or loadBalancerIPs"
            raise MissingAddress(msg)
        return single
    if single and names.addresses(single)[0] not in names.addresses(data.load_balancer_ips):
        msg = "loadBalancerIP is not one of loadBalancerIPs; send one of the two"
        raise InvalidAddress(msg)
    return data.load_balancer_ips


_BAD_CURSOR = "that cursor was not made by this list"


def _to_cursor(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> str:
    try:
        last = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise InvalidQuery(_BAD_CURSOR) from error
    if not last.isprintable():
        raise InvalidQuery(_BAD_CURSOR)
    return last
