"""A real Prometheus scrapes the service under load: panels have data; each alert fires at its fault, and else never.

Windows and waits of the rules are shortened, so that minutes pass in seconds.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import yaml

from adapters.conformance.played import OLD, Answer, Domain, reply
from pdm_service import names
from pdm_service.dev.process import start_child
from pdm_service.dev.servers import Postgres, free_port
from tests.api.test_callers import line
from tests.conftest import new_powerdns
from tests.dns_view import Api
from tests.eventually import eventually
from tests.observability.test_files import ALERTS, expressions
from tests.outage import away
from tests.patience import patient
from tests.registrars import play
from tests.service import Service, at_once, name

KEY = {"Authorization": "Bearer key-all"}
PROMETHEUS = shutil.which("prometheus", path=f"{os.environ['PATH']}:/usr/bin")
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="there is no prometheus on this machine; make setup installs it"
)


def shortened(path: Path) -> dict[str, Any]:
    """A rule with seconds for minutes."""
    rule = yaml.safe_load(path.read_text())
    expr = re.sub(r"\[(5|10)m\]", "[8s]", rule["expr"]).replace("queue_age_seconds) > 300", "queue_age_seconds) > 2")
    return {**rule, "expr": expr, "for": "1s"}


class Prometheus:
    """A real Prometheus that scrapes one service."""

    def __init__(self, directory: Path, target: int) -> None:
        self._directory = directory
        self.port = free_port()
        rules = {"groups": [{"name": "pdm", "interval": "1s", "rules": [shortened(path) for path in ALERTS]}]}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(directory / "rules.yml")],
            "scrape_configs": [
                {
                    "job_name": "pool-domain-manager",
                    "authorization": {"credentials": "key-all"},
                    "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
                }
            ],
        }
        (directory / "rules.yml").write_text(yaml.safe_dump(rules))
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=patient(10), trust_env=False
        )

    def start(self) -> None:
        assert PROMETHEUS is not None
        with (self._directory / "prometheus.log").open("wb") as log:
            self.process = start_child(
                [PROMETHEUS, f"--config.file={self._directory}/prometheus.yml",
                 f"--storage.tsdb.path={self._directory}/data", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdout=log, stderr=log,
            )  # fmt: skip

        def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                return self.client.get("/query", params={"query": "up"}).json()["data"]["result"] != []
            return False

        eventually(ready, 20, (self._directory / "prometheus.log").read_text()[-2000:])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.client.close()

    def firing(self) -> set[str]:
        found = self.client.get("/alerts").json()["data"]["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def values(self, expression: str) -> list[float]:
        found = self.client.get("/query", params={"query": expression}).json()
        assert found["status"] == "success", found
        return [float(one["value"][1]) for one in found["data"]["result"]]


class World:
    """A service with all that it depends on, under some load, and its Prometheus."""

    def __init__(self, directory: Path, postgres: Postgres, database_url: str) -> None:
        self.postgres, self.database_url = postgres, database_url
        self.powerdns = new_powerdns(directory, postgres)
        pool = f"{name('p')}.test"
        self.registrar = play("dynadot-api3")
        self.registrar.domains[pool] = Domain(list(OLD))
        self.callers = directory / "observed.jsonl"
        self.callers.write_text(
            line("all", "key-all", "admin") + "\n" + line("few", "key-few", "allocate", quotas={"names": 0})
        )
        self.service = Service(
            directory, database_url, self.powerdns, pool, PDM_AUTH_TOKENS_FILE=str(self.callers),
            PDM_POOL_REGISTRAR="dynadot", PDM_POOL_REGISTRAR_TOKEN=self.registrar.token,
            PDM_REGISTRAR_DYNADOT_URL=self.registrar.url, PDM_RECONCILE_INTERVAL="1s", PDM_AUDIT_INTERVAL="2s",
            PDM_POOL_DOMAINS=f"{pool},below.{pool}", PDM_DNS_ROOT_HINTS="root.test=127.0.0.1:9", PDM_LOG_LEVEL="info",
            PDM_LEASE="20s",
        )  # fmt: skip
        self.service.client.headers.update(KEY)
        self.prometheus = Prometheus(directory, self.service.port)
        self._over = threading.Event()
        self._load = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self.service.start()
        eventually(self.service.pools_ready, 15)
        self.kept = name("kept")
        self.service.publish(self.kept)
        self.prometheus.start()
        self._load.start()

    def stop(self) -> None:
        self._over.set()
        self._load.join()
        self.prometheus.stop()
        self.service.kill()
        self.registrar.stop()
        self.powerdns.stop()

    def _work(self) -> None:
        """One name's life after the other, some looking, some refusals."""
        client = httpx.Client(base_url=self.service.client.base_url, headers=KEY, timeout=patient(10), trust_env=False)
        pool = self.service.pool
        while not self._over.wait(0.2):
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                label = name()
                client.get("/v1/check", params={"poolDomain": pool, "subdomain": label})
                client.post(
                    "/v1/reserve",
                    json={"poolDomain": pool, "subdomain": label},
                    headers={"Authorization": "Bearer key-few"},
                )
                held = client.post("/v1/reserve", json={"poolDomain": pool, "subdomain": label}).json()
                body = {
                    "fqdn": held["fqdn"],
                    "reservationToken": held["reservationToken"],
                    "loadBalancerIP": "192.0.2.1",
                }
                client.post("/v1/commit", json=body)
                client.post("/v1/release", json={"fqdn": held["fqdn"]})
        client.close()

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.service.execute(statement)


