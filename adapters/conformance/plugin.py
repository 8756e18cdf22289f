"""A plugin of pytest: gives the suite each registrar that is played, with the adapter that is pointed at it.

`-p adapters.conformance.plugin`, and in pytest's settings a line `name = module:Class` for each class that plays one:

    played_registrars = ["gandi = played_gandi:Gandi"]
"""

import importlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from adapters.base import Follows, ReadsDs, Registrar, SetsDs, SetsGlue
from adapters.conformance.played import Server
from adapters.http import Http

_ABILITIES: dict[str, Callable[[Server, Registrar], bool]] = {
    "sets nameservers": lambda _, adapter: adapter.about.sets_nameservers,
    "sets no nameservers": lambda _, adapter: not adapter.about.sets_nameservers,
    "reads DS": lambda _, adapter: isinstance(adapter, ReadsDs),
    "sets DS": lambda _, adapter: isinstance(adapter, SetsDs),
    "sets glue": lambda _, adapter: isinstance(adapter, SetsGlue),
    "may be busy": lambda played, adapter: adapter.about.sets_nameservers and type(played).occupied != Server.occupied,
    "tells progress": lambda played, adapter: isinstance(adapter, Follows) and played.asynchronous,
}
"""What a test may need of an adapter; it runs for those that have it."""
_CLASSES = pytest.StashKey[dict[str, type[Server]]]()
_ABLE = pytest.StashKey[dict[str, frozenset[str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the list of those who play."""
    parser.addini("played_registrars", "name = module:Class of each registrar that is played", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Find those who play; raises UsageError where there is none, or no such class."""
    config.addinivalue_line("markers", "ability(name): runs for the adapters that have it")
    config.stash[_CLASSES] = dict(_named(line) for line in config.getini("played_registrars"))
    config.stash[_ABLE] = {}


def _named(line: str) -> tuple[str, type[Server]]:
    name, _, place = (part.strip() for part in line.partition("="))
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"played_registrars: {line}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Server)):
        raise pytest.UsageError(f"played_registrars: {line} is no subclass of adapters.conformance.played.Server")
    return name, found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of the suite once for each registrar that can do what the test is about."""
    if "server" not in metafunc.fixturenames or metafunc.function.__module__.rpartition(".")[0] != __package__:
        return
    wanted = {name for mark in metafunc.definition.iter_markers("ability") for name in mark.args}
    abilities = able(metafunc.config)
    metafunc.parametrize("server", [name for name in abilities if wanted <= abilities[name]], indirect=True)


def able(config: pytest.Config) -> dict[str, frozenset[str]]:
    """Return the abilities of each; they are asked for once, when a test needs them."""
    known, classes = config.stash[_ABLE], config.stash[_CLASSES]
    if not classes:
        pytest.fail("played_registrars is missing in pytest's settings: who plays your registrar?", pytrace=False)
    for name, made in classes.items():
        if name not in known:
            played = made()
            adapter = played.adapter(Http(name))
            known[name] = frozenset(ability for ability, has in _ABILITIES.items() if has(played, adapter))
            played.stop()
    return known


def playing(played: Server) -> Iterator[Server]:
    """Give a running registrar; the test fails if it was sent anything that a correct client never sends."""
    yield played
    played.stop()
    assert played.wrong == []


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A registrar, played on loopback; in tests that don't choose, the first."""
    classes = request.config.stash[_CLASSES]
    yield from playing(classes[getattr(request, "param", next(iter(classes)))]())


@pytest_asyncio.fixture
async def registrar(server: Server) -> AsyncIterator[Registrar]:
    """The adapter, pointed at it."""
    http = server.http()
    yield server.adapter(http)
    await http.close()
