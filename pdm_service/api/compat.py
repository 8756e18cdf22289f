"""The routes of the existing provisioner and composition, in their words, by the same verbs."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from litestar import MediaType, Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import Scope

from pdm_service.allocator import Allocator, Commit, Release, Terms
from pdm_service.api.access import COMPAT_ALLOCATE, COMPAT_CHECK
from pdm_service.api.check import Answers
from pdm_service.api.problems import CALLED, documented
from pdm_service.api.replies import AllocationKey, IdempotencyKey, Tell, actor, committed
from pdm_service.callers import ANONYMOUS
from pdm_service.callers.gate import calling
from pdm_service.errors import InvalidBody, MissingAddress, Unauthenticated
from pdm_service.model.allocation import Filter, State
from pdm_service.names.policy import Policy
from pdm_service.wire import (
    AllocationReply,
    CheckReply,
    CompatCommitRequest,
    CompatFreed,
    CompatList,
    CompatReleaseRequest,
    CompatReservation,
    CompatReservedReply,
    CompatReserveRequest,
)

_HELD = (400, 403, 404, 409, 410, 413, 415, 422, 503)
_GIVEN_BACK = (400, 404, 409, 413, 415, 422, 503)
_CALLER = "catalyst-api"
_PAGE = 500


def handlers(
    allocator: Allocator, tell: Tell, answers: Answers, policy: Callable[[], Policy]
) -> list[HTTPRouteHandler]:
    """Return the compatibility routes for pools."""
    pool_names = allocator.pool_names

    @get(
        "/api/v1/pool/{domain:str}/check",
        responses={
            200: ResponseSpec(CheckReply, description="OK", generate_examples=False),
            **documented(503, *CALLED),
        },
        opt=COMPAT_CHECK,
    )
    async def pool_check(
        scope: Scope,
        domain: FromPath[str],
        sub: Annotated[str, QueryParameter(required=False)] = "",
        allocation_key: AllocationKey = None,
    ) -> ASGIResponse:
        return ASGIResponse(body=await answers.of_name(scope, domain, sub, allocation_key), media_type=MediaType.JSON)

    @post(
        "/api/v1/pool/{domain:str}/reserve",
        status_code=201,
        responses=documented(400, 409, 413, 415, 422, 503, *CALLED),
        opt=COMPAT_ALLOCATE,
    )
    async def pool_reserve(
        domain: FromPath[str],
        data: JSONBody[CompatReserveRequest],
        idempotency_key: IdempotencyKey = None,
        allocation_key: AllocationKey = None,
    ) -> CompatReservation:
        created_by = data.created_by or _CALLER
        terms = Terms(created_by=created_by, key=_own(idempotency_key))
        held = await pool_names.reserve(domain, data.subdomain, terms, actor(), allocation_key)
        return CompatReservation(
            pool_domain=held.allocation.pool_domain or "",
            subdomain=held.allocation.subdomain or "",
            state="reserved" if held.allocation.state is State.RESERVED else "active",
            reserved_at=held.allocation.reserved_at,
            expires_at=held.allocation.expires_at,
            reservation_token=held.token,
            created_by=created_by,
        )

    @post(
        "/api/v1/pool/{domain:str}/commit",
        status_code=200,
        responses=documented(*_HELD, *CALLED, late=AllocationReply),
        opt=COMPAT_ALLOCATE,
    )
    async def pool_commit(domain: FromPath[str], data: JSONBody[CompatCommitRequest]) -> Response[AllocationReply]:
        fqdn, _, _ = pool_names.name(domain, data.subdomain)
        if not data.load_balancer_ip:
            msg = "a commit needs loadBalancerIP"
            raise MissingAddress(msg)
        order = Commit(
            fqdn=fqdn,
            token=data.reservation_token,
            addresses=[data.load_balancer_ip],
            sovereign_fqdn=data.sovereign_fqdn,
        )
        return committed((await allocator.commit(order, actor())).allocation, tell)

    @delete(
        "/api/v1/pool/{domain:str}/release",
        status_code=200,
        responses=documented(*_GIVEN_BACK, *CALLED, late=CompatFreed),
        opt=COMPAT_ALLOCATE,
    )
    async def pool_release(
        request: Request[None, None, msgspec.UnsetType],  # type: ignore[type-var]
        domain: FromPath[str],
        sub: Annotated[str, QueryParameter(required=False)] = "",
    ) -> Response[CompatFreed]:
        fqdn, _, _ = pool_names.name(domain, _subdomain(await request.body()) or sub)
        allocation, free = await allocator.release(Release(fqdn=fqdn), actor())
        warning = None if free else "DNS is still being removed; the name is free once that is done"
        return Response(CompatFreed(freed=tell(allocation), warning=warning), status_code=200 if free else 202)

    @get("/api/v1/pool/{domain:str}/list", responses=documented(422, 503, *CALLED), opt=COMPAT_ALLOCATE)
    async def pool_list(domain: FromPath[str]) -> CompatList:
        pool = pool_names.pool(domain)
        found, last = [], ""
        wanted = Filter(pool_domain=pool, owner=actor().only)
        while page := await allocator.page(wanted, last, _PAGE):
            found += page
            last = page[-1].place
        return CompatList(pool_domain=pool, allocations=[tell(one) for one in found])

    @get("/api/v1/reserved", responses=documented(*CALLED), opt=COMPAT_CHECK)
    async def list_reserved() -> CompatReservedReply:
        return CompatReservedReply(reserved=list(policy().words.bare()))

    return [pool_check, pool_reserve, pool_commit, pool_release, pool_list, list_reserved]


def _subdomain(body: bytes) -> str | None:
    """Return the subdomain of a release's body, which may be missing."""
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body, type=CompatReleaseRequest).subdomain
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = "the body is not a JSON object with a subdomain"
        raise InvalidBody(msg) from error


def _own(idempotency_key: str | None) -> str | None:
    """Return the key of a client; raises Unauthenticated for one without a credential: a stranger may send the same."""
    if idempotency_key is not None and calling.get().id == ANONYMOUS:
        raise Unauthenticated("an Idempotency-Key needs a credential, which says whose reservation it repeats")
    return idempotency_key