@pytest.fixture(scope="module")
def world(directory: Path, postgres: Postgres, template: str) -> Iterator[World]:
    own = directory / "observed"
    own.mkdir(mode=0o711)
    database = name("pdm_")
    postgres.create_database(database, template=template)
    made = World(own, postgres, postgres.dsn(database))
    made.start()
    yield made
    made.stop()
    postgres.drop_database(database)


# --- faults -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def database_away(world: World) -> Iterator[None]:
    with away(world.postgres, world.database_url):
        yield


@contextlib.contextmanager
def standby_away(world: World) -> Iterator[None]:
    """Have the commits of this service's database alone wait for a standby that is not there."""
    name_of_it = world.database_url.rpartition("/")[2]

    async def run(synchronous_commit: str, standbys: str) -> None:
        connection = await asyncpg.connect(world.postgres.dsn())
        await connection.execute(f"ALTER DATABASE {name_of_it} SET synchronous_commit = {synchronous_commit}")
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
        await connection.execute("SELECT pg_reload_conf()")
        # For those that come anew.
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
        await connection.execute(end, name_of_it)
        await connection.close()

    asyncio.run(run("on", "nobody"))
    try:
        yield
    finally:
        asyncio.run(run("off", ""))


@contextlib.contextmanager
def powerdns_away(world: World) -> Iterator[None]:
    label = name()
    token = world.service.reserve(label).json()["reservationToken"]
    world.powerdns.kill()
    body = {"fqdn": f"{label}.{world.service.pool}", "reservationToken": token, "loadBalancerIP": "192.0.2.1"}
    with contextlib.suppress(httpx.TimeoutException):  # it would wait for DNS
        world.service.client.post("/v1/commit", json=body, timeout=0.5)
    try:
        yield
    finally:
        world.powerdns.start()
    world.service.published(label)


@contextlib.contextmanager
def zone_lost(world: World) -> Iterator[None]:
    lost = f"{name()}.{world.service.pool}"
    Api(world.powerdns).create(lost, account=f"pdm-{uuid.uuid4().hex}", nameservers=["ns1.platform.test."])
    yield
    Api(world.powerdns).delete(lost)


@contextlib.contextmanager
def changes_get_nowhere(world: World) -> Iterator[None]:
    """PowerDNS's writes wait for a lock in its database."""
    over = threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(world.postgres.dsn(world.powerdns.directory.name))
        async with connection.transaction():
            await connection.execute("LOCK TABLE records, domains IN EXCLUSIVE MODE")
            await asyncio.to_thread(over.wait)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def service_away(world: World) -> Iterator[None]:
    world.service.kill()
    try:
        yield
    finally:
        world.service.start()


