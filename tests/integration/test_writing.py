"""Connections for writes: a statement that is not answered keeps its connection, and the next ones are told at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from pdm_service.dev.servers import Postgres, free_port
from pdm_service.errors import Conflict, StoreUnavailable
from pdm_service.store.database import Database
from pdm_service.store.sessions import DEADLINE_SECONDS
from pdm_service.store.writable import Writable
from pdm_service.store.writing import WAITING
from tests.patience import patient
from tests.slow_postgres import SlowPostgres

CONNECTIONS, WRITING = 6, 3
"""Of a database, and those among them for writes."""
FOR_STANDBY = "wait_event = 'SyncRep'"
FOR_LOCK = "wait_event_type = 'Lock'"


@pytest.fixture(scope="session")
def own(directory: Path) -> Iterator[Postgres]:
    """A PostgreSQL whose commits can be made to wait for a standby that does not exist."""
    with Postgres(directory / "writing", free_port()) as server:
        yield server


@asynccontextmanager
async def superuser(server: Postgres) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(server.dsn())
    try:
        yield connection
    finally:
        await connection.close()


async def standbys(server: Postgres, names: str) -> None:
    """Have commits wait for one of these standbys."""
    async with superuser(server) as connection:
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await connection.execute("SELECT pg_reload_conf()")

        async def known() -> bool:
            return bool(await connection.fetchval("SHOW synchronous_standby_names") == names)

        await soon(known)


async def waiting(server: Postgres, condition: str) -> int:
    """How many sessions wait for something."""
    async with superuser(server) as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}"))


async def soon(condition: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(patient(seconds)):
        while not await condition():  # noqa: ASYNC110 - PostgreSQL sends no event
            await asyncio.sleep(0.05)


@pytest.fixture
async def url(own: Postgres) -> AsyncIterator[str]:
    async with superuser(own) as connection:
        await connection.execute("DROP TABLE IF EXISTS words; CREATE TABLE words (word text PRIMARY KEY)")
    yield own.dsn()
    await standbys(own, "")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    made = Database(url, CONNECTIONS)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as made:
        yield made


async def word(database: Database, text: str) -> None:
    await database.writing.execute("INSERT INTO words VALUES ($1)", text)


async def words(database: Database) -> set[str]:
    return {row["word"] for row in await database.rows("SELECT word FROM words")}


async def told(write: Awaitable[object]) -> str:
    """What a write is refused with."""
    try:
        await write
    except StoreUnavailable as error:
        return error.detail
    return ""


async def test_commits_that_wait_are_few(own: Postgres, database: Database) -> None:
    """However many writes are given up, few sessions wait; who comes next is told at once; what reads goes on."""
    await standbys(own, "nobody")
    assert await told(word(database, "first"))

    async def refused() -> bool:
        return await told(word(database, "next")) == WAITING

    await soon(refused)
    async with asyncio.timeout(patient(DEADLINE_SECONDS / 2)):
        for _ in range(20):
            assert await told(word(database, "later")) == WAITING
    assert await Writable(database).problem() == WAITING
    assert await words(database) == set()
    assert 1 <= await waiting(own, FOR_STANDBY) <= WRITING
    await standbys(own, "")

    async def first() -> bool:
        return "first" in await words(database)

    await soon(first)
    await word(database, "after")
    assert "later" not in await words(database)
    assert await Writable(database).problem() == ""
    assert await waiting(own, FOR_STANDBY) == 0


async def test_a_commit_is_not_called_off_with_its_caller(own: Postgres, database: Database) -> None:
    """Whose caller leaves amid a commit that waits is not seen by others before a standby has it, and is kept."""
    await standbys(own, "nobody")

    async def write() -> None:
        async with database.writing.transaction() as connection:
            await connection.execute("INSERT INTO words VALUES ('left')")

    caller = asyncio.create_task(write())

    async def waits() -> bool:
        return await waiting(own, FOR_STANDBY) == 1

    await soon(waits)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await asyncio.sleep(0.2)  # so long a cancellation would need
    assert await words(database) == set()
    assert await waiting(own, FOR_STANDBY) == 1
    assert database.writing.connections() == (1, 0)
    await standbys(own, "")

    async def there() -> bool:
        return await words(database) == {"left"}

    await soon(there)


async def test_a_lock_that_is_not_had_leaves_nothing(own: Postgres, database: Database) -> None:
    """PostgreSQL itself ends the wait for a lock: nobody waits there when the caller has been told."""
    async with superuser(own) as holder:
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE words")
        assert await asyncio.gather(*(told(word(database, f"{n}")) for n in range(WRITING)))

        async def nobody() -> bool:
            return await waiting(own, FOR_LOCK) == 0

        await soon(nobody)
        await holder.execute("ROLLBACK")
    await word(database, "after")
    assert await words(database) == {"after"}


async def test_a_refusal_amid_a_transaction_costs_no_connection(database: Database) -> None:
    """What is refused by us is rolled back, and the session serves the next one."""
    backends = []

    async def refused(text: str) -> None:
        async with database.writing.transaction() as connection:
            backends.append(await connection.fetchval("SELECT pg_backend_pid()"))
            await connection.execute("INSERT INTO words VALUES ($1)", text)
            raise Conflict("no")

    for n in range(3):
        with pytest.raises(Conflict):
            await refused(str(n))
    assert len(set(backends)) == 1
    assert await words(database) == set()


async def test_answers_that_never_come_are_not_waited_for(url: str) -> None:
    """Where PostgreSQL has answered, and nothing arrives, the connections are given up and writes go on."""
    with SlowPostgres(url) as way:
        async with opened(way.database_url) as database:
            await asyncio.gather(*(word(database, f"{n}") for n in range(WRITING)))
            way.seconds = 3600
            assert all(await asyncio.gather(*(told(word(database, f"lost {n}")) for n in range(WRITING))))
            way.seconds = 0

            async def again() -> bool:
                return not await told(word(database, "after"))

            await soon(again, 20)
