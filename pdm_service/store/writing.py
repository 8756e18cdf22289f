"""Connections for what changes something: few of them, and kept for as long as PostgreSQL has not answered.

A commit that waits for a standby can be neither called off nor left: its backend waits on for as long as the standby is
away, whether its client is there or not. So who gives up leaves the connection lent, and the next ones are refused at
once; what only reads has connections of its own. To cancel such a wait would be worse: others would see what was
committed, and what they were told would be lost with the primary.
https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import asyncpg

from pdm_service.errors import StoreUnavailable
from pdm_service.store.sessions import AWAY, Lent, Sessions

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

T = TypeVar("T")

WAITING = "writes wait for a standby of the database, which is away; try again shortly, with the same request"

_LOOK_SECONDS = 1.0
# Of a session at another server, or one that the statement never reached, there is nothing.
_UNDER_WAY: LiteralString = """
    SELECT wait_event = 'SyncRep' AS for_standby FROM pg_stat_activity
     WHERE application_name = $1 AND state IN ('active', 'disabled')
"""


class Write(Lent):
    """A connection whose statements go on when their caller leaves."""

    def __init__(self, session: "PoolConnectionProxy") -> None:
        super().__init__(session)
        self.name: str = session.get_settings().application_name
        self.statement: asyncio.Future[Any] | None = None
        self.for_standby = False
        """Whether PostgreSQL was seen to wait for a standby with it."""

    @property
    def unanswered(self) -> bool:
        """Whether PostgreSQL has not answered its last statement."""
        return self.statement is not None and not self.statement.done()

    def _run(self, statement: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        self.statement = asyncio.ensure_future(statement)
        return asyncio.shield(self.statement)


class Writing(Sessions):
    """A pool of connections for writes; a statement that is not answered in time keeps its connection."""

    def __init__(
        self, database_url: str, most: int, on_failure: Callable[[], None], settings: Mapping[str, str],
        reading: Sessions,
    ) -> None:  # fmt: skip
        """Ask `reading` what became of a statement that is not answered."""
        super().__init__(database_url, most, on_failure, settings)
        self._reading = reading
        self._kept: dict[Write, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Close all connections; what PostgreSQL has not answered is cut off."""
        for watching in self._kept.values():
            watching.cancel()
        await asyncio.gather(*self._kept.values(), return_exceptions=True)
        await super().close()

    async def renew(self) -> None:
        """Go on with new connections alone, also for reading: a server that takes no writes may be of the past."""
        await self._reading.renew()
        await super().renew()

    async def _lend(self, pool: asyncpg.Pool) -> Write:
        # Where waiting would be in vain.
        waiting = any(write.for_standby for write in self._kept)
        if waiting or len(self._kept) >= self._most:
            self._on_failure()
            raise StoreUnavailable(WAITING if waiting else AWAY)
        return Write(await pool.acquire())

    def _give_up(self, pool: asyncpg.Pool, lent: Lent) -> None:
        if not (isinstance(lent, Write) and lent.unanswered):
            super()._give_up(pool, lent)
            return
        lent.kept = True
        # Of no request: it goes on when its request has ended.
        watching = asyncio.get_running_loop().create_task(self._outlast(pool, lent), context=Context())
        self._kept[lent] = watching

    async def _outlast(self, pool: asyncpg.Pool, write: Write) -> None:
        """Keep a connection until PostgreSQL has answered, or knows of no statement any more."""
        assert write.statement is not None  # noqa: S101 - it is not answered
        try:
            while write.unanswered:
                with suppress(StoreUnavailable):  # where nobody can tell, it is kept
                    found = await self._reading.row(_UNDER_WAY, write.name)
                    if found is None:
                        break
                    write.for_standby = bool(found["for_standby"])
                await asyncio.wait({write.statement}, timeout=_LOOK_SECONDS)
        finally:
            del self._kept[write]
            if write.unanswered or not write.clean:
                write.end()
            await pool.release(write.session)