@contextlib.contextmanager
def delegation_moved(world: World) -> Iterator[None]:
    world.execute(
        "INSERT INTO watches (fqdn, report, due_at) VALUES ('moved.zz', '{\"phase\": \"moved\"}', now() + '1 d')"
    )
    yield
    world.execute("DELETE FROM watches WHERE fqdn = 'moved.zz'")


@contextlib.contextmanager
def drift(world: World) -> Iterator[None]:
    fqdn = f"{world.kept}.{world.service.pool}"
    other = {"name": f"console.{fqdn}.", "type": "A", "ttl": 300, "changetype": "REPLACE",
             "records": [{"content": "192.0.2.66", "disabled": False}]}  # fmt: skip
    Api(world.powerdns).patch(fqdn, other)
    yield


@contextlib.contextmanager
def rejected(world: World) -> Iterator[None]:
    fqdn = f"{world.kept}.{world.service.pool}"
    api, owner = Api(world.powerdns), f"api.{fqdn}."
    alias = {"name": owner, "type": "CNAME", "ttl": 60, "changetype": "REPLACE",
             "records": [{"content": "x.example.", "disabled": False}]}  # fmt: skip
    api.patch(fqdn, {"name": owner, "type": "A", "changetype": "DELETE"}, alias)
    yield
    api.patch(fqdn, {"name": owner, "type": "CNAME", "changetype": "DELETE"})
    world.service.published(world.kept, 40)


@contextlib.contextmanager
def defect(world: World) -> Iterator[None]:
    world.execute("ALTER TABLE claims RENAME TO claims_away")
    try:
        assert {world.service.client.get("/v1/allocations").status_code for _ in range(3)} == {500}
    finally:
        world.execute("ALTER TABLE claims_away RENAME TO claims")
    yield


@contextlib.contextmanager
def file_broken(world: World) -> Iterator[None]:
    before = world.callers.read_text()
    world.callers.write_text("{nonsense")
    yield
    world.callers.write_text(before)


@contextlib.contextmanager
def registrar_refuses(world: World) -> Iterator[None]:
    world.registrar.fault(reply(Answer(500, b"no")))
    world.execute("UPDATE pool_registrations SET due_at = now()")
    yield
    world.registrar.faults.clear()
    world.execute("UPDATE pool_registrations SET due_at = now()")


@contextlib.contextmanager
def pool_taken(world: World) -> Iterator[None]:
    below = f"below.{world.service.pool}"
    low, high = names.span(below)
    world.execute(
        "INSERT INTO allocations (fqdn, span, mode, state, reserved_at, expires_at, token_digest, proof) VALUES"
        f" ('{below}', name_span('{low}', '{high}'), 'byo-manual', 'reserved', now(), now() + '1 h', '', 'txt')"
    )
    yield
    world.execute(f"DELETE FROM allocations WHERE fqdn = '{below}'")


