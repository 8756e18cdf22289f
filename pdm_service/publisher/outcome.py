"""The one way to wait until DNS has what was stored."""

from contextlib import suppress

from pdm_service import deadline
from pdm_service.errors import NotFound, StoreUnavailable
from pdm_service.model.allocation import Allocation
from pdm_service.publisher import budgets
from pdm_service.store.allocations import Allocations
from pdm_service.store.signals import Signals


class Outcomes:
    """What comes of an allocation that was stored."""

    def __init__(self, allocations: Allocations, signals: Signals) -> None:
        self._allocations = allocations
        self._signals = signals

    async def of(self, held: Allocation, seconds: float) -> Allocation | None:
        """Return an allocation as it is once DNS has it, or after `seconds`; None if it is not there any more.

        While PostgreSQL does not answer it is returned as it was read last: what was asked for is stored.
        """
        latest: Allocation | None = held

        async def settled() -> bool | None:
            nonlocal latest
            latest = await self._find(held)
            return True if latest is None or latest.settled else None

        self._signals.work.set()
        if not held.settled:
            with suppress(StoreUnavailable):
                await self._signals.wait(held.fqdn, settled, deadline.left(seconds), budgets.ASK_AGAIN)
        return latest

    async def now(self, held: Allocation) -> Allocation:
        """Return an allocation as it is now; raises NotFound if it is not there any more, StoreUnavailable."""
        if (found := await self._find(held)) is None:
            raise NotFound(f"{held.fqdn} has changed hands in the meantime")
        return found

    async def _find(self, held: Allocation) -> Allocation | None:
        found = await self._allocations.find(held.fqdn)
        return found if found is not None and found.id == held.id else None
