"""PowerDNS and PostgreSQL away, before, during and after."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from pdm_service.dev.servers import Postgres, PowerDNS, free_port
from pdm_service.store import migrate
from tests.dns_view import Api, records
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, Service, at_once, name


@pytest.fixture
def frail(directory: Path, database_url: str, own_powerdns: PowerDNS, pool: str) -> Iterator[Service]:
    """A service on that PowerDNS."""
    service = Service(directory, database_url, own_powerdns, pool)
    yield service.start()
    service.kill()
    service.client.close()


def test_commit_without_powerdns_is_kept_and_follows(frail: Service, own_powerdns: PowerDNS) -> None:
    """A commit while PowerDNS is away answers 202, and is published within seconds of its return."""
    label = name()
    token = frail.reserve(label).json()["reservationToken"]
    own_powerdns.kill()
    reply = frail.commit(label, token)
    assert reply.status_code == 202
    assert reply.json()["dns"]["state"] == "pending"
    assert "PowerDNS" in frail.get(label).json()["dns"]["lastError"]
    assert frail.reserve(name()).status_code == 201
    own_powerdns.start()
    frail.published(label, 8)
    assert records(own_powerdns.dns_port, f"{label}.{frail.pool}", "A") == [ADDRESS]
    assert frail.commit(label, token).status_code == 200


def test_release_without_powerdns_keeps_the_name_until_dns_is_gone(frail: Service, own_powerdns: PowerDNS) -> None:
    """A name is not free before its DNS is gone, however long that takes."""
    label = name()
    frail.publish(label)
    own_powerdns.kill()
    reply = frail.release(label)
    assert reply.status_code == 202
    assert reply.json()["dns"]["state"] == "removing"
    assert frail.release(label).status_code == 202
    assert frail.reserve(label).json()["error"] == "conflict"
    own_powerdns.start()
    frail.gone(label, 8)
    assert Api(own_powerdns).delegations(frail.pool) == {}
    assert Api(own_powerdns).zone(f"{label}.{frail.pool}") is None
    assert frail.reserve(label).status_code == 201


@pytest.mark.parametrize("verb", ["commit", "release"])
def test_powerdns_killed_in_the_middle_of_many(frail: Service, own_powerdns: PowerDNS, verb: str) -> None:
    """PowerDNS killed amid commits or releases: every call answers 200 or 202, and all converge by themselves."""
    labels = [name() for _ in range(12)]
    tokens = [frail.reserve(label).json()["reservationToken"] for label in labels]
    if verb == "release":
        at_once(12, lambda i: frail.commit(labels[i], tokens[i]))
        for label in labels:
            frail.published(label)
    own = Api(own_powerdns)

    # Read before anything is on its way: a thread may begin when all is done.
    before = len(own.delegations(frail.pool))

    def cut() -> None:
        eventually(lambda: len(own.delegations(frail.pool)) != before, 5)
        own_powerdns.kill()
        own_powerdns.start()

    cutting = threading.Thread(target=cut)
    cutting.start()
    calls: Callable[[int], object] = (
        (lambda i: frail.commit(labels[i], tokens[i]).status_code)
        if verb == "commit"
        else (lambda i: frail.release(labels[i]).status_code)
    )
    statuses = set(at_once(12, calls))
    cutting.join()
    assert statuses <= {200, 202}
    for label in labels:
        if verb == "commit":
            frail.published(label)
            assert records(own_powerdns.dns_port, f"x.{label}.{frail.pool}", "A") == [ADDRESS]
        else:
            frail.gone(label)
    wanted = {f"{label}.{frail.pool}": {"NS", "DS"} for label in labels} if verb == "commit" else {}
    assert own.delegations(frail.pool) == wanted


def test_powerdns_frozen_holds_nobody_up(frail: Service, own_powerdns: PowerDNS) -> None:
    """While PowerDNS hangs, calls that need it answer 202 in time and others at once."""
    label = name()
    token = frail.reserve(label).json()["reservationToken"]
    own_powerdns.freeze()
    try:
        start = time.monotonic()
        assert frail.commit(label, token).status_code == 202
        assert time.monotonic() - start < patient(12)
        assert frail.reserve(name()).status_code == 201
    finally:
        own_powerdns.thaw()
    frail.published(label, 15)


def test_start_without_powerdns(directory: Path, database_url: str, own_powerdns: PowerDNS, pool: str) -> None:
    """PowerDNS being away does not stop the start; pool zone and commits follow when it is back."""
    own_powerdns.kill()
    service = Service(directory, database_url, own_powerdns, pool)
    try:
        service.start()
        label = name()
        token = service.reserve(label).json()["reservationToken"]
        assert service.commit(label, token).status_code == 202
        assert service.client.get("/v1/pools").json()["pools"][0]["state"] == "pending"
        own_powerdns.start()
        service.published(label, 12)
        assert eventually(lambda: service.client.get("/v1/pools").json()["pools"][0]["state"] == "ready")
    finally:
        service.kill()


def test_postgresql_killed_and_back(directory: Path, powerdns: PowerDNS, pool: str) -> None:
    """Without PostgreSQL every verb answers 503 with Retry-After within 5 s; with it all goes on, nothing lost."""
    own = Postgres(directory / f"postgres-{pool}", free_port())
    own.start()
    service = None
    try:
        own.create_database("pdm")
        asyncio.run(migrate.migrate(own.dsn("pdm")))
        service = Service(directory, own.dsn("pdm"), powerdns, pool).start()
        label, held = name(), name()
        service.publish(label)
        token = service.reserve(held).json()["reservationToken"]
        for away, back in ((own.kill, own.start), (own.freeze, own.thaw)):
            away()
            query = {"poolDomain": service.pool, "subdomain": "free"}
            # For a second checks are answered from memory.
            eventually(lambda query=query: service.client.get("/v1/check", params=query).status_code == 503, 10)
            _assert_unavailable(service, held, token)
            back()
            eventually(lambda: service.get(label).status_code == 200, 15)
        assert service.get(label).json()["dns"]["state"] == "published"
        assert service.commit(held, token).status_code in {200, 202}
        service.published(held)
    finally:
        if service:
            service.kill()
        own.kill()


def _assert_unavailable(service: Service, label: str, token: str) -> None:
    calls = (
        lambda: service.reserve(name()),
        lambda: service.commit(label, token),
        lambda: service.release(label),
        lambda: service.get(label),
        lambda: service.client.get("/v1/allocations"),
        lambda: service.client.get("/v1/check", params={"poolDomain": service.pool, "subdomain": "free"}),
        lambda: service.client.get("/healthz"),
        lambda: service.client.get("/readyz"),
    )

    def timed(i: int) -> tuple[int, bool, float]:
        start = time.monotonic()
        reply = calls[i]()
        return reply.status_code, "Retry-After" in reply.headers, time.monotonic() - start

    for status, retry, seconds in at_once(len(calls), timed):
        assert (status, retry) == (503, True)
        assert seconds < patient(5)
    assert service.client.get("/v1/nameservers").status_code == 200


def test_connections_that_the_server_ends_are_no_defect(
    new_service: Callable[..., Service], postgres: Postgres, database_url: str
) -> None:
    """PostgreSQL ending the connections at any moment is told as 503, never as an unexpected failure."""
    service = new_service().start()
    over = threading.Event()
    seen: set[int] = set()

    def ask() -> None:
        while not over.is_set():
            seen.add(service.client.get("/v1/allocations").status_code)

    async def end_connections() -> None:
        connection = await asyncpg.connect(postgres.dsn("postgres"))
        for _ in range(400):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                database_url.rpartition("/")[2],
            )
        await connection.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        asyncio.run(end_connections())
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert seen == {200, 503}
    eventually(service.is_ready)
