"""The guard of the pool domains: at their registrar, nameservers and DS are kept equal to the platform's.

`plan` decides; `Guard` reads, writes and records, in the background. Nothing waits for it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from random import uniform
from time import monotonic

import msgspec

from adapters.base import (
    SECONDS,
    Ds,
    Follows,
    NotSupported,
    OutcomeUnclear,
    Pending,
    RateLimited,
    ReadsDs,
    Registrar,
    RegistrarError,
    Rejected,
    SetsDs,
    Unavailable,
    known,
    registrable,
)
from pdm_service import glue
from pdm_service.errors import StoreUnavailable
from pdm_service.glue import Glue
from pdm_service.powerdns import PowerDns, PowerDnsError
from pdm_service.publisher.nameservers import Nameservers, NotSeen
from pdm_service.registrars import ds_of
from pdm_service.store.pool_registrations import Outcome, Registered, Registration, Registrations, State
from pdm_service.store.rows import Lease
from pdm_service.store.signals import until
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

AT_COMMIT = timedelta(hours=1)
"""How old the last check must be for a commit to cause one."""
_DAILY = timedelta(hours=24)
_LEASE = timedelta(seconds=120)
_CALL_SECONDS = 2 * SECONDS
_ASK_SECONDS = 5.0
"""Commits ask the database at most this often whether the last check is too old."""
_SOON = timedelta(seconds=60)
_SETTLING = timedelta(minutes=15)
"""A change that is not on record yet is not sent again within this time."""
_AWAY, _UNCLEAR, _REFUSED = timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1)


class Seen(msgspec.Struct, frozen=True):
    """What the registrar has on record."""

    nameservers: tuple[str, ...]
    ds: tuple[Ds, ...] | None
    """None where it does not say."""
    problem: str | None = None
    """Why it does not give the DS, where it should."""


class SetNameservers(msgspec.Struct, frozen=True):
    """Set the nameservers to the platform's."""


class SetDs(msgspec.Struct, frozen=True):
    """Set the DS."""

    ds: tuple[Ds, ...]


def plan(
    seen: Seen, nameservers: tuple[str, ...], ds: tuple[Ds, ...], *, may_sign: bool, sets_ds: bool
) -> list[SetDs | SetNameservers]:
    """Return what to change, in this order, so that `nameservers` serve the domain and `ds` make it secure.

    `may_sign` says whether resolvers may still know other nameservers: a DS would make what those
    serve bogus. For the same reason a DS that is not ours goes before the nameservers change (RFC 6781
    section 4.3.5). A further DS next to all of ours harms nobody and stays.
    """
    ours = {one.rdata for one in ds}
    found = {one.rdata for one in seen.ds or ()}
    kept = tuple(one for one in seen.ds or () if one.rdata in ours)
    if seen.nameservers != nameservers:
        first: list[SetDs | SetNameservers] = [SetDs(kept)] if sets_ds and found - ours else []
        return [*first, SetNameservers()]
    bogus = bool(found) and not kept
    return [SetDs(ds)] if sets_ds and ds and (bogus or (may_sign and not ours <= found)) else []


