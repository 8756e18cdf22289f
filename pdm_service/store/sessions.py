"""Sessions at PostgreSQL: how each begins, and pools of them that never make anyone wait beyond a deadline."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, LiteralString, TypeAlias, TypeVar, cast

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from pdm_service import deadline
from pdm_service.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")

DEADLINE_SECONDS = 3.5
"""The longest wait for an answer of PostgreSQL, a free connection included."""
LEAST_SECONDS = 0.4
"""What a statement gets when its request has no time left: enough to record what was done, and to give up a lease."""
LOCK_SECONDS = 3.0
"""The longest wait for a lock, by PostgreSQL's own clock: what ends so has done nothing, and leaves nothing behind."""
READ_WRITE = SessionAttribute.read_write
"""Of several hosts the one that takes writes is chosen; one that takes none is an outage."""

READ_ONLY = "the database is read-only, or a standby; try again shortly, with the same request"
AWAY = "the database cannot be reached or does not answer; try again shortly, with the same request"

_TAKES_NO_WRITES = (asyncpg.ReadOnlySQLTransactionError, asyncpg.TargetServerAttributeNotMatched)
_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # A connection that the server ended meanwhile: the client's own state of it is upside down. Or none takes writes.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)


async def connect(database_url: str, seconds: float) -> "Connection":
    """Return a connection to the server that takes writes.

    Raises OSError, TimeoutError, ValueError, asyncpg's errors; TargetServerAttributeNotMatched where none takes writes.
    """
    return await asyncpg.connect(database_url, timeout=seconds, target_session_attrs=READ_WRITE)


class Lent:
    """A connection that is lent for a while."""

    def __init__(self, session: "PoolConnectionProxy") -> None:
        self.session = session
        self.kept = False
        """Whether it stays lent when its caller has left."""

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run a statement; return its rows. Raises asyncpg's errors, as all of these do."""
        return await self._run(self.session.fetch(statement, *values))

    async def fetchrow(self, statement: str, *values: object) -> asyncpg.Record | None:
        """Run a statement; return its first row, None if there is none."""
        return await self._run(self.session.fetchrow(statement, *values))

    async def fetchval(self, statement: str, *values: object) -> Any:
        """Run a statement; return the first value of its first row."""
        return await self._run(self.session.fetchval(statement, *values))

    async def execute(self, statement: str, *values: object) -> None:
        """Run a statement, or several without values, for the effect."""
        await self._run(self.session.execute(statement, *values))

    @property
    def open(self) -> bool:
        """Whether the connection stands."""
        with suppress(asyncpg.InterfaceError):  # when it was lost, it has left us already
            return not self.session.is_closed()
        return False

    @property
    def clean(self) -> bool:
        """Whether somebody else may have it: it stands, and no transaction is open."""
        return self.open and not self.session.is_in_transaction()

    def end(self) -> None:
        """End the connection at once."""
        if self.open:
            self.session.terminate()

    def _run(self, statement: Coroutine[Any, Any, T]) -> Awaitable[T]:
        return statement


class Sessions:
    """A pool of connections; opens nothing before it is needed, and recovers by itself.

    A statement that is not answered in time ends its connection.
    """

    def __init__(
        self, database_url: str, most: int, on_failure: Callable[[], None], settings: Mapping[str, str]
    ) -> None:
        """`on_failure` is called each time PostgreSQL does not answer; `settings` are each session's."""
        self._on_failure = on_failure
        self._url = database_url
        self._most = most
        self._settings = {"lock_timeout": f"{LOCK_SECONDS:.0f}s", **settings}
        self._pooled = False
        """Whether a pooler was met, which takes no settings when a connection begins."""
        self._former: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make the pool usable; connects to nothing yet."""
        self._pool = await self._made()

    async def close(self) -> None:
        """Close all connections, those first that are idle; what hangs is cut off."""
        await _closed(self._pool, 1)
        await asyncio.gather(*self._former)

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
    async def transaction(self, seconds: float = DEADLINE_SECONDS) -> AsyncIterator[Lent]:
        """Lend a connection with a transaction open, for at most `seconds`; raises StoreUnavailable."""
        async with self.connection(seconds) as connection:
            await connection.execute("BEGIN")
            try:
                yield connection
            except Exception:
                if connection.open:
                    await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def connection(self, seconds: float = DEADLINE_SECONDS) -> AsyncIterator[Lent]:
        """Lend a connection for at most `seconds`, or what the request has left; raises StoreUnavailable."""
        pool = self._pool
        try:
            async with asyncio.timeout(max(LEAST_SECONDS, deadline.left(seconds))):
                lent = await self._lend(pool)
                try:
                    yield lent
                except BaseException as error:
                    # Cut off in the middle of something: its state is unknown, or it hangs.
                    if not (isinstance(error, Exception) and lent.clean):
                        self._give_up(pool, lent)
                    raise
                finally:
                    if not lent.kept:
                        await pool.release(lent.session)
        except _UNAVAILABLE as error:
            self._on_failure()
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and pool is self._pool:
                # Those beside it are at the same server, and would stay there.
                await self.renew()
            raise StoreUnavailable(READ_ONLY if isinstance(error, _TAKES_NO_WRITES) else AWAY) from error

    # --- what becomes of connections -------------------------------------------------------------

    async def _lend(self, pool: asyncpg.Pool) -> Lent:
        return Lent(await pool.acquire())

    def _give_up(self, _: asyncpg.Pool, lent: Lent) -> None:
        """Have a connection end whose state is not known."""
        lent.end()

    async def renew(self) -> None:
        """Go on with new connections alone: those that are idle end now, those that are lent when they come back."""
        fresh = await self._made()
        former, self._pool = self._pool, fresh
        closing = asyncio.create_task(_closed(former, DEADLINE_SECONDS))
        self._former.add(closing)
        closing.add_done_callback(self._former.discard)

    async def _made(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._most,
            timeout=DEADLINE_SECONDS,
            target_session_attrs=READ_WRITE,
            connect=self._connect,
            reset=_keep_session,
        )

    async def _connect(self, *where: Any, **how: Any) -> "Connection":
        """Connect under a name that no other connection has, by which PostgreSQL can be asked for its session."""
        name = {"application_name": f"pdm {secrets.token_hex(8)}"}
        if not self._pooled:
            try:
                return cast("Connection", await asyncpg.connect(*where, **how, server_settings=self._settings | name))
            except asyncpg.ProtocolViolationError:
                self._pooled = True
        connection = cast("Connection", await asyncpg.connect(*where, **how, server_settings=name))
        try:
            await connection.execute(";".join(f"SET {key} = '{value}'" for key, value in self._settings.items()))
        except BaseException:
            connection.terminate()
            raise
        return connection


async def _closed(pool: asyncpg.Pool, seconds: float) -> None:
    """Close a pool whose connections come back; after `seconds` cut off what does not."""
    try:
        async with asyncio.timeout(seconds):
            await pool.close()
    except _UNAVAILABLE:
        pool.terminate()


async def _keep_session(_: object) -> None:
    """Spare the round trip of a reset: no statement of ours changes its session."""
