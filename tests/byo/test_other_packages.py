"""A customer's domain at a registrar whose adapter is of another package moves like any other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.conformance.played import Domain, Server
from tests.byo.conftest import Byo, Registry, at
from tests.eventually import eventually
from tests.other_packages import EXAMPLE, environment, install, play_gandi
from tests.service import Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    return install(tmp_path / "installed", EXAMPLE)


@pytest.fixture
def registrar(installed: Path, customer: str) -> Iterator[Server]:
    server = play_gandi(installed)
    server.domains[customer] = Domain(list(OLD_NAMES))
    yield server
    server.stop()
    assert server.wrong == []


@pytest.fixture
def registry(tree: Tree, registrar: Server, customer: str) -> Iterator[Registry]:
    made = Registry(tree, registrar, customer, tag="keytag")
    yield made
    made.stop()


@pytest.fixture
def api(new_byo_service: Callable[..., Service], tree: Tree, installed: Path, customer: str, registrar: Server) -> Byo:
    made = Byo(new_byo_service(**environment(installed), **at(registrar)).start(), tree, customer)
    made.credential = {"registrar": "gandi", "registrarToken": registrar.token}
    return made


def test_from_reserve_to_secured(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """The nameservers are changed, though the registrar does it later and has nothing to ask about it; then the DS is set."""
    api.reserve("byo-api")
    made = api.flip()
    assert made.status_code == 200, made.text
    assert made.json()["proof"] == "registrar"
    assert sorted(registrar.domains[customer].nameservers) == list(OLD_NAMES)
    registrar.settle()
    api.phase("live")
    assert sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)
    assert eventually(lambda: api.undo()["lastChange"]["outcome"] == "done", 10)
    api.until("the token to be asked for", lambda one: one["dns"].get("needs") == "registrar-token")
    assert api.flip().status_code == 200
    eventually(lambda: api.delegation()["dnssec"] == "secure", 20, str(api.delegation()))
    eventually(api.secured, 10)
    assert len([seen for seen in registrar.writes if seen.path.endswith("/nameservers")]) == 1
