"""Who may do what: every route with every kind of credential, and what is one client's alone."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pdm_service import names
from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.eventually import eventually
from tests.service import ADDRESS, Service, name

SCOPES = ("check", "allocate", "registrar", "metrics", "admin")
ROUTES: dict[str, set[str]] = {
    "GET /healthz": set(),
    "GET /livez": set(),
    "GET /readyz": set(),
    "GET /metrics": {"metrics"},
    "GET /v1/check": {"check", "allocate"},
    "GET /v1/pools": {"check", "allocate"},
    "GET /v1/nameservers": {"check", "allocate"},
    "GET /v1/reserved": {"check", "allocate"},
    "GET /v1/registrars": {"check", "allocate"},
    "POST /v1/reserve": {"allocate"},
    "POST /v1/renew": {"allocate"},
    "POST /v1/commit": {"allocate"},
    "POST /v1/release": {"allocate"},
    "POST /v1/rollback": {"allocate"},
    "POST /v1/preflight": {"allocate"},
    "POST /v1/validate": {"registrar"},
    "GET /v1/allocations": {"allocate"},
    "GET /v1/allocations/{fqdn}": {"allocate"},
    "PUT /v1/allocations/{fqdn}": {"allocate"},
    "DELETE /v1/allocations/{fqdn}": {"allocate"},
    "GET /v1/allocations/{fqdn}/events": {"allocate"},
    "GET /v1/allocations/{fqdn}/undo": {"allocate"},
    "GET /v1/delegations/{domain}": {"allocate"},
    "GET /v1/events": {"admin"},
    "GET /api/v1/pool/{domain}/check": {"check", "allocate"},
    "POST /api/v1/pool/{domain}/reserve": {"allocate"},
    "POST /api/v1/pool/{domain}/commit": {"allocate"},
    "DELETE /api/v1/pool/{domain}/release": {"allocate"},
    "GET /api/v1/pool/{domain}/list": {"allocate"},
    "GET /api/v1/reserved": {"check", "allocate"},
    "POST /api/v1/registrar/{registrar}/validate": {"registrar"},
    "POST /api/v1/registrar/{registrar}/set-ns": {"registrar"},
}
COMPAT_FOR_ALL = {route for route in ROUTES if "/api/v1/pool/" in route or route == "GET /api/v1/reserved"}


def line(identity: str, key: str, *scopes: str, **more: object) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return json.dumps({"id": identity, "sha256": digest, "scopes": list(scopes), **more})


def callers() -> list[str]:
    return [
        *(line(f"only-{scope}", f"key-{scope}", scope) for scope in SCOPES),
        line("alice", "key-alice", "allocate"),
        line("bob", "key-bob", "allocate", "check"),
        line("late", "key-late", *SCOPES, expires="2020-01-01T00:00:00Z"),
        line("elsewhere", "key-elsewhere", "allocate", pools=["other.test"]),
        line("curious", "key-curious", "check", checksPerMinute=3),
    ]


@pytest.fixture(scope="module")
def file(directory: Path) -> Path:
    path = directory / "callers.jsonl"
    path.write_text("# who may call\n\n" + "\n".join(callers()) + "\n")
    return path


@pytest.fixture(scope="module")
def service(directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, file: Path) -> Iterator[Service]:
    """A service that tells callers apart."""
    yield from new_shared_service(directory, postgres, template, powerdns, PDM_AUTH_TOKENS_FILE=str(file))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(identity: str, key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{identity}:{key}".encode()).decode()}


class Caller:
    """A client of the service, by its key."""

    def __init__(self, service: Service, identity: str) -> None:
        self.service = service
        self.headers = bearer(f"key-{identity}")

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return self.service.client.request(method, path, headers=headers, **more)

    def reserve(self, label: str, **more: object) -> httpx.Response:
        return self("POST", "/v1/reserve", json={"poolDomain": self.service.pool, "subdomain": label, **more})

    def publish(self, label: str) -> str:
        """Reserve and commit; return the token."""
        token = self.reserve(label).raise_for_status().json()["reservationToken"]
        body = {"fqdn": f"{label}.{self.service.pool}", "reservationToken": token, "loadBalancerIP": ADDRESS}
        assert self("POST", "/v1/commit", json=body).status_code in {200, 202}
        return token


@pytest.fixture
def alice(service: Service) -> Caller:
    eventually(lambda: all(one["state"] == "ready" for one in bob_sees_pools(service)))
    return Caller(service, "alice")


@pytest.fixture
def bob(service: Service) -> Caller:
    return Caller(service, "bob")


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, "admin")


def bob_sees_pools(service: Service) -> list[dict[str, str]]:
    return Caller(service, "bob")("GET", "/v1/pools").json()["pools"]


def requested(service: Service, route: str, **more: Any) -> httpx.Response:
    """A request for a route with values that do nothing where the credential is refused."""
    method, path = route.split(" ")
    path = path.replace("{fqdn}", f"nobody.{service.pool}").replace("{registrar}", "dynadot")
    path = path.replace("{domain}", service.pool)
    body = {"json": {}} if method in {"POST", "PUT"} else {}
    return service.client.request(method, path, **body, **more)


def test_table_of_routes_is_complete(service: Service) -> None:
    """Every route of the service's document stands in the table, and no other."""
    paths = service.client.get("/schema/openapi.json").json()["paths"]
    found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert found == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer wrong", "Basic !!!", "Basic " + base64.b64encode(b"alice").decode(),
        basic("alice", "key-bob")["Authorization"], basic("nobody", "key-alice")["Authorization"], "Digest x",
        "key-alicee", "Bearer key-late", "Bearer " + "x" * 9000, "a.b.c",
    ],
    ids=lambda header: "none" if header is None else header[:20] or "empty",
)  # fmt: skip
def test_route_without_a_valid_credential(service: Service, route: str, header: str | None) -> None:
    """Without a credential, or with one that is wrong or over, nothing is told but that; public routes go on."""
    headers = {} if header is None else {"Authorization": header}
    reply = requested(service, route, headers=headers)
    if not ROUTES[route]:
        assert reply.status_code == 200
        return
    assert reply.status_code in {401, 429}, reply.text
    assert reply.json()["error"] in {"unauthenticated", "too-many-attempts"}
    assert ("www-authenticate" in reply.headers) == (reply.status_code == 401)
    assert service.pool not in reply.text


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("scope", SCOPES)
def test_route_with_each_scope(service: Service, route: str, scope: str) -> None:
    """A client gets past the door of the routes that its scope is for, and at others hears which one is missing."""
    reply = requested(service, route, headers=bearer(f"key-{scope}"))
    if not ROUTES[route] or scope in {*ROUTES[route], "admin"}:
        assert reply.status_code not in {401, 403, 500}, reply.text
    else:
        assert (reply.status_code, reply.json()["error"]) == (403, "missing-scope")
        assert all(needed in reply.json()["detail"] for needed in ROUTES[route])


