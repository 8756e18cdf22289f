"""Two versions of the service on one database, under load: the release before on this schema, this one on the next."""

import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from pdm_service.store import migrate
from tests import releases
from tests.dns_view import records
from tests.eventually import eventually
from tests.patience import patient
from tests.releases import HOUSE, PACKAGES, ROOT
from tests.service import ADDRESS, Service, name

NEXT_MIGRATION = '''"""What a next release may do: expand."""

from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.execute("ALTER TABLE allocations ADD COLUMN remark text, ADD COLUMN weight int NOT NULL DEFAULT 1")
    op.execute("CREATE INDEX allocations_remark ON allocations (remark)")
    op.execute("CREATE TABLE remarks (fqdn text PRIMARY KEY, remark text NOT NULL)")
'''


def release_before(directory: Path) -> Path:
    """The code as it was before this schema's migration came."""
    (newest,) = (ROOT / "migrations" / "versions").glob(f"v{migrate.HEAD}_*.py")
    return releases.before(directory, str(newest.relative_to(ROOT)))


def next_release(directory: Path) -> Path:
    """This code with one more migration."""
    made = directory / "next"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, made / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = migrate.HEAD
    revision = f"{int(before) + 1:04}"
    (code,) = (made / "pdm_service").rglob("migrate.py")
    code.write_text(code.read_text().replace(f'HEAD = "{before}"', f'HEAD = "{revision}"'))
    text = NEXT_MIGRATION.format(revision=revision, before=before)
    (made / "migrations" / "versions" / f"v{revision}_next.py").write_text(text)
    return made


def schema_of(service: Service) -> str:
    """The schema that a replica found or made when it started."""
    return next(line["now"] for line in service.lines() if line["message"] == "schema")


class Load:
    """Callers that begin, publish and give back names at whichever replica answers, and remember what they were told."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._replicas: list[Service] = []
        self._over = threading.Event()
        self._turn = itertools.count()
        self.published: set[str] = set()
        self.released: set[str] = set()
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(4)]

    def at(self, *replicas: Service) -> None:
        """Have the replicas of now; a call that is under way at another one comes to its end there."""
        self._replicas = list(replicas)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Return when every caller has come some way since now."""
        goal = len(self.published) + 12
        eventually(lambda: len(self.published) >= goal or self.faults, 40)
        assert self.faults == []

    def _work(self) -> None:
        with httpx.Client(timeout=patient(15), trust_env=False) as client:
            while not self._over.is_set():
                try:
                    self._one(client)
                except AssertionError as fault:
                    self.faults.append(str(fault))

    def _one(self, client: httpx.Client) -> None:
        label = name()
        body: dict[str, str] = {"poolDomain": self._pool, "subdomain": label}
        held = self._call(client, "/v1/reserve", body, {201}, {"Idempotency-Key": label}).json()
        body = {"fqdn": held["fqdn"], "reservationToken": held["reservationToken"], "loadBalancerIP": ADDRESS}
        self._call(client, "/v1/commit", body, {200, 202})
        self.published.add(held["fqdn"])
        if next(self._turn) % 2:
            # A reply that was lost may have released it already.
            self._call(client, "/v1/release", {"fqdn": held["fqdn"]}, {200, 202, 404})
            self.released.add(held["fqdn"])

    def _call(
        self,
        client: httpx.Client,
        path: str,
        body: dict[str, str],
        good: set[int],
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        for _ in range(40):
            replica = self._replicas[next(self._turn) % len(self._replicas)]
            try:
                reply = client.post(f"http://127.0.0.1:{replica.port}{path}", json=body, headers=headers)
            except httpx.TransportError:
                continue  # it has gone; a Service would name another one
            if reply.status_code in good:
                return reply
            assert reply.status_code == 503, f"{path} {reply.status_code} {reply.text}"
        msg = f"{path}: nobody answers"
        raise AssertionError(msg)


@pytest.mark.parametrize("change", ["from the release before", "from before the house", "to the next release"])
def test_rolling_update(
    change: str,
    new_service: Callable[..., Service],
    directory: Path,
    postgres: Postgres,
    powerdns: PowerDNS,
    database_url: str,
    pool: str,
) -> None:
    """Replica by replica to the new version, and back, under load: all that was acknowledged is so, here and in DNS."""
    own = directory / name("versions")
    own.mkdir()
    if change == "to the next release":
        old, new = {}, {"PYTHONPATH": str(next_release(own))}
    elif change == "from before the house":
        old, new = {"PYTHONPATH": str(releases.before(own, HOUSE))}, {}
    else:
        old, new = {"PYTHONPATH": str(release_before(own))}, {}
        # It begins with the schema of that time.
        database = database_url.rpartition("/")[2]
        postgres.drop_database(database)
        postgres.create_database(database)
    first, second = (new_service(**old).start() for _ in range(2))
    eventually(first.pools_ready, 20)
    load = Load(pool)
    load.at(first, second)
    load.start()
    try:
        load.goes_on()
        third = new_service(**new).start()
        assert (schema_of(first) == schema_of(third)) is (change == "from before the house")
        assert schema_of(first) <= schema_of(third)
        assert first.is_ready()
        assert second.is_ready()
        load.at(first, second, third)
        load.goes_on()
        load.at(second, third)
        assert first.stop() == 0
        fourth = new_service(**new).start()
        load.at(third, fourth)
        assert second.stop() == 0
        load.goes_on()
        if change != "from the release before":
            # And back: a replica of before starts on the schema that came after it.
            fifth = new_service(**old).start()
            load.at(fourth, fifth)
            assert third.stop() == 0
            load.goes_on()
    finally:
        load.stop()
    assert load.faults == []
    kept = load.published - load.released
    assert len(kept) > 5
    assert len(load.released) > 5
    for fqdn in kept:
        fourth.published(fqdn.removesuffix(f".{pool}"), 30)
        assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]
    for fqdn in load.released:
        fourth.gone(fqdn.removesuffix(f".{pool}"), 30)
        assert records(powerdns.dns_port, fqdn, "A") == []
