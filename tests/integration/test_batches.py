"""Changes of a parent zone: gathered, atomic, and halved around a bad one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from pdm_service.callers import Actor
from pdm_service.dev.servers import PowerDNS
from pdm_service.model import zone
from pdm_service.model.allocation import Ages, Allocation, Mode
from pdm_service.model.tokens import Credentials
from pdm_service.powerdns import PowerDns, Rejected
from pdm_service.publisher.parent_zones import LeaseLost, ParentZone
from pdm_service.store.allocations import Allocations, Reservation
from pdm_service.store.availability import Availability
from pdm_service.store.database import Database
from pdm_service.store.rows import Lease
from pdm_service.store.worklist import Worklist
from tests.dns_view import Api
from tests.service import NAMESERVERS, name

DS = ("12345 13 2 " + "ab" * 32,)
ACTOR = Actor("test", everything=True)


async def leases_of(store: Allocations, worklist: Worklist, pool: str, count: int) -> list[Lease[Allocation]]:
    """Leases of freshly committed names."""
    for _ in range(count):
        label = name()
        digest = label.encode()
        new = Reservation(
            fqdn=f"{label}.{pool}", mode=Mode.POOL, pool_domain=pool, subdomain=label, created_by=None,
            ttl=timedelta(minutes=5), credentials=Credentials(token_digest=digest, request_digest=digest),
        )  # fmt: skip
        assert await store.reserve(new, ACTOR)
        assert await store.commit(new.fqdn, digest, ["192.0.2.1"], None, ACTOR)
    return await worklist.lease(count, 0)


Parts = tuple[Allocations, Worklist, PowerDns, ParentZone, list[int]]


@pytest.fixture
async def parts(database_url: str, powerdns: PowerDNS, api: Api, pool: str) -> AsyncIterator[Parts]:
    """What a parent's changes need: store, worklist, PowerDNS, the sizes of the batches written."""
    api.create(pool, nameservers=[f"{one}." for one in NAMESERVERS])
    database = Database(database_url, 5)
    await database.open()
    store = Allocations(database, Availability(database), Ages())
    sizes: list[int] = []
    worklist = Worklist(database, timedelta(seconds=20), timedelta())
    client = PowerDns(powerdns.api_url, powerdns.api_key, "localhost", 8, lambda *_: None)
    yield store, worklist, client, ParentZone(pool, worklist, client, sizes.append), sizes
    await client.close()
    await database.close()


async def test_one_bad_name_does_not_hold_up_the_others(parts: Parts, api: Api, pool: str) -> None:
    """Of a batch in which one change is refused all others are written, and only that one fails."""
    store, worklist, _, parent, sizes = parts
    leases = await leases_of(store, worklist, pool, 9)
    good = [zone.delegation(lease.name, NAMESERVERS, DS) for lease in leases]
    good[4] = zone.delegation(leases[4].name, NAMESERVERS, ("not a ds",))
    changes = (parent.apply(lease, rrsets) for lease, rrsets in zip(leases, good, strict=True))
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 4 + [Rejected] + [type(None)] * 4
    assert max(sizes) > 4
    assert len(api.delegations(pool)) == 8


async def test_a_lost_lease_writes_nothing(parts: Parts, api: Api, pool: str) -> None:
    """A publisher whose lease ended, or whose row changed, does not touch the parent zone."""
    store, worklist, _, parent, _ = parts
    (lease,) = await leases_of(store, worklist, pool, 1)
    assert await store.release_active(lease.row, ACTOR)
    with pytest.raises(LeaseLost):
        await parent.apply(lease, zone.delegation(lease.name, NAMESERVERS, DS))
    assert api.delegations(pool) == {}
    assert not await worklist.record_published(lease, DS, timedelta(seconds=1), "published")


async def test_writers_of_one_parent_take_turns(database_url: str, pool: str) -> None:
    """Two writers of one parent zone are never at work together, also from two processes."""
    one, other = Database(database_url, 5), Database(database_url, 5)
    await one.open()
    await other.open()
    inside, most = 0, 0

    async def write(number: int) -> None:
        nonlocal inside, most
        async with Worklist(other if number % 2 else one, timedelta(seconds=5), timedelta()).writer_of(pool, 10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(write(number) for number in range(4)))
    assert most == 1
    await one.close()
    await other.close()