@pytest.mark.parametrize("headers", [bearer("key-alice"), basic("alice", "key-alice"), {"Authorization": "key-alice"}])
def test_carriers(service: Service, headers: dict[str, str]) -> None:
    """A key comes as Bearer, as Basic with its client's id, or bare."""
    assert service.client.get("/v1/allocations", headers=headers).status_code == 200


def test_basic_in_the_base_url(service: Service) -> None:
    """A client that knows nothing of credentials carries them in its base URL."""
    with httpx.Client(base_url=f"http://alice:key-alice@127.0.0.1:{service.port}", trust_env=False) as client:
        assert client.get(f"/api/v1/pool/{service.pool}/list").status_code == 200


def test_attempts_are_limited(directory: Path, service: Service, file: Path) -> None:
    """Wrong credentials from one address are refused after a while with 429; valid ones go on."""
    found = {service.client.get("/v1/pools", headers=bearer(f"guess-{n}")).status_code for n in range(40)}
    assert 429 in found
    assert service.client.get("/v1/pools", headers=bearer("key-check")).status_code == 200
    refused = service.client.get("/v1/pools", headers=bearer("guess"))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "pdm_auth_failures_total" in service.client.get("/metrics", headers=bearer("key-metrics")).text


def test_foreign_name_is_not_there(alice: Caller, bob: Caller, admin: Caller) -> None:
    """What alice has, active or reserved, is for bob as if it were not there, on every route; the admin sees it."""
    active, held = name(), name()
    tokens = {active: alice.publish(active), held: alice.reserve(held).json()["reservationToken"]}
    pool = alice.service.pool
    for label, token in tokens.items():
        fqdn = f"{label}.{pool}"
        named = {"fqdn": fqdn, "reservationToken": token}
        attempts = [
            bob("GET", f"/v1/allocations/{fqdn}"),
            bob("GET", f"/v1/allocations/{fqdn}", params={"owner": "x"}),
            bob("GET", f"/v1/allocations/{fqdn}/events"),
            bob("GET", f"/v1/allocations/{fqdn}/undo"),
            bob("GET", f"/v1/delegations/{fqdn}"),
            bob("DELETE", f"/v1/allocations/{fqdn}"),
            bob("DELETE", f"/v1/allocations/{fqdn}", params={"owner": "x"}),
            bob("POST", "/v1/renew", json=named),
            bob("POST", "/v1/commit", json={**named, "loadBalancerIP": "192.0.2.99"}),
            bob("POST", "/v1/release", json=named),
            bob("POST", "/v1/release", json={"fqdn": fqdn}),
            bob("POST", f"/api/v1/pool/{pool}/commit",
                json={"subdomain": label, "reservationToken": token, "loadBalancerIP": "192.0.2.99"}),
            bob("DELETE", f"/api/v1/pool/{pool}/release", params={"sub": label}),
            bob("POST", "/v1/rollback", json={"fqdn": fqdn, "registrar": "dynadot", "registrarToken": "x"}),
        ]  # fmt: skip
        for reply in attempts:
            expected = 409 if reply.request.url.path.endswith("/undo") else 404
            assert reply.status_code == expected, (reply.request.url, reply.text)
            assert "alice" not in reply.text
        assert bob.reserve(label).status_code == 409
        wanted = {"poolDomain": pool, "subdomain": label, "loadBalancerIP": "192.0.2.99"}
        assert bob("PUT", f"/v1/allocations/{fqdn}", params={"owner": "x"}, json=wanted).status_code == 409
        for listed in (bob("GET", "/v1/allocations").text, bob("GET", f"/api/v1/pool/{pool}/list").text):
            assert label not in listed
        assert alice("GET", f"/v1/allocations/{fqdn}").json()["fqdn"] == fqdn
        assert admin("GET", f"/v1/allocations/{fqdn}").status_code == 200
        assert fqdn in admin("GET", "/v1/allocations").text
        assert fqdn in alice("GET", f"/api/v1/pool/{pool}/list").text
    assert admin("DELETE", f"/v1/allocations/{active}.{pool}").status_code in {200, 202}


