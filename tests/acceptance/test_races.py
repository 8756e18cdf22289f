"""Many callers, two replicas, lost replies, old tokens."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from asyncpg.pool import PoolConnectionProxy

from pdm_service.dev.servers import PowerDNS
from pdm_service.model.allocation import Ages
from pdm_service.store.allocations import Allocations
from pdm_service.store.availability import Availability
from pdm_service.store.database import Database
from tests.dns_view import Api, records
from tests.eventually import eventually
from tests.service import ADDRESS, Service, at_once, name

CALLERS = 24


@pytest.fixture
def replicas(new_service: Callable[..., Service]) -> tuple[Service, Service]:
    """Two replicas on one database, started at the same moment."""
    both = new_service().start(ready=False), new_service().start(ready=False)
    for service in both:
        eventually(service.is_ready, 20)
    return both


def test_reserve_by_many_has_one_winner(replicas: tuple[Service, Service]) -> None:
    """Of any number of simultaneous callers for one name exactly one gets 201, the others 409."""
    for _ in range(8):
        label = name()
        replies = at_once(CALLERS, lambda i, label=label: replicas[i % 2].reserve(label))
        assert Counter(reply.status_code for reply in replies) == {201: 1, 409: CALLERS - 1}


def test_commits_by_many_all_succeed(replicas: tuple[Service, Service], api: Api) -> None:
    """Repeats of one commit, at both replicas at once, all answer 200 and publish once."""
    label = name()
    token = replicas[0].reserve(label).json()["reservationToken"]
    replies = at_once(CALLERS, lambda i: replicas[i % 2].commit(label, token))
    assert Counter(reply.status_code for reply in replies) == {200: CALLERS}
    assert len({str(reply.json()["dnssec"]) for reply in replies}) == 1
    zone = api.zone(f"{label}.{replicas[0].pool}")
    assert zone is not None
    assert all(len(rrset["records"]) == len({str(one) for one in rrset["records"]}) for rrset in zone["rrsets"])


def test_many_names_at_once_are_all_published_and_taken_away(replicas: tuple[Service, Service], api: Api) -> None:
    """Simultaneous commits and releases of many names through two replicas lose and double nothing."""
    labels = [name() for _ in range(CALLERS)]
    tokens = [replicas[0].reserve(label).json()["reservationToken"] for label in labels]
    replies = at_once(CALLERS, lambda i: replicas[i % 2].commit(labels[i], tokens[i]))
    assert {reply.status_code for reply in replies} == {200}
    pool = replicas[0].pool
    assert api.delegations(pool) == {f"{label}.{pool}": {"NS", "DS"} for label in labels}
    zone = api.zone(pool)
    assert zone is not None
    for rrset in zone["rrsets"]:
        expected = 2 if rrset["type"] == "NS" else 1
        assert len(rrset["records"]) == expected, rrset
    assert {at.status_code for at in at_once(CALLERS, lambda i: replicas[i % 2].release(labels[i]))} == {200}
    assert api.delegations(pool) == {}
    assert all(api.zone(f"{label}.{pool}") is None for label in labels)


def test_reserve_repeated_with_its_key_gets_tokens_that_work(replicas: tuple[Service, Service]) -> None:
    """The same Idempotency-Key and body gets one reservation, however many ask at once, with working tokens."""
    label = name()
    replies = at_once(CALLERS, lambda i: replicas[i % 2].reserve(label, key="key-" + label))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["reservationToken"] for reply in replies}) == 1
    assert replicas[0].commit(label, replies[-1].json()["reservationToken"]).status_code == 200
    again = replicas[1].reserve(label, key="key-" + label)
    assert again.status_code == 201
    assert again.json()["reservationToken"] == replies[0].json()["reservationToken"]
    assert replicas[0].reserve(label).status_code == 409


def test_commit_and_release_repeated_at_any_moment_are_safe(replicas: tuple[Service, Service], api: Api) -> None:
    """Releases amid commits leave nothing behind, whatever order they come in."""
    for _ in range(5):
        label = name()
        token = replicas[0].reserve(label).json()["reservationToken"]

        def call(i: int, label: str = label, token: str = token) -> int:
            replica = replicas[i % 2]
            return (replica.release(label) if i % 3 == 0 else replica.commit(label, token)).status_code

        assert {status // 100 for status in at_once(12, call)} <= {2, 4}
        replicas[0].release(label)
        replicas[0].gone(label)
        assert api.zone(f"{label}.{replicas[0].pool}") is None
        assert f"{label}.{replicas[0].pool}" not in api.delegations(replicas[0].pool)
        assert replicas[0].reserve(label).status_code == 201


def test_old_holders_can_do_nothing(service: Service) -> None:
    """A wrong, foreign or outlived token opens nothing, before and after the name is held anew."""
    label, other = name(), name()
    old = service.reserve(label, ttlSeconds=1).json()["reservationToken"]
    foreign = service.reserve(other).json()["reservationToken"]
    for token in (foreign, "nonsense", ""):
        assert service.commit(label, token).json()["error"] == "token-mismatch"
    eventually(lambda: service.get(label).status_code == 404, 5)
    assert service.commit(label, old).json()["error"] == "reservation-expired"
    new = service.reserve(label).json()["reservationToken"]
    body = {"fqdn": f"{label}.{service.pool}", "reservationToken": old}
    assert service.commit(label, old).json()["error"] == "token-mismatch"
    assert service.client.post("/v1/renew", json=body).json()["error"] == "token-mismatch"
    assert service.client.post("/v1/release", json=body).json()["error"] == "token-mismatch"
    assert service.commit(label, new).status_code == 200
    assert service.commit(label, old).json()["error"] == "token-mismatch"
    assert service.client.post("/v1/release", json=body).json()["error"] == "token-mismatch"
    assert service.get(label).json()["state"] == "active"


async def test_the_sweeper_never_takes_what_was_reserved_anew(
    service: Service, database_url: str, powerdns: PowerDNS
) -> None:
    """The sweeper that waits before an expired row while that is being reserved anew leaves the new reservation alone."""
    label = name()
    assert (await asyncio.to_thread(service.reserve, label)).status_code == 201
    database = Database(database_url, 3)
    await database.open()
    async with database.connection() as holder, database.connection() as watcher:
        await holder.execute("UPDATE allocations SET expires_at = now() - interval '2 hours'")
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM allocations FOR UPDATE")
        reserving = asyncio.create_task(asyncio.to_thread(service.reserve, label))
        await _blocked(watcher, 1)
        sweeping = asyncio.create_task(Allocations(database, Availability(database), Ages()).expire(timedelta(hours=1)))
        await _blocked(watcher, 2)
        await holder.execute("COMMIT")
        reply = await reserving
        assert await sweeping == 0
    await database.close()
    assert reply.status_code == 201
    commit = await asyncio.to_thread(service.commit, label, reply.json()["reservationToken"])
    assert commit.status_code == 200
    assert records(powerdns.dns_port, f"{label}.{service.pool}", "A") == [ADDRESS]


async def _blocked(connection: PoolConnectionProxy, count: int) -> None:
    """Return once that many statements wait for a lock."""
    async with asyncio.timeout(5):
        while True:
            waiting = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if waiting >= count:
                return
            await asyncio.sleep(0.01)
