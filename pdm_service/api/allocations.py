"""One allocation as a resource, by its name: read it, declare what it should be, give it back."""

from typing import Annotated

from litestar import Response, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from pdm_service import names
from pdm_service.allocator import Allocator, Release
from pdm_service.allocator.declared import owner_of
from pdm_service.api.access import ALLOCATE
from pdm_service.api.problems import CALLED, documented
from pdm_service.api.replies import AllocationKey, Tell, actor
from pdm_service.model.allocation import Allocation, State
from pdm_service.wire import AllocationReply, DeclareRequest

Owner = Annotated[str | None, QueryParameter(required=False)]


def handlers(allocator: Allocator, tell: Tell) -> list[HTTPRouteHandler]:
    """Return the routes of the resource. With `owner` it is there only for who declared it."""

    @get("/v1/allocations/{fqdn:str}", responses=documented(404, 422, 503, *CALLED), opt=ALLOCATE)
    async def allocation(fqdn: FromPath[str], owner: Owner = None) -> Response[AllocationReply]:
        found = await allocator.find(fqdn, actor(), None if owner is None else owner_of(owner))
        return Response(tell(found), headers=_headers(found))

    @put(
        "/v1/allocations/{fqdn:str}",
        status_code=200,
        responses=documented(400, 409, 413, 415, 422, 503, *CALLED, new=AllocationReply, late=AllocationReply),
        opt=ALLOCATE,
    )
    async def declare(
        fqdn: FromPath[str],
        data: JSONBody[DeclareRequest],
        owner: Annotated[str, QueryParameter(required=False)] = "",
        allocation_key: AllocationKey = None,
    ) -> Response[AllocationReply]:
        found, new = await allocator.declared.put(fqdn, owner, data, actor(), allocation_key)
        there = found.state is State.RESERVED or found.reached
        return Response(
            tell(found), status_code=202 if not there else 201 if new else 200, headers=_headers(found)
        )  # fmt: skip

    @delete(
        "/v1/allocations/{fqdn:str}",
        status_code=200,
        responses=documented(400, 404, 409, 422, 503, *CALLED, late=AllocationReply),
        opt=ALLOCATE,
    )
    async def release(
        fqdn: FromPath[str],
        owner: Owner = None,
        *,
        force: Annotated[bool, QueryParameter(required=False)] = False,
    ) -> Response[AllocationReply]:
        declared_for = None if owner is None else owner_of(owner)
        order = Release(fqdn=names.domain(fqdn), declared_for=declared_for, force=force)
        found, free = await allocator.release(order, actor())
        return Response(tell(found), status_code=200 if free else 202, headers=_headers(found))

    return [allocation, declare, release]


def _headers(found: Allocation) -> dict[str, str]:
    """Return what a controller can read from a reply whose body it keeps only as text."""
    waits = found.state is State.ACTIVE and not found.reached
    return {"PDM-State": "publishing" if waits else found.state.value, "PDM-FQDN": found.fqdn}
