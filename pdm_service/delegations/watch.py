"""The watch: observes delegations when they are due or asked for, and draws the conclusions.

An observation is collected (`observe`), judged (`verdict`) and recorded. What follows from it (a claim is proven, a
change at a registrar has arrived, the DS may be published) is a conditional statement each: whatever stops one in the
middle, the next one comes to the same.
"""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from random import uniform
from time import monotonic

import msgspec

from pdm_service import deadline, shares
from pdm_service.delegations import budgets, verdict
from pdm_service.delegations.observe import challenge, observe
from pdm_service.delegations.prober import Prober, Round
from pdm_service.delegations.proofs import Proofs, Seen
from pdm_service.errors import StoreUnavailable
from pdm_service.model.observation import ChallengeView, Known, Memory, Observation, Report
from pdm_service.store.claims import Claims
from pdm_service.store.registrar_changes import Changes, Kind
from pdm_service.store.rows import Lease
from pdm_service.store.signals import Signals, until
from pdm_service.store.watches import Watched, Watches
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_AT_ONCE, _OF_A_TENANT = 24, 12
"""Rounds under way in this process; each may wait for slow servers for seconds. A tenant has half of them at most."""
_FRESH = 2
"""A caller may ask for a fresh observation every so many first pauses."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What one observation of a delegation found, and the verdict."""

    observation: Observation
    report: Report
    memory: Memory


