"""No zone above or below somebody else's: refused by the verbs, and by the database whoever writes to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import asyncpg
import pytest

from pdm_service.callers import Actor
from pdm_service.errors import OverlapsAllocation
from pdm_service.model.allocation import Ages, Mode
from pdm_service.model.tokens import Credentials
from pdm_service.store.allocations import Allocations, Reservation
from pdm_service.store.availability import Availability
from pdm_service.store.database import Database
from tests.eventually import eventually
from tests.service import Service, name

ACTOR = Actor("test", everything=True)


def reservation(fqdn: str, seconds: float = 60) -> Reservation:
    label, _, pool = fqdn.partition(".")
    return Reservation(
        fqdn=fqdn, mode=Mode.POOL, pool_domain=pool, subdomain=label, created_by=None,
        ttl=timedelta(seconds=seconds),
        credentials=Credentials(token_digest=fqdn.encode(), request_digest=b""),
    )  # fmt: skip


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Allocations]:
    """A store on a database of its own."""
    database = Database(database_url, 8)
    await database.open()
    yield Allocations(database, Availability(database), Ages())
    await database.close()


async def test_names_above_and_below_are_refused(store: Allocations) -> None:
    """A name above or below a held one is refused; a neighbour with the same beginning is not."""
    assert await store.reserve(reservation("eu.pool.test"), ACTOR)
    for fqdn in ("x.eu.pool.test", "a.b.eu.pool.test", "pool.test"):
        with pytest.raises(OverlapsAllocation):
            await store.reserve(reservation(fqdn), ACTOR)
    for fqdn in ("eu2.pool.test", "xeu.pool.test", "eu.pool.test2", "eu-x.pool.test"):
        assert await store.reserve(reservation(fqdn), ACTOR)
    assert await store.reserve(reservation("eu.pool.test"), ACTOR) is None


async def test_an_expired_name_does_not_stand_in_the_way(store: Allocations) -> None:
    """An expired reservation above or below is as if it were not there."""
    assert await store.reserve(reservation("eu.pool.test", -1), ACTOR)
    assert await store.reserve(reservation("x.eu.pool.test"), ACTOR)


async def test_one_overlapping_name_does_not_fail_its_batch(store: Allocations) -> None:
    """Of reservations made together only those are refused that overlap."""
    assert await store.reserve(reservation("eu.pool.test"), ACTOR)
    wanted = [reservation(f"n{number}.pool.test") for number in range(9)] + [reservation("x.eu.pool.test")]
    found = await asyncio.gather(*(store.reserve(one, ACTOR) for one in wanted), return_exceptions=True)
    assert [type(one).__name__ for one in found] == ["Allocation"] * 9 + ["OverlapsAllocation"]


async def test_nested_names_at_once_have_one_winner(database_url: str) -> None:
    """Of two simultaneous callers for nested names, at two replicas, one wins."""
    databases = [Database(database_url, 4), Database(database_url, 4)]
    for database in databases:
        await database.open()
    for number in range(10):
        wanted = (reservation(f"p{number}.test"), reservation(f"x.p{number}.test"))
        found = await asyncio.gather(
            *(
                Allocations(database, Availability(database), Ages()).reserve(one, ACTOR)
                for database, one in zip(databases, wanted, strict=True)
            ),
            return_exceptions=True,
        )
        assert sum(type(one).__name__ == "Allocation" for one in found) <= 1
    for database in databases:
        await database.close()
    connection = await asyncpg.connect(database_url)
    assert (
        await connection.fetchval(
            "SELECT count(*) FROM allocations a JOIN allocations b ON a.span && b.span AND a.fqdn < b.fqdn"
        )
        == 0
    )
    await connection.close()


def test_a_pool_domain_below_another_one_is_no_name(new_service: Callable[..., Service], pool: str) -> None:
    """The label of a pool domain in the pool above it cannot be had, and says why."""
    service = new_service(PDM_POOL_DOMAINS=f"{pool},eu.{pool}").start()
    assert service.reserve("eu").json()["error"] == "overlaps-allocation"
    check = service.client.get("/v1/check", params={"poolDomain": pool, "subdomain": "eu"}).json()
    assert (check["available"], check["reason"]) == (False, "overlaps-allocation")
    service.pool = f"eu.{pool}"
    service.publish(name())


def test_an_allocated_name_cannot_become_a_pool_domain(new_service: Callable[..., Service], pool: str) -> None:
    """A pool domain that is somebody's name is not made a zone of the platform's; the other pools go on."""
    first = new_service().start()
    first.publish("eu")
    first.stop()
    second = new_service(PDM_POOL_DOMAINS=f"{pool},eu.{pool}").start()

    def refused() -> bool:
        pools = {one["poolDomain"]: one for one in second.client.get("/v1/pools").json()["pools"]}
        return pools[pool]["state"] == "ready" and "eu" in pools[f"eu.{pool}"].get("lastError", "")

    eventually(refused)
    assert second.client.post("/v1/reserve", json={"poolDomain": f"eu.{pool}", "subdomain": "x"}).status_code == 409
    second.publish(name())
