"""What several of the acceptance tests need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.conftest import new_powerdns


@pytest.fixture
def own_powerdns(directory: Path, postgres: Postgres) -> Iterator[PowerDNS]:
    """A PowerDNS of one's own, to be killed at will."""
    server = new_powerdns(directory, postgres)
    yield server
    server.stop()
