"""The one deadline of a request: whatever the servers behind it do, its caller hears in time."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pdm_service.dev.servers import PowerDNS
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, Service, at_once, name
from tests.slow_postgres import SlowPostgres

OTHER = "192.0.2.99"
STATEMENT_SECONDS = 2.9
"""Just below the deadline of a statement."""
ANSWERED, REFUSED = 15.0, 5.0
KEY = "pdm_a-key-with-quotas"
OWNER = {"owner": "team"}


@pytest.fixture
def slow(database_url: str) -> Iterator[SlowPostgres]:
    with SlowPostgres(database_url) as proxy:
        yield proxy


@pytest.fixture
def new_slow_service(
    directory: Path, slow: SlowPostgres, own_powerdns: PowerDNS, pool: str
) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**more: str) -> Service:
        made.append(Service(directory, slow.database_url, own_powerdns, pool, **more))
        return made[-1].start()

    yield make
    slow.seconds = 0
    for service in made:
        service.kill()
        service.client.close()


def body(service: Service, label: str, address: str = ADDRESS) -> dict[str, str]:
    return {"poolDomain": service.pool, "subdomain": label, "loadBalancerIP": address}


def put(service: Service, label: str, address: str = ADDRESS) -> httpx.Response:
    path = f"/v1/allocations/{label}.{service.pool}"
    return service.client.put(path, params=OWNER, json=body(service, label, address))


def timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    start = time.monotonic()
    return call(), time.monotonic() - start


def test_active_names_while_everything_is_slow(
    new_slow_service: Callable[..., Service], slow: SlowPostgres, own_powerdns: PowerDNS
) -> None:
    """Commit, release, PUT and DELETE are stored and answered 202 in time, on the compatibility routes as well."""
    service = new_slow_service()
    eventually(service.pools_ready)
    released, put_again, deleted, freed, committed, supplied = (name() for _ in range(6))
    for label in (released, freed):
        service.publish(label)
    for label in (put_again, deleted):
        assert put(service, label).status_code in {201, 202}
        service.published(label)
    tokens = {label: service.reserve(label).json()["reservationToken"] for label in (committed, supplied)}
    path = f"/api/v1/pool/{service.pool}"
    given = {"subdomain": supplied, "reservationToken": tokens[supplied], "loadBalancerIP": ADDRESS}
    calls = [
        lambda: service.commit(committed, tokens[committed]),
        lambda: service.release(released),
        lambda: put(service, put_again, OTHER),
        lambda: service.client.delete(f"/v1/allocations/{deleted}.{service.pool}", params=OWNER),
        lambda: service.client.post(f"{path}/commit", json={**given, "sovereignFQDN": "x.test"}),
        lambda: service.client.delete(f"{path}/release", params={"sub": freed}),
    ]
    own_powerdns.freeze()
    slow.seconds = STATEMENT_SECONDS
    try:
        answers = at_once(len(calls), lambda number: timed(calls[number]))
    finally:
        slow.seconds = 0
        own_powerdns.thaw()
    assert [reply.status_code for reply, _ in answers] == [202] * len(calls)
    assert max(seconds for _, seconds in answers) < ANSWERED - 1 + patient(1)
    for label in (committed, put_again, supplied):
        service.published(label, 30)
    for label in (released, deleted, freed):
        service.gone(label, 30)


def test_put_of_a_new_name_while_everything_is_slow(
    new_slow_service: Callable[..., Service], slow: SlowPostgres, own_powerdns: PowerDNS
) -> None:
    """It is made by one statement, and carries on to its end."""
    service = new_slow_service()
    eventually(service.pools_ready)
    put(service, name())
    label = name()
    own_powerdns.freeze()
    slow.seconds = STATEMENT_SECONDS
    try:
        reply, seconds = timed(lambda: put(service, label))
    finally:
        slow.seconds = 0
        own_powerdns.thaw()
    assert reply.status_code == 202
    assert seconds < ANSWERED - 1 + patient(1)
    service.published(label, 30)


def test_put_of_a_new_name_with_a_quota_while_everything_is_slow(
    directory: Path, new_slow_service: Callable[..., Service], slow: SlowPostgres
) -> None:
    """Where several statements decide it is refused early; the same PUT works once PostgreSQL is quick again."""
    callers = directory / f"{name()}.jsonl"
    client = {"id": "counted", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "scopes": ["allocate"]}
    callers.write_text(json.dumps({**client, "quotas": {"names": 100}}))
    service = new_slow_service(PDM_AUTH_TOKENS_FILE=str(callers))
    service.client.headers["Authorization"] = f"Bearer {KEY}"
    eventually(service.pools_ready)
    put(service, name())
    label = name()
    slow.seconds = STATEMENT_SECONDS
    reply, seconds = timed(lambda: put(service, label))
    slow.seconds = 0
    assert (reply.status_code, reply.json()["error"]) == (503, "store-unavailable")
    assert reply.headers["Retry-After"]
    assert seconds < REFUSED - 1 + patient(1)
    eventually(lambda: put(service, label).status_code in {200, 201, 202})
    service.published(label, 30)
