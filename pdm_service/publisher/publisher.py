"""The publisher: lease a due row, read what DNS has, plan, apply, record; retry until it succeeds.

One code path serves commit, release, crash recovery, outage recovery and drift repair: they differ
only in what they find. Whatever stops an attempt in the middle, the row is due again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import uniform
from time import monotonic

import msgspec
import tenacity

from pdm_service.dns_client import NoAnswer
from pdm_service.errors import StoreUnavailable
from pdm_service.model import zone
from pdm_service.model.allocation import Allocation, DnsState, Mode, State
from pdm_service.powerdns import (
    PowerDns,
    PowerDnsError,
    Rejected,
    Unavailable,
    Untrusted,
    ZoneExists,
)
from pdm_service.publisher import budgets
from pdm_service.publisher.leftovers import Leftovers
from pdm_service.publisher.nameservers import Nameservers, NotSeen
from pdm_service.publisher.parent_zones import LeaseLost, ParentZones
from pdm_service.publisher.reach import Reach
from pdm_service.store.rows import Lease
from pdm_service.store.signals import Signals, until
from pdm_service.store.worklist import Worklist
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics
from pdm_service.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)

_ATTEMPTS_AT_ONCE = 48
"""More than calls in flight to PowerDNS, so that changes of a parent gather into one."""
_AUDITS_AT_ONCE = 4

_BACKOFF = tenacity.wait_exponential_jitter(multiplier=0.3, max=10, jitter=1)
_BACKOFF_REJECTED = tenacity.wait_exponential_jitter(multiplier=1, max=300, jitter=5)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long."""

    reconcile: timedelta
    look: timedelta
    """How often a published name is looked at closely, whatever is known of it."""
    audits_per_second: float
    """How many such looks this process begins at most."""
    attempt: timedelta
    """The deadline of one attempt, shorter than its lease."""


