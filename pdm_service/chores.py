"""The work in the background: each chore takes turn after turn, whatever happens in one of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import uniform

from pdm_service.errors import StoreUnavailable
from pdm_service.parts import Parts
from pdm_service.powerdns import PowerDnsError

_log = logging.getLogger(__name__)

_WITHOUT_DATABASE_SECONDS = 0.5
_WITHOUT_POWERDNS_SECONDS = 10.0
_AFTER_DEFECT_SECONDS = 5.0
_MEASURE_SECONDS = 15.0
_HOUSEKEEPING_SECONDS = 60.0
_LATE_SECONDS = 2.0
_EXPIRED_KEPT = timedelta(hours=1)


async def forever(what: str, turn: Callable[[], Awaitable[None]], pause: float = 0.0) -> None:
    """Take turn after turn, `pause` seconds apart, without end. A defect is logged; it must not end the work."""
    while True:
        try:
            await turn()
            await asyncio.sleep(pause)
        except StoreUnavailable:
            await asyncio.sleep(_WITHOUT_DATABASE_SECONDS)
        except Exception:  # noqa: BLE001 - the one place for it
            _log.exception("%s failed because of a defect", what)
            await asyncio.sleep(_AFTER_DEFECT_SECONDS)


def all_of(parts: Parts, database_problem: Callable[[], Awaitable[str]]) -> list[Coroutine[None, None, None]]:
    """Return all chores of a running service."""
    pools, watch = parts.pools, parts.delegations.watch
    measure_seconds = min(_MEASURE_SECONDS, parts.settings.reconcile_interval.total_seconds())
    found = [
        parts.store.signals.listen(parts.settings.database_url),
        forever("keeping the taken names in memory", parts.store.follower.turn),
        forever("looking for work", parts.publishing.publisher.turn),
        forever("looking for late calls", parts.publishing.leftovers.turn, _LATE_SECONDS),
        forever("comparing zones", partial(_compare, parts)),
        forever("measuring", partial(_measure, parts, database_problem), measure_seconds),
        forever("removing what has expired", partial(_keep_house, parts), _HOUSEKEEPING_SECONDS),
    ]
    found += [
        forever(f"keeping the pool zone {domain}", partial(pools.zones.turn, domain)) for domain in pools.zones.status
    ]
    if pools.guard is not None:
        guard = pools.guard
        found += [
            forever(f"keeping the registration of {domain}", partial(guard.turn, domain)) for domain in guard.domains
        ]
    if parts.delegations.enabled:
        found.append(forever("observing delegations that are due", watch.turn))
        found.append(forever("counting delegations", watch.count, _MEASURE_SECONDS))
    return found


async def _compare(parts: Parts) -> None:
    """Compare all zones with the allocations, and wait until it is time again."""
    pause = parts.settings.audit_interval.total_seconds() * uniform(0.75, 1.25)
    try:
        await parts.publishing.comparison.zones()
    except PowerDnsError:
        pause = min(pause, _WITHOUT_POWERDNS_SECONDS)
    await asyncio.sleep(pause)


async def _measure(parts: Parts, database_problem: Callable[[], Awaitable[str]]) -> None:
    """Set what is measured rather than counted."""
    metrics, store = parts.telemetry.metrics, parts.store
    reach = parts.publishing.publisher.reach
    try:
        await parts.outside.powerdns.alive()
    except PowerDnsError as failure:
        reach.lost(str(failure))
    usable, writable = not await database_problem(), not await store.writable.problem()
    metrics.up(database=usable, writable=writable, powerdns=reach.condition != "unreachable")
    metrics.failing(failing=reach.condition == "failing")
    for name, database in (("callers", store.callers), ("publisher", store.publishing)):
        metrics.connections(name, *database.connections())
    for domain, status in parts.pools.zones.status.items():
        metrics.pool(domain, ready=status.ready and status.last_error is None)
    for domain, registration in (parts.pools.guard.status if parts.pools.guard else {}).items():
        metrics.registration(domain, ok=registration.state != "failed")
    with suppress(StoreUnavailable):
        metrics.allocations(await store.holdings.census())


async def _keep_house(parts: Parts) -> None:
    """Remove what has expired: reservations, claims, quarantines, old events."""
    store = parts.store
    parts.telemetry.metrics.expired(await store.allocations.expire(_EXPIRED_KEPT) + await store.claims.expire())
    await store.availability.end_quarantine()
    await store.trail.forget(parts.settings.events_kept)
