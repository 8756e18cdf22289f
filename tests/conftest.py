"""Real servers for the session, a database and a pool domain for each test."""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS, free_port, load_schema
from pdm_service.store import migrate
from tests.dns_view import Api
from tests.eventually import eventually
from tests.parallel import (  # noqa: F401 - pytest finds them here
    DIRECTORY,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_header,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)
from tests.service import Service
from tests.tree import Tree
from tests.turns import turn


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what the services told last."""
    report = yield
    if report.failed:
        report.sections += [service.told() for service in Service.made]
    return report


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory that the servers' account may pass through."""
    path = Path(tempfile.mkdtemp(dir=os.environ[DIRECTORY]))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(directory: Path) -> Iterator[Postgres]:
    server = Postgres(directory / "postgres", free_port(), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The name of a migrated database to copy."""
    postgres.create_database("pdm_template")
    asyncio.run(migrate.migrate(postgres.dsn("pdm_template")))
    return "pdm_template"


@pytest.fixture(scope="session")
def powerdns(directory: Path, postgres: Postgres) -> Iterator[PowerDNS]:
    """One PowerDNS for all tests that leave it alone."""
    server = new_powerdns(directory, postgres)
    yield server
    server.stop()


def new_powerdns(directory: Path, postgres: Postgres, *, caches: bool = False) -> PowerDNS:
    """A PowerDNS of one's own, to be killed at will."""
    name = f"pdns_{uuid.uuid4().hex[:8]}"
    postgres.create_database(name)
    load_schema(postgres.dsn(name))
    server = PowerDNS(
        directory / name, postgres.dsn(name), free_port(), free_port(), api_key="test-api-key", caches=caches
    )
    server.start()
    return server


@pytest.fixture
def pool() -> str:
    return f"p{uuid.uuid4().hex[:8]}.test"


@pytest.fixture(scope="session")
def tree(directory: Path, postgres: Postgres) -> Iterator[Tree]:
    """The DNS tree, for all tests that leave its servers alone."""
    try:
        made = Tree(directory, postgres)
    except PermissionError:
        pytest.skip("a DNS tree needs port 53 of loopback addresses, which only root may bind here")
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def usual_port() -> Iterator[None]:
    """Have port 8080 of 127.0.0.1, where the service listens if nothing else is said, for this test alone."""
    with turn("port 8080"):
        yield


@pytest.fixture
def domain() -> str:
    """A customer's domain in the tree."""
    return f"c{uuid.uuid4().hex[:10]}.zz"


@pytest.fixture
def database_url(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"pdm_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name, template=template)
    yield postgres.dsn(name)
    postgres.drop_database(name)


@pytest.fixture
def new_service(directory: Path, database_url: str, powerdns: PowerDNS, pool: str) -> Iterator[Callable[..., Service]]:
    """Make replicas of the service on this test's database; all end with the test."""
    made: list[Service] = []

    def make(**more: Any) -> Service:
        made.append(Service(directory, database_url, powerdns, pool, **more))
        return made[-1]

    yield make
    for service in made:
        service.kill()
        service.client.close()


@pytest.fixture
def service(new_service: Callable[..., Service]) -> Service:
    """One running service, its pool zone made."""
    one = new_service().start()
    eventually(one.pools_ready)
    return one


@pytest.fixture
def api(powerdns: PowerDNS) -> Api:
    return Api(powerdns)
