"""The lists: allocations, the audit trail of a name, and all of it for export."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, TypedDict

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from pdm_service import names
from pdm_service.allocator import Allocator
from pdm_service.api.access import ADMIN, ALLOCATE
from pdm_service.api.problems import CALLED, documented
from pdm_service.api.replies import Tell, actor
from pdm_service.errors import InvalidQuery
from pdm_service.model.allocation import Filter
from pdm_service.model.event import Event
from pdm_service.wire import AllocationPage, EventPage, EventReply, ExportedEvent

_NDJSON = "application/x-ndjson"
_PLACE = re.compile(r"([a-z0-9.-]{1,253}( [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?)?")
"""Of `Allocation.place`; a name alone is one of a release before."""

Limit = Annotated[int, QueryParameter(ge=1, le=500, required=False)]
State = Literal["", "reserved", "active", "releasing"]


class Told(TypedDict):
    """What every reply shows of an event."""

    at: datetime
    action: str
    actor: str
    tenant: str | None
    request_id: str | None
    from_state: str | None
    to_state: str | None
    outcome: str | None


def handlers(allocator: Allocator, tell: Tell) -> list[HTTPRouteHandler]:
    """Return the routes that read allocations and their audit trail."""

    @get("/v1/allocations", responses=documented(400, 422, 503, *CALLED), opt=ALLOCATE)
    async def allocations(
        pool_domain: Annotated[str, QueryParameter(name="poolDomain", required=False)] = "",
        mode: Annotated[Literal["", "pool", "byo-manual", "byo-api"], QueryParameter(required=False)] = "",
        allocation_state: Annotated[State, QueryParameter(name="state", required=False)] = "",
        created_by: Annotated[str, QueryParameter(name="createdBy", required=False)] = "",
        tenant: Annotated[str, QueryParameter(required=False)] = "",
        limit: Limit = 100,
        cursor: Annotated[str, QueryParameter(required=False)] = "",
    ) -> AllocationPage:
        wanted = Filter(
            pool_domain=allocator.pool_names.pool(pool_domain) if pool_domain else None,
            mode=mode or None,
            state=allocation_state or None,
            created_by=names.text("createdBy", created_by) if created_by else None,
            owner=actor().only,
            tenant=names.text("tenant", tenant) if tenant else None,
        )
        after = _from_cursor(cursor)
        if not _PLACE.fullmatch(after):
            raise InvalidQuery(_BAD_CURSOR)
        found = await allocator.page(wanted, after, limit + 1)
        following = _to_cursor(found[limit - 1].place) if len(found) > limit else None
        return AllocationPage(allocations=[tell(one) for one in found[:limit]], next_cursor=following)

    @get("/v1/allocations/{fqdn:str}/events", responses=documented(400, 404, 422, 503, *CALLED), opt=ALLOCATE)
    async def events(
        fqdn: FromPath[str], limit: Limit = 100, cursor: Annotated[str, QueryParameter(required=False)] = ""
    ) -> EventPage:
        after = _from_cursor(cursor)
        if after and not (after.isdecimal() and len(after) < 18):
            raise InvalidQuery(_BAD_CURSOR)
        name = names.domain(fqdn)
        found = await allocator.events(name, actor(), int(after or 0), limit + 1)
        following = _to_cursor(str(found[limit - 1].id)) if len(found) > limit else None
        return EventPage(
            fqdn=name,
            unicode=names.unicode(name),
            events=[EventReply(**_event(one)) for one in found[:limit]],
            next_cursor=following,
        )

    @get("/v1/events", responses=documented(400, 503, *CALLED), opt=ADMIN, media_type=_NDJSON)
    async def export(
        since: Annotated[str, QueryParameter(required=False)] = "",
        limit: Annotated[int, QueryParameter(ge=1, le=10_000, required=False)] = 1000,
    ) -> Response[bytes]:
        after, start = _since(since)
        found = await allocator.export(after, start, limit)
        lines = [msgspec.json.encode(_exported(one)) for one in found]
        following = _place(found[-1]) if found else _to_cursor(f"{after[0]}.{after[1]}") if not start else since
        return Response(b"".join(line + b"\n" for line in lines), headers={"PDM-Next-Cursor": following})

    return [allocations, events, export]


def _event(one: Event) -> Told:
    return {
        "at": one.at,
        "action": one.action,
        "actor": one.actor,
        "tenant": one.tenant,
        "request_id": one.request_id,
        "from_state": one.from_state,
        "to_state": one.to_state,
        "outcome": one.outcome,
    }


def _exported(one: Event) -> ExportedEvent:
    return ExportedEvent(cursor=_place(one), fqdn=one.fqdn, allocation_id=str(one.allocation_id), **_event(one))


def _place(one: Event) -> str:
    return _to_cursor(f"{one.xid}.{one.id}")


def _since(since: str) -> tuple[tuple[int, int], datetime | None]:
    """Return the place, and the time, from which on to export; raises InvalidQuery."""
    if not since:
        return (0, 0), None
    try:
        return (0, 0), msgspec.convert(since, Annotated[datetime, msgspec.Meta(tz=True)]).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):  # the year 1 in the east is the year 0 in UTC
        pass
    if not re.fullmatch(r"\d{1,18}\.\d{1,18}", place := _from_cursor(since)):
        raise InvalidQuery("since takes a cursor of this export, or a time such as 2026-01-31T00:00:00Z")
    xid, _, identity = place.partition(".")
    return (int(xid), int(identity)), None


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
