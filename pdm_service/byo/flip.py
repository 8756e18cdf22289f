"""Changes of a customer's domain at his registrar: the flip to the platform, its DS, and the way back.

The token lives in the request that carries it. Each change is noted before it is sent, sent once, and read back;
one whose outcome is not known is never sent again before the registrar, or the parent zone, has told. A process
that dies anywhere leaves an allocation that says what the next call has to bring (`needs`), and the undo sheet.
"""

import logging
from datetime import timedelta
from time import monotonic
from typing import Literal

import msgspec

from adapters import base
from adapters.base import Ds, Follows, Pending, Registrar, SetsDs
from pdm_service.byo.imports import imported
from pdm_service.byo.preflight import blocking
from pdm_service.byo.survey import Prepared, Registered, Survey, Surveyor
from pdm_service.callers import Actor
from pdm_service.delegations.observe import servers
from pdm_service.delegations.prober import Prober
from pdm_service.delegations.watch import Watch
from pdm_service.errors import (
    ChangeUnderWay,
    NotFound,
    NoUndoSheet,
    PreflightBlocked,
    UnsupportedOperation,
)
from pdm_service.findings import Finding
from pdm_service.model import zone
from pdm_service.model.allocation import Allocation, DnsState, Proof
from pdm_service.powerdns import PowerDns, PowerDnsError
from pdm_service.registrars import Asked, Registrars, ds_of, told
from pdm_service.store.allocations import Store
from pdm_service.store.claims import Claims, Wish
from pdm_service.store.registrar_changes import Change, Changes, Kind, UndoSheet
from pdm_service.store.signals import Signals, until
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)

COMMIT_SECONDS = 12.0
"""Callers give up after 15; what runs over is cut off by `Byo`."""
_SURVEY_SECONDS = 6.0
_PUBLISH_SECONDS = 3.0
_PROBE_SECONDS = 1.5
_LOOK_SECONDS = 4.0
_WRITE_SECONDS = 4.0
_SETTLING = timedelta(seconds=60)
"""A change that was sent, and is not on record, may still come within this time."""
_SETTLING_ASYNC = timedelta(minutes=15)
"""The same where the registrar carries changes out by itself."""

