"""The verbs on /v1: check, reserve, renew, commit, release."""

from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import parse_qsl

from litestar import MediaType, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Operation, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse
from litestar.types import Scope
from msgspec.json import Encoder

from pdm_service import names
from pdm_service.allocator.customer_domains import Byo, Commit
from pdm_service.allocator.pool_names import Allocator, Held, Verdict
from pdm_service.api.access import ALLOCATE, CHECK, Checks
from pdm_service.api.problems import CALLED, told
from pdm_service.api.replies import AllocationKey, IdempotencyKey, Tell, actor, committed
from pdm_service.callers import Actor
from pdm_service.callers import gate as auth
from pdm_service.errors import InvalidAddress, InvalidBody, MissingAddress
from pdm_service.model.allocation import Allocation, Mode
from pdm_service.wire import (
    AllocationReply,
    CheckReply,
    CommitRequest,
    ReleaseRequest,
    RenewRequest,
    ReserveRequest,
)

_HELD = (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 502, 503)
_GIVEN_BACK = (400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503)


def handlers(allocator: Allocator, byo: Byo, tell: Tell, checks: Checks) -> list[HTTPRouteHandler]:
    """Return the routes of the allocations' life."""

    # The one route that is asked at every keystroke: it spares itself what the framework does for others.
    @get(
        "/v1/check",
        operation_class=CheckOperation,
        responses={
            200: ResponseSpec(CheckReply, description="OK", generate_examples=False),
            **told(401, 403, 429, 503),
        },
        opt=CHECK,
    )
    async def check(scope: Scope) -> ASGIResponse:
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        pool, label = asked.get("poolDomain", ""), asked.get("subdomain", "")
        client = auth.client.get()
        verdict = SLOW_DOWN
        if checks.allowed(client, address(scope)):
            verdict = await allocator.check(
                pool, label, client.actor(None), tenant=asked.get("tenant"), key=_allocation_key(scope)
            )
        return ASGIResponse(body=_encode(checked(verdict)), media_type=MediaType.JSON)

    @post("/v1/reserve", status_code=201, responses=told(400, 409, 413, 415, 422, 503, *CALLED), opt=ALLOCATE)
    async def reserve(
        data: JSONBody[ReserveRequest], idempotency_key: IdempotencyKey = None, allocation_key: AllocationKey = None
    ) -> AllocationReply:
        held = await _reserved(allocator, byo, data, idempotency_key, allocation_key)
        return tell(held.allocation, held.token, held.warning)

    @post("/v1/renew", status_code=200, responses=told(*_HELD), opt=ALLOCATE)
    async def renew(data: JSONBody[RenewRequest]) -> AllocationReply:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        verbs = byo if byo.concerns(fqdn) else allocator
        return tell(await verbs.renew(fqdn, data.reservation_token, data.ttl_seconds, actor()))

    @post("/v1/commit", status_code=200, responses=told(*_HELD, late=AllocationReply), opt=ALLOCATE)
    async def commit(data: JSONBody[CommitRequest]) -> Response[AllocationReply]:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        return committed(await _committed(allocator, byo, fqdn, data), tell)

    @post("/v1/release", status_code=200, responses=told(*_GIVEN_BACK, late=AllocationReply), opt=ALLOCATE)
    async def release(data: JSONBody[ReleaseRequest]) -> Response[AllocationReply]:
        fqdn = allocator.fqdn(data.fqdn, data.pool_domain, data.subdomain)
        allocation, free = await released(allocator, byo, fqdn, data)
        return Response(tell(allocation), status_code=200 if free else 202)

    return [check, reserve, renew, commit, release]


# --- which verbs: a pool name's, or those of a customer's domain ----------------------------------------


class Terms(TypedDict):
    """What a reserve is asked with, in every mode."""

    created_by: str | None
    ttl_seconds: int | None
    key: str | None
    actor: Actor
    tenant: str | None


async def _reserved(
    allocator: Allocator, byo: Byo, data: ReserveRequest, key: str | None, allocation_key: str | None
) -> Held:
    more: Terms = {
        "created_by": data.created_by,
        "ttl_seconds": data.ttl_seconds,
        "key": key,
        "actor": actor(),
        "tenant": data.tenant,
    }
    if data.mode == "pool":
        pool, label = _required(poolDomain=data.pool_domain, subdomain=data.subdomain)
        _unwanted(data.mode, domain=data.domain)
        return await allocator.reserve(pool, label, allocation_key=allocation_key, **more)
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


async def released(allocator: Allocator, byo: Byo, fqdn: str, data: ReleaseRequest) -> tuple[Allocation, bool]:
    """Give a name back by the verbs that it has; return the allocation and whether the name is free already."""
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


@dataclass
class CheckOperation(Operation):
    """What the API's document says of a check, which reads its query itself."""

    def __post_init__(self) -> None:
        """Name the parameters."""
        text = Schema(type=OpenAPIType.STRING)
        self.parameters = [
            OpenAPIParameter(name=name, param_in="query", schema=text) for name in ("poolDomain", "subdomain", "tenant")
        ]


_encode = Encoder().encode
SLOW_DOWN = Verdict(reason="rate-limited", detail="too many names were looked up; wait a little")


def address(scope: Scope) -> str:
    """Return the address of who calls."""
    return (scope["client"] or ("",))[0]


def _allocation_key(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"pdm-allocation-key"]
    return found[0].decode("latin-1") if found else None


def checked(verdict: Verdict) -> CheckReply:
    """Return the reply that tells whether a name is free."""
    return CheckReply(
        available=verdict.reason is None,
        reason=verdict.reason,
        detail=verdict.detail,
        fqdn=verdict.fqdn,
        warning=verdict.warning,
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
