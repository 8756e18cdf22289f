"""The routes about domains that customers bring, and about delegations."""

from typing import Annotated, Literal

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from pdm_service import names
from pdm_service.allocator import Allocator, Registrar, Undo
from pdm_service.api.access import ALLOCATE
from pdm_service.api.problems import CALLED, documented
from pdm_service.api.replies import Tell, actor, committed
from pdm_service.byo import zonefile
from pdm_service.callers import Rates
from pdm_service.callers.gate import calling
from pdm_service.model.observation import Known, ParentView, ServerView
from pdm_service.model.records import RRset
from pdm_service.wire import (
    AllocationReply,
    DelegationReply,
    DelegationServer,
    PreflightReply,
    PreflightRequest,
    Progress,
    RegistrarChange,
    RollbackRequest,
    UndoReply,
    ZoneRRset,
)

_CHANGED = (400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503)


def handlers(allocator: Allocator, tell: Tell, rates: Rates) -> list[HTTPRouteHandler]:
    """Return the routes."""

    @get("/v1/delegations/{domain:str}", responses=documented(400, 404, 422, 503, *CALLED), opt=ALLOCATE)
    async def delegation(
        domain: FromPath[str], *, fresh: Annotated[bool, QueryParameter(required=False)] = False
    ) -> DelegationReply:
        if fresh:
            rates.take(calling.get(), "observations")
        return _delegation(await allocator.delegation(domain, actor(), fresh=fresh))

    @post("/v1/preflight", status_code=200, responses=documented(400, 413, 415, 422, 503, *CALLED), opt=ALLOCATE)
    async def preflight(data: JSONBody[PreflightRequest]) -> PreflightReply:
        rates.take(calling.get(), "preflights")
        domain, findings, found = await allocator.customer_domains.preflight(
            data.domain, actor(), transfer=data.zone_transfer
        )
        return PreflightReply(
            domain=domain,
            unicode=names.unicode(domain),
            problems=list(findings),
            records=rrsets(found.rrsets) if found else [],
            zonefile=zonefile.write(found) if found else None,
        )

    @post("/v1/rollback", status_code=200, responses=documented(*_CHANGED, late=AllocationReply), opt=ALLOCATE)
    async def rollback(data: JSONBody[RollbackRequest]) -> Response[AllocationReply]:
        fqdn = names.domain(data.fqdn)
        registrar = Registrar(name=data.registrar, token=data.registrar_token)
        held = await allocator.customer_domains.roll_back(fqdn, data.reservation_token, registrar, actor())
        return committed(held, tell)

    @get("/v1/allocations/{fqdn:str}/undo", responses=documented(404, 409, 422, 503, *CALLED), opt=ALLOCATE)
    async def undo(fqdn: FromPath[str]) -> UndoReply:
        return _undo(await allocator.undo(fqdn, actor()))

    return [delegation, preflight, rollback, undo]


def _undo(found: Undo) -> UndoReply:
    sheet, last = found.sheet, found.last
    return UndoReply(
        fqdn=found.fqdn,
        unicode=names.unicode(found.fqdn),
        registrar=sheet.registrar,
        nameservers=list(sheet.nameservers),
        ds=list(sheet.ds),
        acknowledged=list(sheet.acknowledged),
        records=rrsets(sheet.rrsets),
        made_at=found.made_at,
        last_change=RegistrarChange(
            kind=last.kind, outcome=last.outcome, wanted=list(last.wanted), problem=last.problem
        )
        if last
        else None,
    )


def rrsets(found: tuple[RRset, ...]) -> list[ZoneRRset]:
    """Return RRsets of a zone as the API shows them: names without the trailing dot."""
    return [
        ZoneRRset(name=one.name.removesuffix("."), type=one.type, ttl=one.ttl, contents=list(one.contents))
        for one in found
    ]


def _delegation(known: Known) -> DelegationReply:
    report = known.report
    wanted = set(report.nameservers)
    servers = [_parent(view, wanted) for view in report.parents]
    servers += [_server("ns", view) for view in report.servers] + [_server("other", view) for view in report.others]
    return DelegationReply(
        domain=report.domain,
        unicode=names.unicode(report.domain),
        phase=report.phase,
        dnssec=report.dnssec,
        ds=list(report.ds) or None,
        parent=report.parent,
        nameservers=list(report.nameservers),
        missing=list(report.missing) or None,
        extra=list(report.extra) or None,
        progress=Progress(
            parents_ok=report.parents_ok,
            parents_total=report.parents_total,
            ns_ok=report.servers_ok,
            ns_total=report.servers_total,
        ),
        servers=servers,
        problems=list(report.problems),
        checked_at=report.checked_at,
        next_check_at=known.due_at,
        converged_by=report.converged_by,
    )


def _parent(view: ParentView, wanted: set[str]) -> DelegationServer:
    named = set(view.nameservers)
    return DelegationServer(
        role="parent",
        name=view.name,
        address=view.address,
        state=view.state,
        nameservers=list(view.nameservers) or None,
        missing=sorted(wanted - named) if named else None,
        extra=sorted(named - wanted) or None,
        ds=list(view.ds) if view.ds else None,
        rtt_ms=view.rtt_ms,
        error=view.error,
    )


def _server(role: Literal["ns", "other"], view: ServerView) -> DelegationServer:
    return DelegationServer(
        role=role,
        name=view.name,
        address=view.address or None,
        state=view.state,
        nameservers=list(view.nameservers) or None,
        soa_serial=view.serial,
        udp=view.udp,
        edns=view.edns,
        tcp=view.tcp,
        rtt_ms=view.rtt_ms,
        error=view.error,
    )