Standing = Literal["go", "wait", "done"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants done at a registrar, and with what."""

    asked: Asked
    secret: str
    acknowledged: tuple[str, ...] = ()
    imports: tuple[tuple[str, str], ...] = ()
    actor: Actor

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Order({self.asked})"


class Flips:
    """The steps of a change at a registrar, for one request each."""

    def __init__(
        self,
        *,
        store: Store,
        claims: Claims,
        changes: Changes,
        watch: Watch,
        surveyor: Surveyor,
        registrars: Registrars,
        powerdns: PowerDns,
        prober: Prober,
        signals: Signals,
        nameservers: tuple[str, ...],
    ) -> None:
        self._store = store
        self._claims = claims
        self._changes = changes
        self._watch = watch
        self._surveyor = surveyor
        self._registrars = registrars
        self._powerdns = powerdns
        self._prober = prober
        self._signals = signals
        self._names = nameservers
        self._wanted = base.wanted(nameservers)

    # --- the flip ----------------------------------------------------------------------------------

    async def claim(self, claim: Allocation, wish: Wish, order: Order) -> Allocation:
        """Take a claimed domain to the platform; raises PreflightBlocked, RegistrarFailure, Conflict."""
        end = monotonic() + COMMIT_SECONDS
        survey, registered = await self._check(claim, order)
        rrsets = imported(survey.old, order.imports, self._surveyor.acme_issuers) if order.imports else ()
        await self._claims.prove([claim.id], Proof.REGISTRAR)
        wish = msgspec.structs.replace(wish, imports=rrsets)
        if await self._claims.wish(claim.id, wish, order.actor) is None:
            raise NotFound("the reservation is over; reserve the domain again")
        held = await self._claims.adopt(claim.id, order.actor) or await self._store.find(claim.fqdn)
        if held is None or held.id != claim.id:
            raise NotFound("the reservation is over; reserve the domain again")
        return await self._flip(held, survey, registered, order, end)

    async def resume(self, held: Allocation, order: Order) -> Allocation:
        """Go on with the flip of an active domain from wherever it stands; raises as `claim`."""
        end = monotonic() + COMMIT_SECONDS
        adapter = self._registrars.adapter(order.asked.registrar)
        try:
            standing = await self._standing(held, adapter, order.secret, "nameservers")
            if standing == "done":
                await self._publish_ds(held, adapter, order)
        except base.RegistrarError as failure:
            raise told(failure) from None
        if standing != "go":
            return await self._again(held)
        survey, registered = await self._check(held, order)
        return await self._flip(held, survey, registered, order, end)

    async def _check(self, held: Allocation, order: Order) -> tuple[Survey, Registered]:
        """Survey the domain and ask the registrar; raises PreflightBlocked, RegistrarFailure."""
        adapter = self._registrars.adapter(order.asked.registrar)
        try:
            found = await adapter.validate(order.secret, held.fqdn, within=_LOOK_SECONDS)
        except base.RegistrarError as failure:
            raise told(failure) from None
        registered = registered_of(found)
        survey = await self._surveyor.survey(held.fqdn, _SURVEY_SECONDS)
        findings = await self._surveyor.judge(
            held.fqdn, survey, registered, held=held, imported=frozenset(order.imports)
        )
        refuse(findings, order.acknowledged)
        return survey, registered

    async def _flip(
        self, held: Allocation, survey: Survey, registered: Registered, order: Order, end: float
    ) -> Allocation:
        sheet = UndoSheet(
            registrar=order.asked.registrar,
            nameservers=registered.nameservers,
            ds=survey.looked.report.ds,
            parent_ttl=survey.looked.memory.parent_ttl,
            acknowledged=order.acknowledged,
            rrsets=survey.old.rrsets if survey.old else (),
        )
        await self._changes.keep(held, sheet)
        held = await self._published(held, min(_PUBLISH_SECONDS, end - monotonic()))
        if held.dns_state is not DnsState.PUBLISHED:
            return held
        prepared = await self._prepared(held)
        findings = await self._surveyor.judge(
            held.fqdn, survey, registered, held=held, imported=frozenset(order.imports), prepared=prepared
        )
        refuse(findings, order.acknowledged)
        adapter = self._registrars.adapter(order.asked.registrar)
        kept = await self._changes.sheet(held.id)
        before = kept.nameservers if kept else registered.nameservers
        try:
            now = await adapter.get_nameservers(order.secret, held.fqdn, within=max(1.0, min(2.0, end - monotonic())))
        except base.RegistrarError as failure:
            raise told(failure) from None
        # Registrars have no compare-and-swap: this look is as close to the change as can be.
        if now not in {before, self._wanted}:
            raise changed_meanwhile(now, before)
        await self._write(held, adapter, order, "nameservers", self._wanted, end)
        return await self._again(held)

    async def _published(self, held: Allocation, seconds: float) -> Allocation:
        """Return the allocation once the platform serves it, or as it is after `seconds`."""
        end = monotonic() + seconds
        found = held
        with self._signals.awaiting(held.fqdn) as event:
            self._signals.work.set()
            while found.dns_state is not DnsState.PUBLISHED and (left := end - monotonic()) > 0:
                await until(event, min(left, 1.0))
                event.clear()
                found = await self._again(held)
        return found

    async def _prepared(self, held: Allocation) -> Prepared:
        """See how the platform's nameservers, and its API, have the zone."""
        found = await servers(self._prober.round(_PROBE_SECONDS), held.fqdn, self._wanted)
        want = zone.wanted(msgspec.structs.replace(held, ds=()), self._names)
        try:
            seen = await self._powerdns.observe(want.zone)
        except PowerDnsError:
            seen = None
        present = {(rrset.name, rrset.type) for rrset in seen.rrsets} if seen else set()
        missing = tuple(
            f"{rrset.name} {rrset.type}" for rrset in want.rrsets if (rrset.name, rrset.type) not in present
        )
        return Prepared(servers=found, missing=missing, signed=bool(seen and seen.ds))

    # --- one change ----------------------------------------------------------------------------------

    async def _write(
        self, held: Allocation, adapter: Registrar, order: Order, kind: Kind, wanted: tuple[str, ...], end: float
    ) -> None:
        """Note a change of nameservers, send it once, and record what came of it; raises RegistrarFailure."""
        change = await self._changes.begin(held, order.asked.registrar, kind, wanted, order.actor)
        if change is None:
            raise under_way()
        within = max(1.0, min(_WRITE_SECONDS, end - monotonic()))
        try:
            made = await adapter.set_nameservers(order.secret, held.fqdn, wanted, within=within)
        except base.RegistrarError as failure:
            await self._failed(change, failure)
        else:
            await self._made(change, made if isinstance(made, Pending) else None)
        await self._watch.hurry(held.fqdn)
        fields = {**msgspec.structs.asdict(order.asked), "kind": kind, "wanted": wanted}
        logs.event(_log, logging.INFO, "registrar changed", fields)

    async def _made(self, change: Change, pending: Pending | None) -> None:
        if pending is None:
            await self._changes.note(change, "done")
        else:
            text = "the registrar has taken the change and carries it out by itself"
            await self._changes.note(change, "pending", operation=pending.operation, problem=text)

    async def _failed(self, change: Change, failure: base.RegistrarError) -> None:
        """Record a change that failed, or may have; raises RegistrarFailure where it surely was not made."""
        if isinstance(failure, base.OutcomeUnclear):
            await self._changes.note(change, "requested", problem=failure.detail)
            return
        await self._changes.note(change, "failed", problem=failure.detail)
        raise told(failure) from None

    async def _standing(self, held: Allocation, adapter: Registrar, secret: str, kind: Kind) -> Standing:
        """Find out how the last change of nameservers ended, by reading alone; raises RegistrarError."""
        last = await self._changes.last(held.id, "nameservers", "rollback")
        if last is None or last.settled:
            return "done" if last and (last.outcome, last.kind) == ("done", kind) else "go"
        now = await adapter.get_nameservers(secret, held.fqdn, within=_LOOK_SECONDS)
        if now == last.wanted:
            await self._changes.note(last, "done", problem="read back at the registrar")
            return "done" if last.kind == kind else "go"
        failed: str | None = "it was not on record at the registrar afterwards"
        if last.operation is not None and isinstance(adapter, Follows):
            failed = await self._progress(adapter, held.fqdn, secret, last.operation)
        elif last.age < (_SETTLING_ASYNC if adapter.about.asynchronous else _SETTLING):
            failed = None
        if failed is None:
            return "wait"
        await self._changes.note(last, "failed", problem=failed)
        return "go"

    async def _progress(self, adapter: Follows, fqdn: str, secret: str, operation: str) -> str | None:
        """Return why an operation failed, or None while it may still succeed."""
        try:
            progress = await adapter.progress(secret, fqdn, operation, within=_LOOK_SECONDS)
        except (base.Rejected, base.NotSupported):
            return "the registrar does not know the change any more, and does not have it on record"
        return progress.failed.detail if progress.failed else None

    # --- DS --------------------------------------------------------------------------------------------

    async def _publish_ds(self, held: Allocation, adapter: Registrar, order: Order) -> None:
        """Set the DS at the registrar, where it is time and the registrar can; raises RegistrarError."""
        if not held.announce_ds or not isinstance(adapter, SetsDs):
            return
        known = await self._watch.known(held.fqdn, fresh=False)
        if known.report.dnssec == "secure" or known.memory.phase != "live":
            return
        if await self._changes.open(held.id) is None:
            ds = tuple(ds_of(*key) for key in await self._powerdns.signing_keys(f"{held.fqdn}."))
            await self._set_ds(held, adapter, order, "ds", ds)

    async def _set_ds(self, held: Allocation, adapter: SetsDs, order: Order, kind: Kind, ds: tuple[Ds, ...]) -> None:
        wanted = tuple(one.text for one in ds)
        change = await self._changes.begin(held, order.asked.registrar, kind, wanted, order.actor)
        if change is None:
            raise under_way()
        try:
            pending = await adapter.set_ds(order.secret, held.fqdn, ds, within=_WRITE_SECONDS)
        except base.RegistrarError as failure:
            await self._failed(change, failure)
        else:
            await self._made(change, pending)
        await self._watch.hurry(held.fqdn)

    async def remove_ds(self, held: Allocation, order: Order) -> None:
        """Take our DS away at the registrar, so that the domain may go elsewhere; raises RegistrarFailure."""
        adapter = self._registrars.adapter(order.asked.registrar)
        if not isinstance(adapter, SetsDs):
            raise UnsupportedOperation(
                f"{adapter.about.title}'s API takes no DS: remove the DS on its site, and wait until its TTL has passed"
            )
        await self._changes.withdraw(held)
        await self._set_ds(held, adapter, order, "ds-removal", ())

    # --- the way back ------------------------------------------------------------------------------------

    async def roll_back(self, held: Allocation, order: Order) -> Allocation:
        """Give a domain the nameservers back that it had before the flip.

        Our DS goes first. Raises NoUndoSheet, ChangeUnderWay, PreflightBlocked, RegistrarFailure.
        """
        end = monotonic() + COMMIT_SECONDS
        sheet = await self._changes.sheet(held.id)
        if sheet is None or await self._changes.last(held.id, "nameservers") is None:
            raise NoUndoSheet(f"the service has not changed the nameservers of {held.fqdn}")
        adapter = self._registrars.adapter(order.asked.registrar)
        try:
            standing = await self._standing(held, adapter, order.secret, "rollback")
            now = await adapter.get_nameservers(order.secret, held.fqdn, within=_LOOK_SECONDS)
        except base.RegistrarError as failure:
            raise told(failure) from None
        if standing == "wait":
            raise under_way()
        if standing == "done" or now == sheet.nameservers:
            return await self._again(held)
        if now != self._wanted:
            raise changed_meanwhile(now, self._wanted)
        if await self._ds_first(held, order):
            return await self._again(held)
        await self._require_serving(held.fqdn, sheet.nameservers)
        await self._changes.withdraw(held)
        await self._write(held, adapter, order, "rollback", sheet.nameservers, end)
        return await self._again(held)

    async def _ds_first(self, held: Allocation, order: Order) -> bool:
        """Tell whether a DS was sent on its way out, so that all else has to wait; raises PreflightBlocked."""
        looked = await self._watch.look(held.fqdn, _LOOK_SECONDS)
        if not looked.report.parents_total or looked.report.dnssec == "unknown":
            raise PreflightBlocked("the parent zone cannot be asked for a DS now; try again shortly")
        if looked.report.ds:
            await self.remove_ds(held, order)
            return True
        seen = looked.memory.ds_seen_at
        gone = seen + timedelta(seconds=looked.memory.ds_ttl) if seen else looked.observation.at
        if gone > looked.observation.at:
            text = f"resolvers may still know the DS until {gone:%Y-%m-%d %H:%M:%S} UTC"
            raise blocked(Finding(code="BYO-DS-RECENT", severity="block", seen=text, remedy="try again then"))
        return False

    async def _require_serving(self, fqdn: str, nameservers: tuple[str, ...]) -> None:
        views = await servers(self._prober.round(_LOOK_SECONDS), fqdn, nameservers)
        lame = sorted({view.name for view in views} - {view.name for view in views if view.state == "serving"})
        if lame:
            text = f"{', '.join(lame)} of before does not serve {fqdn} any more"
            remedy = "have the former provider serve the zone again; until then the platform keeps serving it"
            raise blocked(Finding(code="BYO-OLD-LAME", severity="block", seen=text, remedy=remedy))

    async def _again(self, held: Allocation) -> Allocation:
        found = await self._store.find(held.fqdn)
        if found is None or found.id != held.id:
            raise NotFound(f"{held.fqdn} has changed hands meanwhile")
        return found


# --- words --------------------------------------------------------------------------------------------


def registered_of(found: base.Validation) -> Registered:
    """Return what the pre-flight has to know of a registrar's answer."""
    obstacle = found.obstacle.detail if found.obstacle else None
    return Registered(nameservers=found.nameservers, may_set=found.can_set_nameservers, obstacle=obstacle)


def refuse(findings: tuple[Finding, ...], acknowledged: tuple[str, ...]) -> None:
    """Raise PreflightBlocked if any of the findings stands in the way."""
    if stopping := blocking(findings, acknowledged):
        raise blocked(*stopping)


def blocked(*stopping: Finding) -> PreflightBlocked:
    """Return the error for what stands in the way."""
    codes = ", ".join(finding.code for finding in stopping)
    return PreflightBlocked(f"the nameservers are not changed: {codes}; the problems say what to do", stopping)


def changed_meanwhile(now: tuple[str, ...], expected: tuple[str, ...]) -> PreflightBlocked:
    """Return the error for a domain whose nameservers somebody else has changed."""
    text = f"the registrar has {', '.join(now)} on record, not {', '.join(expected)}: somebody changed them meanwhile"
    remedy = "find out who did, then send the request again"
    return blocked(Finding(code="BYO-REGISTRAR-DIFFERS", severity="block", seen=text, remedy=remedy))


def under_way() -> ChangeUnderWay:
    """Return the error for a domain with a change whose outcome is not known."""
    return ChangeUnderWay(
        "a change of this domain was sent to the registrar, and is not on record yet; try again later"
    )