def test_foreign_claim_is_not_there(alice: Caller, bob: Caller) -> None:
    """Of a domain that both claim each sees his own claim alone."""
    domain = f"{name()}.zz"
    claims = {}
    for who in (alice, bob):
        reply = who("POST", "/v1/reserve", json={"mode": "byo-manual", "domain": domain})
        claims[who] = reply.raise_for_status().json()
    for who, claim in claims.items():
        assert who("GET", f"/v1/allocations/{domain}").json()["challenge"] == claim["challenge"]
        assert [one["challenge"] for one in who("GET", "/v1/allocations").json()["allocations"]
                if one["fqdn"] == domain] == [claim["challenge"]]  # fmt: skip
    stolen = {"fqdn": domain, "reservationToken": claims[alice]["reservationToken"]}
    for path, more in (("renew", {}), ("commit", {"loadBalancerIP": ADDRESS}), ("release", {})):
        assert bob("POST", f"/v1/{path}", json={**stolen, **more}).status_code in {403, 404}
    assert alice("POST", "/v1/renew", json=stolen).status_code == 200


def test_name_of_another_client_in_a_refusal(alice: Caller, bob: Caller) -> None:
    """A refusal for a name above or below somebody else's does not tell which one that is."""
    domain = f"{name()}.zz"
    alices = f"secretly-{name()}.{domain}"
    low, high = names.span(alices)
    alice.service.execute(
        "INSERT INTO allocations (fqdn, span, mode, state, reserved_at, expires_at, token_digest, proof, owner) VALUES"
        f" ('{alices}', name_span('{low}', '{high}'), 'byo-manual', 'reserved', now(), now() + '1 h', '', 'txt', 'alice')"
    )
    for mode in ("byo-manual", "byo-api"):
        reply = bob("POST", "/v1/reserve", json={"mode": mode, "domain": domain})
        assert (reply.status_code, reply.json()["error"]) == (409, "overlaps-allocation")
        assert "secretly" not in reply.text
    # Who claims the name above all the same has to prove it before they are told what lies below.
    body = {"mode": "byo-manual", "domain": domain, "acknowledge": ["BYO-BELOW"]}
    claimed = bob("POST", "/v1/reserve", json=body)
    assert claimed.status_code == 201
    assert "secretly" not in claimed.text


