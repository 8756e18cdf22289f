"""Each registrar, played on loopback, with its adapter."""

from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.base import Registrar
from tests.registrars import CASES, play
from tests.registrars.server import Server


def playing(case: str) -> Iterator[Server]:
    """A registrar; the test fails if it was sent anything that a correct client never sends."""
    one = play(case)
    yield one
    one.stop()
    assert one.wrong == []


@pytest.fixture(params=CASES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from playing(request.param)


@pytest.fixture
async def registrar(server: Server) -> AsyncIterator[Registrar]:
    http = server.http()
    yield server.adapter(http)
    await http.close()
