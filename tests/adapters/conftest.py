"""Each registrar, played on loopback, with its adapter."""

from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.base import Registrar
from tests.registrars import CASES, play
from tests.registrars.server import Server


@pytest.fixture(params=CASES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A registrar; the test fails if it was sent anything that a correct client never sends."""
    one = play(request.param)
    yield one
    one.stop()
    assert one.wrong == []


@pytest.fixture
async def registrar(server: Server) -> AsyncIterator[Registrar]:
    http = server.http()
    yield server.adapter(http)
    await http.close()
