"""A changed address counts as published only when every nameserver answers with it, caches included."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS, free_port, load_schema
from tests.dns_view import records
from tests.eventually import eventually
from tests.service import Service


@pytest.fixture
def pair(directory: Path, postgres: Postgres) -> Iterator[tuple[PowerDNS, PowerDNS]]:
    """Two PowerDNS on one database: one without caches, and one, not started yet, with those it is delivered with."""
    database = f"pdns_{uuid.uuid4().hex[:8]}"
    postgres.create_database(database)
    load_schema(postgres.dsn(database))
    made = [
        PowerDNS(
            directory / f"{database}_{n}", postgres.dsn(database), free_port(), free_port(), api_key="k", caches=bool(n)
        )
        for n in range(2)
    ]
    made[0].start()
    yield made[0], made[1]
    for server in made:
        server.stop()


def test_nameserver_that_still_has_the_old_address(
    directory: Path, database_url: str, pair: tuple[PowerDNS, PowerDNS], pool: str
) -> None:
    """While a nameserver answers with the old address from its cache, the change is not published."""
    near, cached = pair
    more = {
        "PDM_NAMESERVER_ADDRESSES": f"127.0.0.1:{near.dns_port} 127.0.0.1:{cached.dns_port}",
        "PDM_AUDIT_INTERVAL": "1h",
    }
    first = Service(directory, database_url, near, pool)
    second = Service(directory, database_url, near, pool, **more)
    url = f"/v1/allocations/name.{pool}?owner=o"
    body = {"poolDomain": pool, "subdomain": "name", "loadBalancerIP": "192.0.2.1"}
    try:
        first.start().client.put(url, json=body)
        first.published("name")
        first.stop()
        cached.start()  # after the zone was made, which it would not know of otherwise
        second.start()
        asked = f"console.name.{pool}"
        assert records(cached.dns_port, asked, "A") == ["192.0.2.1"]
        reply = second.client.put(url, json={**body, "loadBalancerIP": "192.0.2.2"})
        assert (reply.status_code, reply.headers["pdm-state"]) == (202, "publishing")
        assert records(near.dns_port, asked, "A") == ["192.0.2.2"]

        def seen() -> bool:
            published = second.get("name").json()["dns"]["state"] == "published"
            assert not published or records(cached.dns_port, asked, "A") == ["192.0.2.2"]
            return published

        eventually(seen, 60)
    finally:
        for service in (first, second):
            service.kill()
            service.client.close()