@contextlib.contextmanager
def slow(world: World) -> Iterator[None]:
    over = threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(world.database_url)
        while not over.is_set():
            async with connection.transaction():
                await connection.execute("LOCK TABLE allocations IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(1.5)
            await asyncio.sleep(0.1)
        await connection.close()

    def ask() -> None:
        query = {"poolDomain": world.service.pool, "subdomain": name()}
        while not over.is_set():
            at_once(8, lambda _: world.service.client.get("/v1/check", params=query))

    threads = [threading.Thread(target=lambda: asyncio.run(hold())), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def wrong_keys(world: World) -> Iterator[None]:
    for n in range(30):
        world.service.client.get("/v1/pools", headers={"Authorization": f"Bearer wrong-{n}"})
    yield


FAULTS: list[tuple[Callable[[World], contextlib.AbstractContextManager[None]], set[str], set[str]]] = [
    (drift, {"PDMDriftFound"}, set()),
    (zone_lost, {"PDMZonesLost"}, set()),
    (changes_get_nowhere, {"PDMPowerDNSFailing"},
     {"PDMPublishingFailing", "PDMPublishingStalled", "PDMPoolZoneNotReady", "PDMSlowRequests"}),
    (rejected, {"PDMPublishingRejected"}, {"PDMDriftFound", "PDMPublishingStalled"}),
    (defect, {"PDMErrors"}, set()),
    (file_broken, {"PDMFileInvalid"}, set()),
    (wrong_keys, {"PDMAuthFailures"}, set()),
    (registrar_refuses, {"PDMPoolRegistrationFailed"}, set()),
    (pool_taken, {"PDMPoolZoneNotReady"}, {"PDMDriftFound"}),
    (delegation_moved, {"PDMDelegationMoved"}, set()),
    (slow, {"PDMSlowRequests"}, {"PDMPublishingFailing", "PDMPublishingStalled", "PDMDatabaseUnreachable"}),
    (powerdns_away, {"PDMPowerDNSUnreachable", "PDMPublishingStalled", "PDMPublishingFailing"},
     {"PDMPoolZoneNotReady", "PDMSlowRequests", "PDMDriftFound"}),
    (standby_away, {"PDMWritesWait"},
     {"PDMPublishingFailing", "PDMPublishingStalled", "PDMPoolZoneNotReady", "PDMSlowRequests"}),
    (database_away, {"PDMDatabaseUnreachable"},
     {"PDMPublishingFailing", "PDMPoolZoneNotReady", "PDMSlowRequests", "PDMPublishingStalled"}),
    (service_away, {"PDMDown"}, set()),
]  # fmt: skip


def test_faults_are_of_all_alerts() -> None:
    """There is a fault for every alert."""
    assert set().union(*(fires for _, fires, _ in FAULTS)) == {path.stem for path in ALERTS}


def test_nothing_fires_without_a_fault(world: World) -> None:
    """Under load and in good order no alert fires, for as long as the longest would need."""
    eventually(lambda: len(world.prometheus.values("up == 1")) == 1)
    # Before the first scrape the service seems to be absent.
    eventually(lambda: world.prometheus.firing() == set(), 30)
    started = world.prometheus.values("vector(time())")[0]
    seen: set[str] = set()

    def waited() -> bool:
        nonlocal seen
        seen |= world.prometheus.firing()
        return world.prometheus.values("vector(time())")[0] > started + 12

    eventually(waited, 30)
    assert seen == set()


@pytest.mark.parametrize(("fault", "fires", "besides"), FAULTS, ids=lambda one: getattr(one, "__name__", ""))
def test_alert_fires_at_its_fault(
    world: World, fault: Callable[[World], contextlib.AbstractContextManager[None]], fires: set[str], besides: set[str]
) -> None:
    """An alert fires at its fault, no other does but those that the same fault explains; then it ends."""
    eventually(lambda: world.prometheus.firing() == set(), 40, str(world.prometheus.firing()))
    seen: set[str] = set()

    def fired() -> bool:
        nonlocal seen
        seen |= world.prometheus.firing()
        return fires <= seen

    with fault(world):
        eventually(fired, 40, f"{fires}; {seen}")
    assert seen <= fires | besides
    eventually(lambda: world.prometheus.firing() == set(), 60, str(world.prometheus.firing()))


def test_panels_have_data(world: World) -> None:
    """Every panel's query has an answer once everything has happened."""
    reply = world.service.client.get("/v1/delegations/somebody.zz")
    assert reply.status_code == 200, reply.text
    world.execute(
        "INSERT INTO watches (fqdn, report, due_at) VALUES ('live.zz', '{\"phase\": \"live\"}', now() + '1 d')"
    )

    def empty() -> dict[str, str]:
        asked = {
            what: text.replace("$__rate_interval", "10m") for what, text in expressions().items() if "PDM" not in what
        }
        return {what: text for what, text in asked.items() if not world.prometheus.values(text)}

    def complete() -> bool:
        missing = empty()
        assert not missing, json.dumps(missing, indent=1)
        return True

    eventually(complete, 40)
