"""The taken names in memory follow the trail: whatever is committed, in whatever order, by whomever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pdm_service.callers import Actor
from pdm_service.model.allocation import State
from pdm_service.model.standing import Standing
from pdm_service.names.policy import skeleton
from pdm_service.store import follower
from pdm_service.store.availability import Availability
from pdm_service.store.follower import Follower
from tests.patience import patient
from tests.slow_postgres import SlowPostgres
from tests.store import CLIENT, FQDN, HOUR, MINUTE, OTHER, POOL, Store, digest, question, reservation

ALIKE = f"acrne.{POOL}"  # "rn" looks like "m"


class Replica:
    """One that has the names in memory."""

    def __init__(self, store: Store, database_url: str) -> None:
        self.asked = 0
        self.follower = Follower(database_url)
        self.availability = Availability(store.database, follower=self.follower, on_asked=self._count)

    def _count(self) -> None:
        self.asked += 1

    async def of_memory(self, fqdn: str = FQDN, by: Actor = OTHER) -> Standing:
        """What memory says, as soon as it says anything."""
        while True:
            before = self.asked
            found = await self.availability.recent_standing(question(fqdn, by.name))
            if self.asked == before:
                return found
            await asyncio.sleep(0.02)

    async def says(self, wanted: Standing, fqdn: str = FQDN) -> None:
        """Wait until memory says it."""
        async with asyncio.timeout(patient(10)):
            while True:
                if await self.of_memory(fqdn) == wanted:
                    return
                await asyncio.sleep(0.02)

    async def falls_silent(self) -> None:
        while True:
            if self.follower.alike("x") is None:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def following(replica: Replica) -> AsyncIterator[Replica]:
    async def turns() -> None:
        while True:
            await replica.follower.turn()

    task = asyncio.create_task(turns())
    try:
        async with asyncio.timeout(patient(10)):
            await replica.of_memory("nobody.pool.test")
        yield replica
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def replica(store: Store, database_url: str) -> AsyncIterator[Replica]:
    """A replica that follows what `store`, another one, does."""
    async with following(Replica(store, database_url)) as one:
        yield one


FREE, RESERVED, ACTIVE = Standing(None), Standing(State.RESERVED), Standing(State.ACTIVE)
RELEASING, QUARANTINED = Standing(State.RELEASING), Standing(None, quarantined=True)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("reserved", RESERVED), ("active", ACTIVE), ("expired", FREE), ("releasing", RELEASING),
        ("declared", RESERVED), ("quarantined", QUARANTINED),
    ],
)  # fmt: skip
async def test_what_was_there_at_the_start(store: Store, database_url: str, state: str, found: Standing) -> None:
    """What is taken when a replica starts is known, with what looks like it."""
    await getattr(store, state)()
    async with following(Replica(store, database_url)) as replica:
        assert await replica.of_memory() == found
        alike = Standing(None, resembles=found != FREE)
        assert await replica.of_memory(ALIKE) == alike


async def test_a_life(store: Store, replica: Replica) -> None:
    """Each step of a name's life is known soon, to all replicas."""
    assert await replica.of_memory() == FREE
    await store.reserved()
    await replica.says(RESERVED)
    await replica.says(Standing(None, resembles=True), ALIKE)
    assert await store.allocations.commit(FQDN, digest(FQDN), ["192.0.2.1"], None, CLIENT)
    await replica.says(ACTIVE)
    held = await store.allocations.find(FQDN)
    assert held
    await store.allocations.release_active(held, CLIENT)
    await replica.says(RELEASING)
    assert await store.worklist.record_removed(await store.leased())
    await replica.says(QUARANTINED)
    assert await store.allocations.reserve(reservation(), CLIENT)
    await replica.says(Standing(State.RESERVED, quarantined=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda store, held: store.allocations.release_reserved(held, CLIENT),
        lambda store, held: store.sql("SELECT pg_sleep(1)"),
    ],
    ids=["released", "left alone"],
)
async def test_the_end_of_a_reservation(
    store: Store, replica: Replica, change: Callable[..., Awaitable[object]]
) -> None:
    """A reservation ends when it is given back, and by itself, by the database's clock."""
    held = await store.reserved(ttl=MINUTE / 60)
    await change(store, held)
    await replica.says(FREE)


