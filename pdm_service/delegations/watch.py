"""The watch: looks at delegations when they are due or asked for, and draws the conclusions.

A look collects (`look`), judges (`delegation`) and records. What follows from it (a claim is proven, a change at
a registrar has arrived, the DS may be published) is a conditional statement each: whatever stops a look in the
middle, the next one comes to the same.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from random import uniform
from time import monotonic

import msgspec

from pdm_service.callers import Actor
from pdm_service.delegations import verdict as delegation
from pdm_service.delegations.observe import look, texts
from pdm_service.delegations.prober import ROUND_SECONDS, Prober, Round
from pdm_service.errors import Conflict, OverlapsAllocation, StoreUnavailable
from pdm_service.model.allocation import CHALLENGE_LABEL, Proof
from pdm_service.model.observation import Known, Memory, Observation, Report
from pdm_service.store.claims import Claims
from pdm_service.store.registrar_changes import Changes, Kind
from pdm_service.store.signals import Signals, until
from pdm_service.store.watches import Turn, Watches
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_AT_ONCE = 24
"""Rounds under way in this process; each may wait for slow servers for seconds."""
_ACTOR = Actor("watch", everything=True)
_COUNT_SECONDS = 15.0
_FRESH = 2
"""A caller may ask for a fresh look every so many first pauses."""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found."""

    observation: Observation
    report: Report
    memory: Memory


