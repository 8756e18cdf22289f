"""PostgreSQL with a standby: the primary is lost, becomes read-only, or its standby is away."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import PowerDNS
from pdm_service.store.sessions import READ_ONLY
from pdm_service.store.writing import WAITING
from tests.eventually import eventually
from tests.patience import patient
from tests.replication import Pair, ask, pair, sessions
from tests.service import PDM, Service, at_once, name, running

CONNECTIONS, WRITING = 6, 3
"""Of a replica for requests, and those among them that are for writes; the publisher has 6 more, and 1 listens."""


@pytest.fixture
def servers(directory: Path) -> Iterator[Pair]:
    with pair(directory / name("pair")) as made:
        yield made


@pytest.fixture
def replica(directory: Path, servers: Pair, powerdns: PowerDNS, pool: str) -> Iterator[Service]:
    made = Service(directory, servers.database_url, powerdns, pool, PDM_DATABASE_CONNECTIONS=str(CONNECTIONS))
    with running(made):
        eventually(made.pools_ready, 20)
        yield made


def standbys_as_examined(service: Service) -> dict[str, str] | None:
    """What `pdm doctor` says of the database's standbys."""
    done = subprocess.run(
        [PDM, "doctor", "--json"], env=service.environment, capture_output=True, text=True, timeout=patient(60)
    )
    found: list[dict[str, str]] = json.loads(done.stdout)
    return next((one for one in found if one["what"] == "database standbys"), None)


def test_the_doctor_names_standbys_that_nobody_waits_for(replica: Service, servers: Pair) -> None:
    """Standbys of which none is synchronous are told, with what to do; and so are commits that wait for none."""
    found = standbys_as_examined(replica)
    assert found is not None
    assert (found["verdict"], found["found"][:1]) == ("warn", "1")
    assert "synchronous" in found["remedy"]
    servers.wait_for_the_standby()
    assert standbys_as_examined(replica) is None
    servers.standby.stop()
    found = standbys_as_examined(replica)
    assert found is not None
    assert found["verdict"] == "fail"


def test_nothing_acknowledged_is_lost_with_the_primary(replica: Service, servers: Pair) -> None:
    """Names that were given while the primary was killed are held after the standby took over, without a restart."""
    servers.wait_for_the_standby()
    given: list[str] = []
    over = threading.Event()
    seen: set[int] = set()

    def take() -> None:
        while not over.is_set():
            label = name()
            reply = replica.reserve(label)
            seen.add(reply.status_code)
            if reply.status_code == 201:
                given.append(label)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(given) > 20, 20)
        # What the standby has not got is not acknowledged, and may be lost.
        servers.standby.freeze()
        eventually(lambda: sessions(servers.primary, "wait_event = 'SyncRep'") > 0, 20)
        servers.primary.kill()
        servers.standby.thaw()
        servers.fail_over()
        after = len(given)
        eventually(lambda: len(given) > after + 20, 30, "names to be given by the new primary")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert seen <= {201, 503}
    assert [label for label in given if replica.get(label).status_code != 200] == []
    label = name()
    replica.publish(label)


def test_a_primary_that_becomes_read_only_is_left(replica: Service, servers: Pair) -> None:
    """A read-only server is an outage that is told as such, never a defect; all connections leave for the next one."""
    label = name()
    token = replica.reserve(label).json()["reservationToken"]
    assert sessions(servers.primary) > 0
    ask(servers.primary, "ALTER SYSTEM SET default_transaction_read_only = on")
    ask(servers.primary, "SELECT pg_reload_conf()")
    for reply in at_once(8, lambda _: replica.commit(label, token)):
        assert (reply.status_code, reply.headers.get("Retry-After")) == (503, "2"), reply.text
    assert eventually(lambda: replica.commit(label, token).json()["detail"] == READ_ONLY)
    told = replica.client.get("/readyz")
    assert told.status_code == 503
    assert told.json()["problem"] == READ_ONLY
    eventually(lambda: sessions(servers.primary) == 0, 20, "all connections to leave")
    servers.fail_over()
    eventually(replica.is_ready, 20)
    assert replica.commit(label, token).status_code in {200, 202}
    replica.published(label)
    eventually(lambda: sessions(servers.standby, "query = 'SHOW transaction_read_only'") == 1, 20, "it to listen there")


def test_a_primary_that_hangs_is_left(replica: Service, servers: Pair) -> None:
    """A primary that answers nothing more, with connections that stand, is left for the one that took over."""
    held = [replica.reserve(name()).json() for _ in range(8)]

    def renew(number: int) -> int:
        body = {key: held[number][key] for key in ("fqdn", "reservationToken")}
        return replica.client.post("/v1/renew", json=body).status_code

    # Each is a statement of its own, so that all connections for writes are taken.
    assert set(at_once(len(held), renew)) == {200}
    servers.primary.freeze()
    assert set(at_once(len(held), renew)) == {503}
    servers.fail_over()
    eventually(lambda: replica.reserve(name()).status_code == 201, 60)
    eventually(replica.is_ready, 60)


def test_without_a_standby_writes_are_refused_and_reads_go_on(replica: Service, servers: Pair) -> None:
    """While commits wait in vain, the next write is refused at once, reads go on, and PostgreSQL does not fill up."""
    servers.wait_for_the_standby()
    kept, wanted, key = name(), name(), name()
    replica.publish(kept)
    before = sessions(servers.primary)
    servers.standby.freeze()
    try:
        first = replica.reserve(wanted, key=key)
        assert (first.status_code, first.headers.get("Retry-After")) == (503, "2"), first.text
        eventually(lambda: replica.reserve(name()).json()["detail"] == WAITING, 10)
        for _ in range(5):
            started = time.monotonic()
            replies = at_once(8, lambda _: replica.reserve(name()))
            assert {(reply.status_code, reply.json()["detail"]) for reply in replies} == {(503, WAITING)}
            # Nobody waits for the database's deadline any more.
            assert time.monotonic() - started < patient(3)
        told = replica.client.get("/readyz")
        assert told.status_code == 503
        assert (told.json()["database"], told.json()["problem"]) == ("no-writes", WAITING)
        assert replica.client.get("/healthz").status_code == 200
        for _ in range(20):
            assert replica.get(kept).status_code == 200
            query = {"poolDomain": replica.pool, "subdomain": name()}
            assert replica.client.get("/v1/check", params=query).json()["available"] is True
            assert replica.client.get("/v1/allocations").status_code == 200
        eventually(lambda: "pdm_database_writable 0.0" in replica.client.get("/metrics").text, 20)
        assert 1 <= sessions(servers.primary, "wait_event = 'SyncRep'") <= WRITING
        # Who gave up has not called it off: it would be seen by others, and lost with the primary.
        assert ask(servers.primary, "SELECT FROM allocations WHERE subdomain = $1", wanted) == []
        assert sessions(servers.primary) <= max(before, CONNECTIONS + 7)
    finally:
        servers.standby.thaw()
    eventually(replica.is_ready, 20)
    assert sessions(servers.primary, "wait_event = 'SyncRep'") == 0
    assert replica.reserve(wanted, key=key).status_code == 201
    replica.publish(name())
    eventually(lambda: "pdm_database_writable 1.0" in replica.client.get("/metrics").text, 20)
