"""A pool of connections to PostgreSQL that never makes anyone wait beyond a deadline."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, LiteralString

import asyncpg

from pdm_service import deadline
from pdm_service.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

DEADLINE_SECONDS = 3.5
"""The longest wait for an answer of PostgreSQL, a free connection included."""
LEAST_SECONDS = 0.4
"""What a statement gets when its request has no time left: enough to record what was done, and to give up a lease."""

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # A connection that the server ended meanwhile: the client's own state of it is upside down.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)


class Database:
    """A pool of connections; opens nothing before it is needed, and recovers by itself."""

    def __init__(
        self,
        database_url: str,
        connections: int,
        on_failure: Callable[[], None] = lambda: None,
        **server_settings: str,
    ) -> None:
        """`on_failure` is called each time PostgreSQL does not answer."""
        self._on_failure = on_failure
        self._url = database_url
        self._connections = connections
        self._server_settings = server_settings

    async def open(self) -> None:
        """Make the pool usable; connects to nothing yet."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._connections,
            timeout=DEADLINE_SECONDS,
            reset=_keep_session,
            server_settings=self._server_settings,
        )

    async def close(self) -> None:
        """Close all connections, those first that are idle; what hangs is cut off."""
        try:
            async with asyncio.timeout(1):
                await self._pool.close()
        except _UNAVAILABLE:
            self._pool.terminate()

    def connections(self) -> tuple[int, int]:
        """Return how many connections are lent, and how many are not."""
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    # --- one statement -------------------------------------------------------------------------

    async def row(self, statement: LiteralString, *values: object) -> asyncpg.Record | None:
        """Run one statement; return its first row, None if there is none. Raises StoreUnavailable."""
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *values)

    async def rows(self, statement: LiteralString, *values: object) -> list[asyncpg.Record]:
        """Run one statement; return its rows. Raises StoreUnavailable."""
        async with self.connection() as connection:
            return await connection.fetch(statement, *values)

    async def execute(self, statement: LiteralString, *values: object) -> None:
        """Run one statement for its effect. Raises StoreUnavailable."""
        async with self.connection() as connection:
            await connection.execute(statement, *values)

    # --- several -------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self, seconds: float = DEADLINE_SECONDS) -> AsyncIterator["PoolConnectionProxy"]:
        """Lend a connection with a transaction open, for at most `seconds`; raises StoreUnavailable."""
        async with self.connection(seconds) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self, seconds: float = DEADLINE_SECONDS) -> AsyncIterator["PoolConnectionProxy"]:
        """Lend a connection for at most `seconds`, or what the request has left; raises StoreUnavailable."""
        try:
            async with asyncio.timeout(max(LEAST_SECONDS, deadline.left(seconds))):
                connection = await self._pool.acquire()
                try:
                    yield connection
                except asyncpg.PostgresError:
                    raise
                except BaseException:
                    # Cut off in the middle of something: its state is unknown, or it hangs.
                    connection.terminate()
                    raise
                finally:
                    await self._pool.release(connection)
        except _UNAVAILABLE as error:
            self._on_failure()
            msg = "the database cannot be reached or does not answer; try again shortly, with the same request"
            raise StoreUnavailable(msg) from error


async def _keep_session(_: object) -> None:
    """Spare the round trip of a reset: no statement of ours changes its session."""
