"""Changes of parent zones: many names in one PATCH, by one writer a zone in the whole deployment."""

import asyncio
from collections.abc import Callable

from pdm_service.model.allocation import Allocation
from pdm_service.model.records import RRset
from pdm_service.powerdns import Failed, PowerDns, PowerDnsError, Rejected, Unavailable
from pdm_service.publisher import budgets
from pdm_service.store.rows import Lease
from pdm_service.store.worklist import Worklist

_BATCH = 100


class LeaseLost(Exception):
    """Another publisher has taken the name over, or its wanted state changed."""


class _Change:
    """NS and DS of one child, and the attempt that waits for them."""

    def __init__(self, lease: Lease[Allocation], rrsets: tuple[RRset, ...]) -> None:
        self.lease = lease
        self.rrsets = rrsets
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, error: Exception | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class ParentZone:
    """Changes of one parent zone by this process, gathered while the ones before are being written."""

    def __init__(self, zone: str, worklist: Worklist, powerdns: PowerDns, observe_batch: Callable[[int], None]) -> None:
        self._zone = zone
        self._worklist = worklist
        self._powerdns = powerdns
        self._observe_batch = observe_batch
        self._waiting: list[_Change] = []
        self._writing: asyncio.Task[None] | None = None

    async def apply(self, lease: Lease[Allocation], rrsets: tuple[RRset, ...]) -> None:
        """Write RRsets of one child; returns when they are written.

        Raises LeaseLost, PowerDnsError or StoreUnavailable; the change may then have been made.
        """
        change = _Change(lease, rrsets)
        self._waiting.append(change)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await change.done

    async def _write(self) -> None:
        while self._waiting:
            batch: list[_Change] = []
            try:
                async with self._worklist.writer_of(self._zone, budgets.WRITER) as writer:
                    # Taken only now: all that came while we waited for the lock travels along.
                    batch = self._take()
                    held = await writer.held([change.lease for change in batch])
                    await self._patch([change for change in batch if change.lease.id in held])
                    for change in batch:
                        change.end(LeaseLost())
            except Unavailable as error:
                # Another replica may have a better way to PowerDNS: it gets its turn before what waits here.
                for change in [*batch, *self._take_all()]:
                    change.end(error)
            except Exception as error:  # noqa: BLE001 - each waiter gets it
                for change in batch or self._take():
                    change.end(error)

    def _take(self) -> list[_Change]:
        taken, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        return [change for change in taken if not change.done.done()]

    def _take_all(self) -> list[_Change]:
        taken, self._waiting = self._waiting, []
        return [change for change in taken if not change.done.done()]

    async def _patch(self, batch: list[_Change]) -> None:
        """Write a batch; it is all or nothing, so one that fails is halved until the culprit stands alone."""
        if not batch:
            return
        self._observe_batch(len(batch))
        await self._worklist.note_write(self._zone)
        try:
            await self._powerdns.patch(f"{self._zone}.", [rrset for change in batch for rrset in change.rrsets])
        except (Rejected, Failed) as error:
            if len(batch) == 1:
                batch[0].end(error)
                return
            middle = len(batch) // 2
            await self._patch(batch[:middle])
            await self._patch(batch[middle:])
        except Unavailable:
            raise
        except PowerDnsError as error:
            for change in batch:
                change.end(error)
        else:
            for change in batch:
                change.end()


class ParentZones:
    """The parent zones that this process changes."""

    def __init__(self, worklist: Worklist, powerdns: PowerDns, observe_batch: Callable[[int], None]) -> None:
        """`observe_batch` gets how many names each change has."""
        self._worklist = worklist
        self._powerdns = powerdns
        self._observe_batch = observe_batch
        self._zones: dict[str, ParentZone] = {}

    def of(self, pool_domain: str) -> ParentZone:
        """Return the changes of a pool domain's zone."""
        if pool_domain not in self._zones:
            self._zones[pool_domain] = ParentZone(pool_domain, self._worklist, self._powerdns, self._observe_batch)
        return self._zones[pool_domain]