class Watch:
    """Looks at delegations, in the background and on demand."""

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
        """`first` is the pause between the first looks; `ds_registrars` take a DS by their API."""
        self._watches = watches
        self._claims = claims
        self._changes = changes
        self._prober = prober
        self._wanted = tuple(sorted(nameservers))
        self._signals = signals
        self._first = first
        self._ds_registrars = ds_registrars
        self._metrics = metrics
        self._looks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._more = False

    # --- the loop ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at what is due, for ever."""
        tick = min(self._first.total_seconds() / 3, 5.0)
        counting = asyncio.create_task(self._count())
        try:
            while True:
                self._wake.clear()
                try:
                    free = _AT_ONCE - len(self._looks)
                    turns = await self._watches.due(free)
                    self._more = len(turns) == free
                    for turn in turns:
                        task = asyncio.create_task(self._turn(turn))
                        self._looks.add(task)
                        task.add_done_callback(self._ended)
                except StoreUnavailable:
                    pass
                except Exception:  # noqa: BLE001 - a defect must not end the work for ever
                    _log.exception("looking for delegations that are due failed by a defect")
                await until(self._wake, tick * uniform(0.8, 1.2))
        finally:
            for task in (*self._looks, counting):
                task.cancel()
            await asyncio.gather(*self._looks, counting, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._looks.discard(task)
        if self._more:
            self._wake.set()  # a place is free, and somebody may be waiting for it

    async def _turn(self, turn: Turn) -> None:
        try:
            await self._look(turn, ROUND_SECONDS)
        except StoreUnavailable:
            pass  # the turn ends by itself, and the domain is still due
        except Exception:  # noqa: BLE001 - a defect must not end the work for ever
            _log.exception("looking at the delegation of %s failed by a defect", turn.fqdn)

    async def _count(self) -> None:
        while True:
            try:
                self._metrics.delegations(await self._watches.phases())
                await self._watches.forget()
            except StoreUnavailable:
                pass
            except Exception:  # noqa: BLE001 - a defect must not end the work for ever
                _log.exception("counting delegations failed by a defect")
            await asyncio.sleep(_COUNT_SECONDS)

    # --- on demand -----------------------------------------------------------------------------------

    async def known(self, fqdn: str, *, fresh: bool) -> Known:
        """Return what is known of a domain's delegation; looks if nothing is, or if asked to, but not too often."""
        found = await self._watches.known(fqdn)
        if found is not None and not fresh:
            return found
        turn = await self._watches.take(fqdn, self._first * _FRESH if found else timedelta())
        if turn is not None:
            await self._look(turn, ROUND_SECONDS)
        end = monotonic() + ROUND_SECONDS
        with self._signals.awaiting(fqdn) as event:
            while (found := await self._watches.known(fqdn)) is None and monotonic() < end:
                await until(event, 0.5)  # somebody else looks, perhaps another replica
        if found is None:
            raise StoreUnavailable("the delegation is being looked at; ask again shortly")
        return found

    async def look(self, fqdn: str, seconds: float) -> Looked:
        """Look at a domain now, whatever was known, within `seconds`."""
        end = monotonic() + seconds
        with self._signals.awaiting(fqdn) as event:
            # Who looks already may have begun before what this caller wants to be seen.
            while (turn := await self._watches.take(fqdn, timedelta())) is None and monotonic() < end - seconds / 2:
                event.clear()
                await until(event, 0.2)
        seconds = end - monotonic()
        if turn is not None:
            return await self._look(turn, seconds)
        # What the other finds is recorded, what we find is for this caller.
        known = await self._watches.known(fqdn)
        now = await self._watches.now()
        memory = known.memory if known else Memory(since=now, changed_at=now)
        observation = await look(self._prober.round(seconds), fqdn, self._wanted, now)
        report, memory = delegation.judge(observation, self._wanted, memory)
        return Looked(observation=observation, report=report, memory=memory)

    async def hurry(self, fqdn: str) -> None:
        """Have a domain looked at now, in the background."""
        await self._watches.hurry(fqdn)
        self._wake.set()

    # --- one look --------------------------------------------------------------------------------------

    async def _look(self, turn: Turn, seconds: float) -> Looked:
        before = turn.memory or Memory(since=turn.at, changed_at=turn.at)
        round_ = self._prober.round(seconds)
        try:
            observation = await look(round_, turn.fqdn, self._wanted, turn.at)
            report, memory = delegation.judge(observation, self._wanted, before)
            self._metrics.looked(report.phase, observation.queries)
            again = delegation.pause(memory, turn.at, self._first) * uniform(0.9, 1.1)
            await self._conclude(turn, round_, observation, report, memory)
            if await self._watches.record(turn, report, memory, again) and memory.phase != before.phase:
                await self._watches.note(turn.fqdn, before.phase, memory.phase)
                fields = {"fqdn": turn.fqdn, "before": before.phase, "phase": memory.phase, "dnssec": report.dnssec}
                logs.event(_log, logging.INFO, "delegation", fields)
        except BaseException:
            await asyncio.shield(self._give_up(turn))
            raise
        self._signals.outcome(turn.fqdn)
        return Looked(observation=observation, report=report, memory=memory)

    async def _give_up(self, turn: Turn) -> None:
        with suppress(StoreUnavailable):  # it ends by itself
            await self._watches.give_up(turn)

    async def _conclude(self, turn: Turn, round_: Round, seen: Observation, report: Report, memory: Memory) -> None:
        """Act on what was seen."""
        fqdn = turn.fqdn
        elsewhere = memory.elsewhere_at == turn.at
        delegated = report.parents_ok > 0 and not report.extra and not report.missing
        if elsewhere:
            await self._claims.seen_elsewhere(fqdn, turn.at)
        shown: dict[Kind, bool] = {
            "rollback": elsewhere,
            "nameservers": delegated,
            "ds": report.dnssec == "secure",
            "ds-removal": report.dnssec == "insecure",
        }
        await self._changes.settle_by_dns(fqdn, [kind for kind, is_shown in shown.items() if is_shown])
        await self._prove(turn, round_, seen, delegated=delegated)
        if memory.phase == "live" and (from_ := delegation.secure_from(memory)) is not None and turn.at >= from_:
            secured = report.dnssec == "secure"
            if await self._watches.announce(fqdn, secured=secured, registrars=self._ds_registrars):
                self._signals.work.set()

    async def _prove(self, turn: Turn, round_: Round, seen: Observation, *, delegated: bool) -> None:
        """Record the proofs that were seen, and make allocations of claims that have one and were committed."""
        claims = await self._claims.of(turn.fqdn)
        if any(claim.proof is None for claim in claims):
            found = await texts(round_, seen, f"{CHALLENGE_LABEL}.{turn.fqdn}")
            await self._claims.prove([claim.id for claim in claims if claim.challenge in found], Proof.TXT)
            if delegated:
                moved = await self._claims.prove_by_transition(turn.fqdn, turn.at)
                await self._claims.prove(moved, Proof.TRANSITION)
            claims = await self._claims.of(turn.fqdn)
        for claim in claims:
            if claim.proof is None or claim.committed_at is None:
                continue
            try:
                if await self._claims.adopt(claim.id, _ACTOR):
                    self._signals.work.set()
            except (Conflict, OverlapsAllocation) as refusal:
                fields = {"fqdn": turn.fqdn, "claim": claim.id, "error": str(refusal)}
                logs.event(_log, logging.WARNING, "a proven claim cannot be had", fields)