def test_events_of_the_holder_before(alice: Caller, bob: Caller, admin: Caller) -> None:
    """A later holder of a name learns nothing of an earlier one; the admin sees both."""
    label = name()
    for who in (alice, bob):
        token = who.reserve(label).raise_for_status().json()["reservationToken"]
        body = {"fqdn": f"{label}.{alice.service.pool}", "reservationToken": token}
        assert who("POST", "/v1/release", json=body).status_code == 200
    path = f"/v1/allocations/{label}.{alice.service.pool}/events"
    for who, actors in ((alice, {"alice"}), (bob, {"bob"}), (admin, {"alice", "bob"})):
        events = who("GET", path).json()["events"]
        assert {one["actor"] for one in events} == actors
        assert all(one["requestId"] for one in events)
        assert [one["action"] for one in events if one["actor"] in {"alice"} & actors] in ([], ["reserved", "released"])


def test_idempotency_key_of_another_client(alice: Caller, bob: Caller) -> None:
    """An Idempotency-Key is its client's own: another one's means nothing to it."""
    key = {"Idempotency-Key": name()}
    bodies = [{"poolDomain": alice.service.pool, "subdomain": name()} for _ in range(2)]
    first = alice("POST", "/v1/reserve", json=bodies[0], headers=key)
    assert bob("POST", "/v1/reserve", json=bodies[1], headers=key).status_code == 201
    assert bob("POST", "/v1/reserve", json=bodies[0], headers=key).status_code == 409
    again = alice("POST", "/v1/reserve", json=bodies[0], headers=key)
    assert again.json()["reservationToken"] == first.json()["reservationToken"]


def test_pool_that_is_not_the_clients(service: Service) -> None:
    """A client takes no names of pool domains that are not its own, nor customers' domains unless they are."""
    caller = Caller(service, "elsewhere")
    assert caller.reserve(name()).json()["error"] == "pool-not-allowed"
    wanted = {"poolDomain": service.pool, "subdomain": "x"}
    assert caller("PUT", f"/v1/allocations/x.{service.pool}", params={"owner": "o"}, json=wanted).status_code == 403
    own = caller("POST", "/v1/reserve", json={"mode": "byo-manual", "domain": f"{name()}.zz"})
    assert (own.status_code, own.json()["error"]) == (403, "pool-not-allowed")
    looked = caller("POST", "/v1/preflight", json={"domain": f"{name()}.zz"})
    assert (looked.status_code, looked.json()["error"]) == (403, "pool-not-allowed")
    seen = caller("GET", "/v1/check", params={"poolDomain": service.pool, "subdomain": name()}).json()
    assert (seen["available"], seen["reason"]) == (False, "unsupported-pool")


def test_looking_up_names_is_limited(service: Service) -> None:
    """A client that looks up too many names hears so, in the words of a check, and nothing of the names."""
    caller = Caller(service, "curious")
    query = {"poolDomain": service.pool, "subdomain": name()}
    found = [caller("GET", "/v1/check", params=query).json() for _ in range(6)]
    assert [one["available"] for one in found[:3]] == [True] * 3
    assert {one.get("reason") for one in found[3:]} == {"rate-limited"}
    compat = caller("GET", f"/api/v1/pool/{service.pool}/check", params={"sub": name()})
    assert (compat.status_code, compat.json()["reason"]) == (200, "rate-limited")


