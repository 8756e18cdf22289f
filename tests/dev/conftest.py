"""A directory and two running servers for the tests of a module."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS, free_port


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that the servers' account may pass through."""
    path = Path(tempfile.mkdtemp(prefix="pdm-dev-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def postgres(place: Path) -> Iterator[Postgres]:
    with Postgres(place / "postgres", free_port(), durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def powerdns(place: Path, postgres: Postgres) -> Iterator[PowerDNS]:
    postgres.create_database("powerdns")
    with PowerDNS(place / "powerdns", postgres.dsn("powerdns"), free_port(), free_port(), api_key="test-key") as server:
        yield server