class Watch:
    """Observes delegations, in the background and on demand."""

    def __init__(
        self,
        *,
        watches: Watches,
        claims: Claims,
        changes: Changes,
        prober: Prober,
        nameservers: tuple[str, ...],
        signals: Signals,
        first: timedelta,
        ds_registrars: tuple[str, ...],
        metrics: Metrics,
    ) -> None:
        """`first` is the pause between the first observations; `ds_registrars` take a DS by their API."""
        self._watches = watches
        self._claims = claims
        self._proofs = Proofs(claims, signals.work.set)
        self._changes = changes
        self._prober = prober
        self._wanted = tuple(sorted(nameservers))
        self._signals = signals
        self._first = first
        self._ds_registrars = ds_registrars
        self._metrics = metrics
        self._running: dict[asyncio.Task[None], str] = {}
        self._wake = asyncio.Event()
        self._more = False

    # --- the loop ----------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Begin to observe what is due, and wait until there may be more; raises StoreUnavailable."""
        self._wake.clear()
        free, busy = _AT_ONCE - len(self._running), Counter(self._running.values())
        leases = await self._watches.lease(free, _OF_A_TENANT, busy)
        self._more = bool(leases)
        for lease in leases:
            task = asyncio.create_task(self._observe_due(lease))
            self._running[task] = lease.row.whose
            task.add_done_callback(self._ended)
        await until(self._wake, min(self._first.total_seconds() / 3, 5.0) * uniform(0.8, 1.2))

    async def close(self) -> None:
        """Call off what is being observed in the background: it is still due."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if self._more:
            self._wake.set()  # a place is free, and somebody may be waiting for it

    async def _observe_due(self, lease: Lease[Watched]) -> None:
        shares.begin(lease.row.whose, lease.name, waits=False)
        try:
            await self._observe(lease, budgets.ROUND)
        except StoreUnavailable:
            pass  # the lease ends by itself, and the domain is still due
        except Exception:  # noqa: BLE001 - a defect must not end the work for ever
            _log.exception("observing the delegation of %s failed because of a defect", lease.name)

    async def count(self) -> None:
        """Measure how many delegations are in each phase, and forget what nobody cares for any more."""
        self._metrics.delegations(await self._watches.phases())
        await self._watches.forget()

    # --- on demand -----------------------------------------------------------------------------------

    async def known(self, fqdn: str, *, fresh: bool) -> Known:
        """Return what is known of a domain's delegation; observes if nothing is, or if asked to, but not too often.

        Raises StoreUnavailable, also while nothing is known yet.
        """
        found = await self._watches.known(fqdn)
        if found is not None and not fresh:
            return found
        lease = await self._watches.lease_one(fqdn, self._first * _FRESH if found else timedelta())
        if lease is not None:
            await self._observe(lease, budgets.ROUND)
        if (found := await self._watches.known(fqdn)) is None:
            # Somebody else observes it, perhaps another replica.
            found = await self._signals.wait(
                fqdn, lambda: self._watches.known(fqdn), deadline.left(budgets.ROUND), budgets.ASK_AGAIN
            )
        if found is None:
            raise StoreUnavailable("the delegation is being observed; ask again shortly")
        return found

    async def observe_now(self, fqdn: str, seconds: float) -> Observed:
        """Observe a domain now, whatever was known, within `seconds`; raises StoreUnavailable."""
        end = monotonic() + seconds

        async def lease_it() -> Lease[Watched] | None:
            return await self._watches.lease_one(fqdn, timedelta())

        # Who observes it already may have begun before what this caller wants to be seen.
        lease = await lease_it() or await self._signals.wait(fqdn, lease_it, seconds / 2, budgets.LEASE_AGAIN)
        seconds = end - monotonic()
        if lease is not None:
            return await self._observe(lease, seconds)
        # What the other finds is recorded, what we find is for this caller.
        known = await self._watches.known(fqdn)
        now = await self._watches.now()
        memory = known.memory if known else Memory(since=now, changed_at=now)
        observation = await observe(self._prober.round(seconds), fqdn, self._wanted, now)
        report, memory = verdict.judge(observation, self._wanted, memory)
        return Observed(observation=observation, report=report, memory=memory)

    async def outdated(self, fqdn: str) -> datetime | None:
        """Return the moment before which a holder's proof of a domain counts no more, as observed last."""
        known = await self._watches.known(fqdn)
        return verdict.outdated(known.report, known.memory) if known else None

    async def hurry(self, fqdn: str) -> None:
        """Have a domain observed now, in the background."""
        await self._watches.hurry(fqdn)
        self._wake.set()

    # --- one observation --------------------------------------------------------------------------------------

    async def _observe(self, lease: Lease[Watched], seconds: float) -> Observed:
        before = lease.row.memory or Memory(since=lease.row.at, changed_at=lease.row.at)
        round_ = self._prober.round(seconds)
        try:
            observation = await observe(round_, lease.name, self._wanted, lease.row.at)
            report, memory = verdict.judge(observation, self._wanted, before, lease.row.taken_back_at)
            self._metrics.looked(report.phase, observation.queries)
            again = verdict.pause(memory, lease.row.at, self._first, lease.row.taken_back_at) * uniform(0.9, 1.1)
            waits, shown = await self._conclude(lease, round_, observation, report, memory)
            report = msgspec.structs.replace(report, challenge=shown)
            if waits:
                again = min(again, self._first)
            if await self._watches.record(lease, report, memory, again) and memory.phase != before.phase:
                await self._watches.note(lease.name, before.phase, memory.phase)
                fields = {"fqdn": lease.name, "before": before.phase, "phase": memory.phase, "dnssec": report.dnssec}
                logs.event(_log, logging.INFO, "delegation", fields)
        except BaseException:
            await asyncio.shield(self._give_up(lease))
            raise
        self._signals.outcome(lease.name)
        return Observed(observation=observation, report=report, memory=memory)

    async def _give_up(self, lease: Lease[Watched]) -> None:
        with suppress(StoreUnavailable):  # it ends by itself
            await self._watches.give_up(lease)

    async def _conclude(
        self, lease: Lease[Watched], round_: Round, seen: Observation, report: Report, memory: Memory
    ) -> tuple[bool, tuple[ChallengeView, ...] | None]:
        """Act on what was seen; return whether a proven claim waits for more, and what stands where claims prove it."""
        fqdn = lease.name
        elsewhere = memory.elsewhere_at == lease.row.at
        delegated = report.parents_ok > 0 and not report.extra and not report.missing
        if elsewhere:
            await self._claims.seen_elsewhere(fqdn, lease.row.at)
        shown: dict[Kind, bool] = {
            "rollback": elsewhere,
            "nameservers": delegated,
            "ds": report.dnssec == "secure",
            "ds-removal": report.dnssec == "insecure",
        }
        await self._changes.settle_by_dns(fqdn, [kind for kind, is_shown in shown.items() if is_shown])
        views = None

        async def texts() -> frozenset[str] | None:
            nonlocal views
            found = await challenge(round_, seen)
            views = found.views
            return found.texts

        waits = await self._proofs.conclude(
            fqdn,
            Seen(
                at=lease.row.at,
                texts=texts,
                delegated=delegated,
                outdated=verdict.outdated(report, memory),
            ),
        )
        if memory.phase == "live" and (from_ := verdict.secure_from(memory)) is not None and lease.row.at >= from_:
            secured = report.dnssec == "secure"
            if await self._watches.announce(fqdn, secured=secured, registrars=self._ds_registrars):
                self._signals.work.set()
        return waits, views