def test_file_of_callers_changes(service: Service, file: Path) -> None:
    """A key that is taken out of the file is over within a second or two, a new one works; nonsense changes nothing."""
    before = file.read_text()
    try:
        file.write_text(
            before.replace(line("bob", "key-bob", "allocate", "check"), line("carol", "key-carol", "check"))
        )
        eventually(lambda: service.client.get("/v1/pools", headers=bearer("key-carol")).status_code == 200)
        assert service.client.get("/v1/pools", headers=bearer("key-bob")).status_code in {401, 429}
        file.write_text("{nonsense")
        eventually(lambda: 'pdm_file_valid{file="callers"} 0.0' in metrics(service))
        assert service.client.get("/v1/pools", headers=bearer("key-carol")).status_code == 200
    finally:
        file.write_text(before)
    eventually(lambda: service.client.get("/v1/pools", headers=bearer("key-bob")).status_code == 200)
    eventually(lambda: 'pdm_file_valid{file="callers"} 1.0' in metrics(service))


def metrics(service: Service) -> str:
    return service.client.get("/metrics", headers=bearer("key-metrics")).text


def test_no_key_in_the_log(service: Service, alice: Caller, file: Path) -> None:
    """Who called stands in the log, with what he called never."""
    alice("GET", "/v1/allocations")
    service.client.get("/v1/allocations", headers=bearer("a-wrong-marked-key"))

    def written() -> bool:
        return any(one.get("client") == "alice" for one in service.lines())

    eventually(written)
    text = service.log.read_text()
    assert "key-alice" not in text
    assert "a-wrong-marked-key" not in text
    assert base64.b64encode(b"alice:key-alice").decode() not in text


def test_export_of_events(alice: Caller, admin: Caller) -> None:
    """The export is complete, in one order, and goes on from a cursor or a time."""
    labels = [name() for _ in range(6)]
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    for label in labels:
        alice.reserve(label, tenant="acme")
    seen: list[dict[str, Any]] = []
    cursor = start
    while True:
        reply = admin("GET", "/v1/events", params={"since": cursor, "limit": 4})
        assert reply.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(text) for text in reply.text.splitlines()]
        if not lines:
            break
        assert not {one["cursor"] for one in lines} & {one["cursor"] for one in seen}
        seen += lines
        cursor = reply.headers["pdm-next-cursor"]
        assert cursor == lines[-1]["cursor"]
    mine = [one for one in seen if one["fqdn"].split(".")[0] in labels]
    assert [one["fqdn"].split(".")[0] for one in mine] == labels
    assert {(one["actor"], one["tenant"], one["action"]) for one in mine} == {("alice", "acme", "reserved")}
    assert admin("GET", "/v1/events", params={"since": cursor}).text == ""
    assert admin("GET", "/v1/events", params={"since": cursor}).headers["pdm-next-cursor"] == cursor
    assert admin("GET", "/v1/events", params={"since": "nonsense"}).json()["error"] == "invalid-query"


def test_anonymous_callers(directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, file: Path) -> None:
    """Where the setting says so, the compatibility routes for pools are open without a credential, and no other."""
    more = {"PDM_ANONYMOUS": "compat", "PDM_AUTH_TOKENS_FILE": str(file), "PDM_HOST": "0.0.0.0"}
    for service in new_shared_service(directory, postgres, template, powerdns, **more):
        for route, scopes in ROUTES.items():
            status = requested(service, route).status_code
            public = not scopes or route in COMPAT_FOR_ALL
            assert (status in {401, 429}) != public, (route, status)
        label = name()
        held = service.client.post(f"/api/v1/pool/{service.pool}/reserve", json={"subdomain": label})
        assert held.status_code == 201
        key = {"Idempotency-Key": "1"}
        for _ in range(2):
            again = service.client.post(
                f"/api/v1/pool/{service.pool}/reserve", json={"subdomain": "stranger"}, headers=key
            )
            assert (again.status_code, again.json()["error"]) == (401, "unauthenticated")
        assert Caller(service, "alice")("GET", f"/v1/allocations/{label}.{service.pool}").status_code == 404
        alices = name()
        Caller(service, "alice").reserve(alices)
        assert alices not in service.client.get(f"/api/v1/pool/{service.pool}/list").text
        gone = service.client.delete(f"/api/v1/pool/{service.pool}/release", params={"sub": alices})
        assert gone.status_code == 404
        assert any(one["message"] == "anonymous" for one in service.lines())