class Publisher:
    """Makes DNS equal to what the store wants, one attempt a leased row."""

    def __init__(
        self,
        *,
        worklist: Worklist,
        signals: Signals,
        powerdns: PowerDns,
        nameservers: Nameservers,
        parents: ParentZones,
        leftovers: Leftovers,
        names: tuple[str, ...],
        pace: Pace,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._tracing = tracing
        self._worklist = worklist
        self._signals = signals
        self._powerdns = powerdns
        self._nameservers = nameservers
        self._names = names
        self._pace = pace
        self._metrics = metrics
        self._parents = parents
        self._leftovers = leftovers
        self._attempts: set[asyncio.Task[None]] = set()
        self._audits = 0
        self._allowed, self._allowed_at = float(_AUDITS_AT_ONCE), monotonic()
        self._stopping = False
        self._counted = 0.0
        self.reach = Reach()
        """Whether PowerDNS is reached."""

    # --- the loop ----------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Start what is due, and wait until there may be more; raises StoreUnavailable."""
        self._signals.work.clear()
        if self.reach.condition != "ok":
            await self._probe()
        started = await self._start_due()
        if monotonic() >= self._counted:
            backlog = await self._worklist.backlog()
            self._metrics.backlog(backlog.pending, backlog.oldest_seconds)
            self._counted = monotonic() + self._pace.reconcile.total_seconds() / 2
        if not started:
            await until(self._signals.work, self._pace.reconcile.total_seconds() * uniform(0.8, 1.2))

    async def stop(self, seconds: float) -> None:
        """Start nothing more, let attempts under way finish for at most `seconds`, give the others up."""
        self._stopping = True
        self._signals.work.set()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=seconds)
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    async def _start_due(self) -> int:
        room = _ATTEMPTS_AT_ONCE if self.reach.room is None else self.reach.room
        free = room - len(self._attempts)
        if free <= 0 or self._stopping:
            return 0
        audits = max(0, min(free, _AUDITS_AT_ONCE - self._audits))
        leases = await self._worklist.lease(free, min(audits, self._allowance()), audits)
        for lease in leases:
            self._audits += _is_audit(lease)
            self._allowed -= _is_audit(lease) and not lease.late
            attempt = asyncio.create_task(self._attempt(lease))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)
        return len(leases)

    def _allowance(self) -> int:
        """Return how many audits may begin; of those that may not yet, the loop is woken for the next."""
        now, rate = monotonic(), self._pace.audits_per_second
        self._allowed = min(float(_AUDITS_AT_ONCE), self._allowed + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowed < 1:
            asyncio.get_running_loop().call_later((1 - self._allowed) / rate, self._signals.work.set)
        return int(max(0.0, self._allowed))

    async def _probe(self) -> None:
        """See whether PowerDNS is back, when nothing need wait any longer; tell those who wait why."""
        try:
            await self._powerdns.alive()
        except PowerDnsError as failure:
            self.reach.lost(str(failure))
        else:
            # A server that was only slow gets its pause.
            if self.reach.back():
                await self._worklist.hurry()
        if self.reach.condition != "ok":
            asyncio.get_running_loop().call_later(max(budgets.PROBE, self.reach.wait), self._signals.work.set)
            await self._worklist.tell(self.reach.problem)

    # --- one attempt -------------------------------------------------------------------------------

    async def _attempt(self, lease: Lease[Allocation]) -> None:
        with self._tracing.span(f"publish {lease.row.state}") as span:
            if span is not None:
                span.set_attribute("pdm.fqdn", lease.name)
            await self._attempted(lease)

    async def _attempted(self, lease: Lease[Allocation]) -> None:
        start = monotonic()
        outcome, error, cause, unclear = "interrupted", "", "", True
        try:
            async with asyncio.timeout(self._pace.attempt.total_seconds()):
                outcome = await self._converge(lease)
            unclear = False
            # Of a name that is only looked at nothing shows that changes get there.
            if outcome not in {"unchanged", "held"} and not (outcome == "removed" and lease.late):
                self.reach.worked()
        except TimeoutError:
            outcome, cause = "failed", "timeout"
            error = "DNS could not be written in time"
        except LeaseLost:
            outcome, unclear = "superseded", False
        except (PowerDnsError, NotSeen, NoAnswer, StoreUnavailable) as failure:
            error, cause = str(failure), _cause(failure)
            unclear = isinstance(failure, Unavailable) and failure.unclear
            if isinstance(failure, Unavailable):
                self.reach.failed(lease.name, error)
            outcome = "rejected" if isinstance(failure, Rejected) else "failed"
        except Exception:  # noqa: BLE001 - a defect must not end the work
            _log.exception("an attempt at %s failed because of a defect", lease.name)
            outcome, cause = "failed", "defect"
            error = "an unexpected failure; the service's log has the details"
        finally:
            if cause:
                self._metrics.failure(cause)
            # Also when cancelled: a lease that is not given back holds the name until it ends.
            await asyncio.shield(self._conclude(lease, outcome, error, monotonic() - start, unclear=unclear))

    async def _conclude(
        self, lease: Lease[Allocation], outcome: str, error: str, seconds: float, *, unclear: bool
    ) -> None:
        allocation = lease.row
        recorded = True
        try:
            if unclear:
                await self._worklist.note_late(lease)
            if error:
                backoff = _BACKOFF_REJECTED if outcome == "rejected" else _BACKOFF
                delay = _delay(backoff, allocation.dns.attempts + 1)
                recorded = await self._worklist.record_failure(lease, error, timedelta(seconds=delay))
                asyncio.get_running_loop().call_later(delay, self._signals.work.set)
            if outcome in {"superseded", "interrupted"} or not recorded:
                await self._worklist.give_up(lease)
                self._signals.work.set()
        except StoreUnavailable:
            pass  # the lease ends by itself, and the row is still due
        self._signals.outcome(allocation.fqdn)
        self._audits -= _is_audit(lease)
        if _is_audit(lease) or len(self._attempts) >= _ATTEMPTS_AT_ONCE:
            self._signals.work.set()  # a place is free
        self._metrics.attempt(outcome, seconds)
        fields: dict[str, object] = {
            "fqdn": allocation.fqdn,
            "state": allocation.state,
            "outcome": outcome,
            "attempt": allocation.dns.attempts + 1,
            "waitedMs": round(lease.waited_seconds * 1000),
            "durationMs": round(seconds * 1000),
        }
        if error:
            fields["error"] = error
        level = logging.WARNING if error else logging.DEBUG if outcome == "unchanged" else logging.INFO
        logs.event(_log, level, "publishing", fields)

    async def _converge(self, lease: Lease[Allocation]) -> str:
        if lease.row.state is State.RELEASING:
            return await self._take_away(lease)
        want = zone.wanted(lease.row, self._names)
        if lease.row.dns.state is not DnsState.PUBLISHED:
            return await self._publish(lease, want)
        if what := await self._drift(lease, want):
            if not await self._worklist.record_drift(lease, what):
                raise LeaseLost
            self._metrics.drift()
            return await self._publish(lease, want)
        await self._announce(want)
        if not await self._worklist.record_unchanged(lease, self._next_audit()):
            raise LeaseLost
        return "unchanged"

    # --- publish ---------------------------------------------------------------------------------

    async def _publish(self, lease: Lease[Allocation], want: zone.Wanted) -> str:
        ds = await self._child(lease, want)
        await self._announce(want)
        await self._seen(lambda: self._nameservers.served(want.zone, ds), want.zone)
        if want.delegated:
            await self._parents.of(_pool(lease)).apply(lease, zone.delegation(lease.name, self._names, ds))
            await self._seen(lambda: self._nameservers.delegated(want.zone, ds), want.zone)
        outcome = _outcome(lease)
        if not await self._worklist.record_published(lease, ds, self._next_audit(), outcome):
            raise LeaseLost
        if outcome == "repaired":
            self._metrics.drift_repaired()
        elif outcome == "published" and lease.row.committed_at is not None:
            self._metrics.published((datetime.now(UTC) - lease.row.committed_at).total_seconds())
        return outcome

    async def _child(self, lease: Lease[Allocation], want: zone.Wanted) -> tuple[str, ...]:
        """Make the child zone as wanted; return its DS."""
        first = lease.row.dns.attempts == 0 and not lease.row.dns.ds
        if not (first and await self._create(want)):
            seen = await self._powerdns.observe(want.zone)
            step = zone.plan(want, seen) if seen else None
            if seen and isinstance(step, zone.Patch):
                await self._write(want.zone, step)
            if seen and not isinstance(step, zone.Replace):
                if want.known_ds:  # it was published before, so a nameserver may have what it was in its cache
                    expected = zone.expected(want, seen)
                    await self._seen(lambda: self._nameservers.have(expected), want.zone)
                return seen.ds
            if seen:
                await self._require_leftover(lease, want, seen)
                if want.delegated:
                    await self._parents.of(_pool(lease)).apply(lease, zone.delegation(lease.name, (), ()))
                await self._powerdns.delete_zone(want.zone)
            if not await self._create(want):
                raise PowerDnsError(f"{want.zone} appeared while it was being created")
        if ds := await self._powerdns.ds(want.zone):
            return ds
        msg = f"PowerDNS made {want.zone} without a key"
        raise PowerDnsError(msg)

    async def _require_leftover(self, lease: Lease[Allocation], want: zone.Wanted, seen: zone.Observed) -> None:
        """Raise Rejected for a zone that stands where the wanted one should, and is not this service's to replace."""
        if zone.is_foreign(want, seen):
            raise Rejected(f"PowerDNS has a zone {want.zone} that is not ours; an operator has to remove it")
        if seen.account != want.owner and await self._leftovers.fate(lease.name, seen.account) == "lost":
            raise Rejected(
                f"PowerDNS has a zone {want.zone} of another allocation, which the database knows nothing of: an "
                "operator has to adopt or to discard it"
            )

    async def _announce(self, want: zone.Wanted) -> None:
        """Make CDS and CDNSKEY of the zone as wanted."""
        if want.announced is None:
            return
        seen = await self._powerdns.zone(want.zone, rrset=want.zone)
        present = {rrset.type: rrset for rrset in seen.sets()} if seen else {}
        keys = await self._powerdns.signing_keys(want.zone) if want.announced else ()
        rrsets = zone.announcements(want.zone, keys, wanted=want.announced)
        changed = [
            one for one in rrsets if not (one.same(present.get(one.type)) if one.contents else one.type not in present)
        ]
        if changed:
            await self._powerdns.patch(want.zone, changed)

    async def _create(self, want: zone.Wanted) -> bool:
        settings = {**zone.CHILD_SETTINGS, "account": want.owner}
        try:
            try:
                await self._powerdns.create_zone(want.zone, settings, (want.soa, *want.rrsets, *want.imports))
            except Rejected:
                if not want.imports:
                    raise
                await self._powerdns.create_zone(want.zone, settings, (want.soa, *want.rrsets))
                await self._write(want.zone, zone.Patch((), want.imports))
        except ZoneExists:
            return False
        return True

    async def _write(self, name: str, step: zone.Patch) -> None:
        """Change RRsets of a zone; an imported one that PowerDNS refuses keeps the others from nothing."""
        try:
            await self._powerdns.patch(name, (*step.rrsets, *step.imports))
        except Rejected:
            if not step.imports:
                raise
            if step.rrsets:
                await self._powerdns.patch(name, step.rrsets)
            for one in step.imports:
                try:
                    await self._powerdns.patch(name, (one,))
                except Rejected as failure:
                    fields = {"zone": name, "rrset": f"{one.name} {one.type}", "error": str(failure)}
                    logs.event(_log, logging.WARNING, "an imported record is refused", fields)

    # --- take away -------------------------------------------------------------------------------

    async def _take_away(self, lease: Lease[Allocation]) -> str:
        name = f"{lease.name}."
        if lease.late and not await self._stands(lease):
            return await self._removed(lease)
        if not lease.row.dns.ds and await self._is_lost(lease):
            return await self._removed(lease)
        if lease.row.mode is Mode.POOL:
            await self._parents.of(_pool(lease)).apply(lease, zone.delegation(lease.name, (), ()))
            await self._seen(lambda: self._nameservers.delegated(name, ()), name)
        await self._powerdns.delete_zone(name)
        await self._seen(lambda: self._nameservers.gone(name), name)
        return await self._removed(lease)

    async def _removed(self, lease: Lease[Allocation]) -> str:
        if (outcome := await self._worklist.record_removed(lease)) is None:
            raise LeaseLost
        return outcome

    async def _is_lost(self, lease: Lease[Allocation]) -> bool:
        """Return whether what stands in DNS of a name that was never published is for an operator to decide about."""
        seen = await self._powerdns.zone(f"{lease.name}.", rrset=f"{lease.name}.")
        if seen is None or zone.holding_of(seen.account) == lease.row.id:
            return False
        return await self._leftovers.fate(lease.name, seen.account) == "lost"

    async def _stands(self, lease: Lease[Allocation]) -> bool:
        """Return whether PowerDNS has anything of a name that was taken away before."""
        child, in_parent = await self._leftovers.standing(lease.name, lease.row.pool_domain)
        return child is not None or not in_parent.isdisjoint({"NS", "DS"})

    # --- audit -----------------------------------------------------------------------------------

    async def _drift(self, lease: Lease[Allocation], want: zone.Wanted) -> str:
        """Return what DNS has otherwise than published, an empty text if nothing that is ours."""
        differences = await self._nameservers.differences(await self._nameservers.one(), want)
        # A nameserver tells of a delegation by its DS alone; what a late call may have done is looked at whole.
        if not differences and not lease.late:
            return ""
        # DNS may differ for good reasons (a LUA RRset) or for a moment (a cache): the API shows which.
        seen = await self._powerdns.observe(want.zone)
        delegated = not want.delegated or await self._is_delegated(lease, want)
        if seen and delegated and zone.plan(want, seen) is None and set(want.known_ds) <= set(seen.ds):
            return ""
        what = ", ".join(differences) or "what PowerDNS has in its database"
        return f"DNS differed from what was published: {what}"

    async def _is_delegated(self, lease: Lease[Allocation], want: zone.Wanted) -> bool:
        parent = await self._powerdns.zone(f"{lease.row.pool_domain}.", rrset=want.zone)
        sets = parent.sets() if parent else ()
        return zone.is_delegated(lease.name, self._names, want.known_ds, sets)

    def _next_audit(self) -> timedelta:
        return self._pace.look * uniform(0.75, 1.25)

    # --- shared steps ----------------------------------------------------------------------------

    async def _seen(self, check: Callable[[], Awaitable[None]], name: str) -> None:
        """Return once the nameservers answer as wanted; raises NotSeen if they don't within some seconds."""
        end = monotonic() + budgets.SEEN
        pause = 0.0
        while True:
            try:
                return await check()
            except NotSeen:
                if monotonic() >= end:
                    raise
                if not pause:
                    # A cached denial from before our change is the usual reason.
                    await self._powerdns.flush(name)
                pause = min(0.5, pause + 0.05)
            await asyncio.sleep(pause)


def _pool(lease: Lease[Allocation]) -> str:
    name = lease.row.pool_domain
    assert name is not None  # noqa: S101 - only names in pool mode have a parent zone of ours
    return name


def _outcome(lease: Lease[Allocation]) -> str:
    """Return what it is that an attempt which succeeded did."""
    if not lease.row.dns.ds:
        return "published"
    # What differed from what was published says so; what its holder changed does not.
    return "repaired" if _is_audit(lease) or lease.row.dns.error else "changed"


def _cause(failure: Exception) -> str:
    """Return which of the metric's causes a failure is."""
    causes: dict[type[Exception], str] = {
        Unavailable: "powerdns-away",
        Untrusted: "powerdns-away",
        Rejected: "rejected",
        NotSeen: "not-seen",
        NoAnswer: "no-answer",
        StoreUnavailable: "database",
    }
    return causes.get(type(failure), "powerdns-failed")


def _is_audit(lease: Lease[Allocation]) -> bool:
    return lease.row.dns.state is DnsState.PUBLISHED


def _delay(backoff: tenacity.wait.wait_base, attempt: int) -> float:
    """Return the seconds to wait after the given number of failed attempts."""
    state = tenacity.RetryCallState(retry_object=tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return float(backoff(state))
