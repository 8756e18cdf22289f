"""Wake-up calls: work is due, an outcome is there. They save waiting; nothing relies on them.

Within the process they ring at once; between replicas they travel by PostgreSQL's NOTIFY.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TypeVar

import asyncpg

from pdm_service.store.rows import OUTCOME_CHANNEL, WORK_CHANNEL
from pdm_service.store.sessions import connect

T = TypeVar("T")

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 5
_PROOF_OF_LIFE_SECONDS = 5


class Signals:
    """Rings `work` for the publisher, and an event per name for those who await an outcome."""

    def __init__(self, on_outcome: Callable[[str], None] = lambda _: None) -> None:
        """`on_outcome` gets each name of which there may be an outcome, also from other replicas."""
        self.work = asyncio.Event()
        self._on_outcome = on_outcome
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def outcome(self, fqdn: str) -> None:
        """Wake those who wait for `fqdn`: there may be an outcome."""
        self._on_outcome(fqdn)
        for event in self._waiting.get(fqdn, ()):
            event.set()

    @contextmanager
    def awaiting(self, fqdn: str) -> Iterator[asyncio.Event]:
        """Lend an event that is set when something may have come of `fqdn`."""
        event = asyncio.Event()
        self._waiting.setdefault(fqdn, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[fqdn].discard(event)
            if not self._waiting[fqdn]:
                del self._waiting[fqdn]

    async def wait(self, fqdn: str, look: Callable[[], Awaitable[T | None]], seconds: float, pause: float) -> T | None:
        """Wait until `look` returns something, and return it; None after `seconds`.

        It is asked at each ring for the name, and every `pause` seconds: a ring may get lost.
        """
        end = monotonic() + seconds
        with self.awaiting(fqdn) as event:
            while (left := end - monotonic()) > 0:
                await until(event, min(left, pause))
                event.clear()
                if (found := await look()) is not None:
                    return found
        return None

    async def listen(self, database_url: str) -> None:
        """Pass on what other replicas notify, without end, over a connection of its own."""
        while True:
            try:
                await self._listen_once(database_url)
            except (
                OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
            ) as error:  # fmt: skip
                _log.warning("not listening to the database for now: %s", type(error).__name__)
            await asyncio.sleep(1)

    async def _listen_once(self, database_url: str) -> None:
        connection = await connect(database_url, _CONNECT_SECONDS)
        try:
            await connection.add_listener(WORK_CHANNEL, lambda *_: self.work.set())
            await connection.add_listener(OUTCOME_CHANNEL, lambda *notice: self.outcome(str(notice[3])))
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            self.work.set()  # what was notified while nobody listened
            while not lost.is_set():
                # A server that takes no writes any more is not where others notify.
                if await connection.fetchval("SHOW transaction_read_only", timeout=_CONNECT_SECONDS) == "on":
                    raise asyncpg.ReadOnlySQLTransactionError("the database has become read-only")
                await until(lost, _PROOF_OF_LIFE_SECONDS)
        finally:
            connection.terminate()


async def until(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event for at most `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