class GuardPace(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how soon."""

    tick: timedelta
    """How often it asks what is due."""
    ds_delay: timedelta
    """How long after a change of nameservers a DS is published."""


class Guard:
    """Keeps the registration of every pool domain in order."""

    def __init__(  # noqa: PLR0913 - what it keeps, and what it needs for that
        self,
        *,
        registrar: Registrar,
        credential: str,
        domains: Iterable[str],
        nameservers: tuple[str, ...],
        platform: Glue,
        asked: Nameservers,
        powerdns: PowerDns,
        registrations: Registrations,
        ready: Callable[[str], bool],
        pace: GuardPace,
        metrics: Metrics,
    ) -> None:
        """`ready` says whether the zone of a pool domain is there."""
        self._registrar = registrar
        self._credential = credential
        self._nameservers = known(nameservers)
        self._glue = platform
        self._asked = asked
        self._powerdns = powerdns
        self._registrations = registrations
        self._ready = ready
        self._ds_delay = pace.ds_delay
        self._tick_seconds = pace.tick.total_seconds()
        self._metrics = metrics
        self._older: dict[str, timedelta] = {domain: timedelta() for domain in domains if registrable(domain) == domain}
        self.domains = tuple(self._older)
        self._wake = {domain: asyncio.Event() for domain in self.domains}
        self._one_at_a_time = asyncio.Lock()
        self._asked_at: dict[str, float] = {}
        self.status: dict[str, Registration] = {}
        self.name = registrar.about.name

    def committed(self, domain: str) -> None:
        """Have the domain of a name that was just committed checked, if the last check is too old."""
        now = monotonic()
        if domain in self._wake and now - self._asked_at.get(domain, -_ASK_SECONDS) >= _ASK_SECONDS:
            self._asked_at[domain] = now
            self._older.setdefault(domain, AT_COMMIT)
            self._wake[domain].set()

    async def turn(self, domain: str) -> None:
        """Check one domain if that is due, and wait until the next may be."""
        wake = self._wake[domain]
        wake.clear()
        older = self._older.pop(domain, None)
        try:
            # Registrars take one request of an account at a time, or slow down.
            async with self._one_at_a_time:
                await self._look_after(domain, older)
        except StoreUnavailable:
            self._older.setdefault(domain, _DAILY if older is None else older)
        await until(wake, min(1.0, self._tick_seconds) if domain in self._older else self._tick_seconds)

    async def _look_after(self, domain: str, older: timedelta | None) -> None:
        if older == timedelta() and not self._ready(domain):
            self._older[domain] = older
            return
        lease = await self._registrations.lease(domain, older, _LEASE)
        if lease is not None:
            await self._registrations.record(lease, await self._look(lease))
        self.status = await self._registrations.all()

    async def _look(self, lease: Lease[Registered]) -> Outcome:
        outcome = await self._outcome(lease)
        before = self.status.get(lease.name)
        if outcome.problem and (before is None or before.problem != outcome.problem):
            fields = {"poolDomain": lease.name, "registrar": self.name, "problem": outcome.problem}
            logs.event(_log, logging.WARNING, "pool registration", fields)
        self._metrics.registration_checked(outcome.state)
        return outcome

    async def _outcome(self, lease: Lease[Registered]) -> Outcome:
        seen: Seen | None = None
        try:
            if waiting := await self._under_way(lease):
                return waiting
            seen = await self._see(lease.name)
            return await self._mend(lease, seen)
        except (PowerDnsError, NotSeen) as error:
            return _failed(f"nothing is changed while the zone is not served: {error}", _SOON, seen)
        except RegistrarError as failure:
            outcome = _failed(failure.detail, _pause(failure), seen)
            # Before anything was seen, what is under way was not found out either.
            return outcome if seen else msgspec.structs.replace(outcome, operation=lease.row.operation)

    async def _under_way(self, lease: Lease[Registered]) -> Outcome | None:
        """Return the outcome while the registrar still carries out the last change; None once it does not."""
        if lease.row.operation is None or not isinstance(self._registrar, Follows):
            return None
        try:
            progress = await self._registrar.progress(
                self._credential, lease.name, lease.row.operation, within=_CALL_SECONDS
            )
        except (Rejected, NotSupported):
            return None  # nobody will ever say how it ended: what is on record has to
        if progress.failed is not None:
            return _failed(progress.failed.detail, _REFUSED, None)
        if progress.done or lease.row.since_moved is None or lease.row.since_moved > _DAILY:
            return None
        again = max(_SOON, timedelta(seconds=progress.poll_after_seconds))
        return Outcome(state="changing", operation=lease.row.operation, again=again)

    async def _see(self, domain: str) -> Seen:
        nameservers = await self._registrar.get_nameservers(self._credential, domain, within=_CALL_SECONDS)
        if not isinstance(self._registrar, ReadsDs):
            return Seen(nameservers, None)
        try:
            return Seen(nameservers, await self._registrar.get_ds(self._credential, domain, within=_CALL_SECONDS))
        except RegistrarError as failure:
            # Other nameservers than ours are an outage of every name below; that does not wait for the DS.
            return Seen(nameservers, None, f"the DS cannot be read: {failure.detail}")

    async def _mend(self, lease: Lease[Registered], seen: Seen) -> Outcome:
        ds = tuple(ds_of(*key) for key in await self._powerdns.signing_keys(f"{lease.name}."))
        may_sign = lease.row.since_moved is None or lease.row.since_moved > self._ds_delay
        sets_ds = isinstance(self._registrar, SetsDs) and seen.ds is not None
        steps = plan(seen, self._nameservers, ds, may_sign=may_sign, sets_ds=sets_ds)
        if not steps:
            unsigned = sets_ds and not {one.rdata for one in ds} <= {one.rdata for one in seen.ds or ()}
            soon = _AWAY if seen.problem else min(self._ds_delay, AT_COMMIT) if unsigned else None
            return _told(seen, "in-order", again=soon or _DAILY * uniform(0.9, 1.0))
        settling = {SetNameservers: lease.row.since_moved, SetDs: lease.row.since_signed}
        if any(since is not None and since < _SETTLING for step in steps if (since := settling[type(step)])):
            return _told(seen, "changing", again=_SOON)
        await self._asked.served(f"{lease.name}.", await self._powerdns.ds(f"{lease.name}."))
        for step in steps:
            pending = await self._apply(lease, step, seen)
            if pending is not None:  # the next step waits until this one is on record
                again = max(_SOON, timedelta(seconds=pending.poll_after_seconds))
                return _told(seen, "changing", operation=pending.operation, repaired=True, again=again)
        return _told(await self._see(lease.name), "in-order", repaired=True, again=_SOON)

    async def _apply(self, lease: Lease[Registered], step: SetDs | SetNameservers, seen: Seen) -> Pending | None:
        """Take one step; a turn whose lease has ended writes nothing."""
        moving = isinstance(step, SetNameservers)
        noted = self._registrations.about_to_move if moving else self._registrations.about_to_sign
        if not await noted(lease):
            raise StoreUnavailable("the lease has ended")
        what = "nameservers" if moving else "ds"
        logs.event(
            _log, logging.WARNING, "pool registration drifted",
            {"poolDomain": lease.name, "registrar": self.name, "repairing": what,
             "nameservers": seen.nameservers, "ds": _texts(seen.ds)},
        )  # fmt: skip
        if isinstance(step, SetNameservers):
            change = await glue.with_known_hosts(
                self._registrar, self._credential, lease.name, self._glue, monotonic() + _CALL_SECONDS,
                lambda: self._registrar.set_nameservers(
                    self._credential, lease.name, self._nameservers, within=_CALL_SECONDS
                ),
            )  # fmt: skip
            pending = change if isinstance(change, Pending) else None
        else:
            assert isinstance(self._registrar, SetsDs)  # noqa: S101 - plan has no such step otherwise
            pending = await self._registrar.set_ds(self._credential, lease.name, step.ds, within=_CALL_SECONDS)
        self._metrics.registration_repaired(what)
        return pending


def _told(
    seen: Seen, state: State, *, again: timedelta, operation: str | None = None, repaired: bool = False
) -> Outcome:
    return Outcome(
        state=state,
        nameservers=seen.nameservers,
        ds=_texts(seen.ds),
        problem=seen.problem,
        operation=operation,
        repaired=repaired,
        again=again,
    )


def _failed(problem: str, again: timedelta, seen: Seen | None) -> Outcome:
    if seen is None:
        return Outcome(state="failed", problem=problem, again=again)
    return msgspec.structs.replace(_told(seen, "failed", again=again), problem=problem)


def _pause(failure: RegistrarError) -> timedelta:
    if isinstance(failure, RateLimited) and failure.retry_after_seconds:
        return timedelta(seconds=failure.retry_after_seconds)
    return _AWAY if isinstance(failure, Unavailable) else _UNCLEAR if isinstance(failure, OutcomeUnclear) else _REFUSED


def _texts(ds: tuple[Ds, ...] | None) -> tuple[str, ...] | None:
    return None if ds is None else tuple(one.text for one in ds)