async def test_a_renewal(store: Store, replica: Replica) -> None:
    """A reservation that is renewed does not end when it would have."""
    await store.reserved(ttl=MINUTE / 60)
    await store.allocations.renew(FQDN, digest(FQDN), HOUR, CLIENT)
    await replica.says(RESERVED)
    await store.sql("SELECT pg_sleep(1)")
    await store.reserved(f"b.{POOL}")
    await replica.says(RESERVED, f"b.{POOL}")
    assert await replica.of_memory() == RESERVED


async def test_a_transaction_that_commits_late(store: Store, replica: Replica) -> None:
    """What was noted in the trail before others, and committed after them, is not passed over."""
    noted = "INSERT INTO events (fqdn, allocation_id, action, actor) VALUES ($1, gen_random_uuid(), 'removed', 'x')"
    await store.reserved()
    await replica.says(RESERVED)
    async with store.database.writing.transaction(60) as connection:
        await connection.execute(noted, FQDN)
        await connection.execute("DELETE FROM allocations WHERE fqdn = $1", FQDN)
        for label in ("b", "c"):
            await store.reserved(f"{label}.{POOL}")
            await replica.says(RESERVED, f"{label}.{POOL}")
        assert await replica.of_memory() == RESERVED
    await replica.says(FREE)


async def test_a_transaction_that_is_rolled_back(store: Store, replica: Replica) -> None:
    """What was not committed did not happen."""
    async with store.database.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE allocations SET owner = 'x'")
        await connection.execute("ROLLBACK")
    await store.reserved()
    await replica.says(RESERVED)


async def test_own_changes(store: Store, database_url: str) -> None:
    """A replica answers nothing older than what it has just done itself, however seldom it reads."""
    own = Replica(store, database_url)
    store.allocations._availability = own.availability
    store.declarations._availability = own.availability
    async with following(own):
        for number in range(50):
            fqdn = f"n{number}.{POOL}"
            held = await (store.reserved(fqdn) if number % 2 else store.declared(fqdn=fqdn))
            assert await own.availability.recent_standing(question(fqdn)) == RESERVED
            await store.allocations.release_reserved(held, CLIENT)
            assert await own.availability.recent_standing(question(fqdn)) == FREE


async def test_an_outcome_elsewhere(store: Store, replica: Replica) -> None:
    """What another replica rings for is not answered from memory until it is read."""
    await store.active()
    await replica.says(ACTIVE)
    replica.follower.changed(FQDN)
    assert replica.follower.alike(skeleton("acme")) is None
    assert replica.follower.alike(skeleton("other")) is not None
    await replica.says(ACTIVE)


async def test_a_lost_connection(store: Store, replica: Replica, database_url: str) -> None:
    """Where its connection is cut off a replica knows nothing, until it has read all anew; also what has no entry."""
    await store.reserved()
    await replica.says(RESERVED)
    await store.sql("DELETE FROM allocations")
    await store.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%pg_visible_in_snapshot%' AND pid <> pg_backend_pid()"
    )
    await replica.says(FREE)


async def test_a_change_by_hand(store: Store, replica: Replica) -> None:
    """What is changed without an entry in the trail is known once that is rung for."""
    await store.quarantined()
    await replica.says(QUARANTINED)
    await store.sql("DELETE FROM quarantine")
    await store.sql("NOTIFY pdm_names")
    await replica.says(FREE)


async def test_a_server_that_answers_late(store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known to be new enough is asked: memory is silent while its readings take too long."""
    with SlowPostgres(database_url) as proxy:
        async with following(Replica(store, proxy.database_url)) as replica:
            proxy.seconds = 2 * follower.FRESH_SECONDS
            async with asyncio.timeout(patient(10)):
                await replica.falls_silent()
            await store.reserved()
            assert await replica.availability.recent_standing(question()) == RESERVED
            assert replica.asked > 0


async def test_connections_refused(store: Store) -> None:
    """A replica that has never reached the database asks it, and so tells that it is away."""
    replica = Replica(store, "postgresql://127.0.0.1:9/none")
    turn = asyncio.create_task(replica.follower.turn())
    assert await replica.availability.recent_standing(question()) == FREE
    assert replica.asked == 1
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
