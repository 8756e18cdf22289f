"""A registrar whose adapter is of another package, through the running service: like any other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.all import OURS
from adapters.conformance.played import OLD, Server
from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.other_packages import EXAMPLE, environment, install, play_gandi
from tests.service import Service

DOMAIN = "example.com"
NEW = ["ns1.platform.test", "ns2.platform.test"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"), EXAMPLE)


@pytest.fixture(scope="module")
def gandi(installed: Path) -> Iterator[Server]:
    server = play_gandi(installed)
    yield server
    server.stop()
    assert server.wrong == []


@pytest.fixture(scope="module")
def service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, installed: Path, gandi: Server
) -> Iterator[Service]:
    more = {**environment(installed), "PDM_REGISTRAR_GANDI_URL": gandi.url}
    yield from new_shared_service(directory, postgres, template, powerdns, **more)


@pytest.fixture(autouse=True)
def as_new(gandi: Server) -> None:
    gandi.faults, gandi.seen, gandi.read_only, gandi.instant = [], [], False, True
    gandi.domains[DOMAIN].nameservers = list(OLD)


def test_registrar_is_listed(service: Service) -> None:
    """Programs are told of it like of ours; the log says which package it came with."""
    found = {one["name"]: one for one in service.client.get("/v1/registrars").json()["registrars"]}
    assert sorted(found) == sorted([*OURS, "gandi"])
    assert found["gandi"]["title"] == "Gandi"
    assert found["gandi"]["abilities"]["setDs"] is True
    assert "gandi" in service.client.get("/healthz").json()["registrars"]
    (line,) = [line for line in service.log.read_text().splitlines() if "adapter of another package" in line]
    assert "pdm-registrar-gandi 0.1.0" in line
    answer = service.client.post("/v1/validate", json={"registrar": "x", "domain": DOMAIN, "token": "t"})
    assert "gandi" in answer.json()["supported"]


def test_validate(service: Service, gandi: Server) -> None:
    """A token is tested by reading alone; one that is refused is told as such."""
    gandi.read_only = True
    body = {"registrar": "gandi", "domain": DOMAIN, "token": gandi.token}
    answer = service.client.post("/v1/validate", json=body)
    assert (answer.status_code, answer.json()["nameservers"]) == (200, list(OLD))
    assert answer.json()["canSetNameservers"] is None
    refused = service.client.post("/v1/validate", json={**body, "token": gandi.wrong_token})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid-token")
    assert gandi.wrong_token not in refused.text


@pytest.mark.parametrize("instant", [True, False])
def test_set_ns(service: Service, gandi: Server, instant: bool) -> None:
    """The nameservers are set; where Gandi carries it out later, that is said."""
    gandi.instant = instant
    body = {"domain": DOMAIN, "token": gandi.token, "nameservers": NEW, "acknowledge": ["BYO-DS"]}
    answer = service.client.post("/api/v1/registrar/gandi/set-ns", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["pending"] is not instant
    assert answer.json()["nameservers"] == (NEW if instant else list(OLD))
    gandi.settle()
    assert gandi.domains[DOMAIN].nameservers == NEW
    log = service.log.read_text()
    assert gandi.token not in log
    assert 'registrar="gandi"' in service.client.get("/metrics").text
