"""How often a client may have others asked: claims, renewals, pre-flights, fresh observations."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.api.test_callers import Caller, line
from tests.service import Service

LIMIT = 3
KINDS = ("CLAIMS", "RENEWALS", "PREFLIGHTS", "OBSERVATIONS")
TOKEN = str(uuid.UUID(int=1))
CALLS: dict[str, list[tuple[str, str, dict[str, object] | None]]] = {
    "claims": [("POST", "/v1/reserve", {"mode": mode, "domain": "acme.zz"}) for mode in ("byo-manual", "byo-api")],
    "renewals": [("POST", "/v1/renew", {"fqdn": "acme.zz", "reservationToken": TOKEN})],
    "preflights": [
        ("POST", "/v1/preflight", {"domain": "acme.zz"}),
        ("POST", "/v1/validate", {"registrar": "dynadot", "domain": "acme.zz"}),
    ],
    "observations": [("GET", "/v1/delegations/acme.zz?fresh=true", None)],
}


@pytest.fixture(scope="module")
def service(directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS) -> Iterator[Service]:
    """A service that lets each client ask three times a minute, and tells clients apart."""
    file = directory / "limited.jsonl"
    names = [f"{one}-{kind}" for kind in CALLS for one in ("alice", "bob")]
    clients = [line(name, f"key-{name}", "allocate", "registrar") for name in names]
    clients.append(line("local", "key-local", "allocate", quotas={"reservations": 2}))
    file.write_text("\n".join(clients) + "\n")
    limits = {f"PDM_{kind}_PER_MINUTE": str(LIMIT) for kind in KINDS}
    yield from new_shared_service(
        directory, postgres, template, powerdns, PDM_AUTH_TOKENS_FILE=str(file), PDM_DNS_ROOT_HINTS="none", **limits
    )


@pytest.mark.parametrize("kind", CALLS)
def test_limit(service: Service, kind: str) -> None:
    """A client that asks oftener than it may is told when to ask again; another client, and its other calls, go on."""
    calls = [CALLS[kind][number % len(CALLS[kind])] for number in range(LIMIT + 2)]
    alice, bob = Caller(service, f"alice-{kind}"), Caller(service, f"bob-{kind}")
    replies = [alice(method, path, json=body) for method, path, body in calls]
    assert all(reply.json().get("error") != "quota-exceeded" for reply in replies[:LIMIT])
    for reply in replies[LIMIT:]:
        assert (reply.status_code, reply.json()["error"]) == (429, "quota-exceeded"), reply.text
        assert f"{LIMIT} {kind} a minute" in reply.json()["detail"]
        assert 1 <= int(reply.headers["retry-after"]) <= 60
    method, path, body = calls[0]
    assert bob(method, path, json=body).json().get("error") != "quota-exceeded"
    assert alice("GET", "/v1/delegations/acme.zz").status_code == 200
    assert alice.reserve(f"a{uuid.uuid4().hex[:8]}").status_code == 201


def test_client_with_the_name_of_everybody(service: Service) -> None:
    """A client called `local`, as everybody is where callers are not told apart, has its quotas."""
    local = Caller(service, "local")
    replies = [local.reserve(f"l{uuid.uuid4().hex[:8]}") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [201, 201, 429]
    assert replies[2].json()["error"] == "quota-exceeded"
