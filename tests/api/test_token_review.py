"""Kubernetes ServiceAccounts: their tokens are asked about at the API server, here played by its documented behaviour."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.api.test_callers import bearer
from tests.eventually import eventually
from tests.patience import patient
from tests.service import Service, name

AUDIENCE = "pool-domain-manager"


class ApiServer(ThreadingHTTPServer):
    """Answers TokenReviews; https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/."""

    def __init__(self) -> None:
        self.accounts: dict[str, tuple[str, list[str]]] = {}
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.status = 201
        self.delay = 0.0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        token = body["spec"]["token"]
        if (
            self.path != "/apis/authentication.k8s.io/v1/tokenreviews"
            or self.headers["authorization"] != "Bearer own-token"
            or (body["apiVersion"], body["kind"]) != ("authentication.k8s.io/v1", "TokenReview")
            or body["spec"]["audiences"] != [AUDIENCE]
        ):
            self.server.wrong.append(str(body))
        self.server.asked.append(token)
        time.sleep(self.server.delay)
        username, audiences = self.server.accounts.get(token, ("", []))
        status = {"authenticated": bool(username)}
        if username:
            status |= {"user": {"username": username, "uid": "u"}, "audiences": audiences}
        told = json.dumps({**body, "status": status}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)


@pytest.fixture(scope="module")
def api_server() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.shutdown()
    server.server_close()
    assert server.wrong == []


@pytest.fixture(scope="module")
def service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, api_server: ApiServer
) -> Iterator[Service]:
    (directory / "accounts.jsonl").write_text(
        json.dumps({"id": "crossplane", "serviceAccount": "crossplane-system:provider-http", "scopes": ["allocate"]})
    )
    (directory / "own-token").write_text("own-token\n")
    yield from new_shared_service(
        directory, postgres, template, powerdns,
        PDM_AUTH_TOKENS_FILE=str(directory / "accounts.jsonl"),
        PDM_KUBERNETES_URL=f"http://127.0.0.1:{api_server.server_port}",
        PDM_KUBERNETES_TOKEN_FILE=str(directory / "own-token"),
    )  # fmt: skip


def token(api_server: ApiServer, account: str = "crossplane-system:provider-http", audience: str = AUDIENCE) -> str:
    """A token of a ServiceAccount, as the kubelet gives it to a pod."""
    made = f"eyJ.{name()}.sig"
    api_server.accounts[made] = (f"system:serviceaccount:{account}", [audience])
    return made


@pytest.mark.parametrize("carrier", ["Bearer {}", "{}"])
def test_token_of_a_client(service: Service, api_server: ApiServer, carrier: str) -> None:
    """A ServiceAccount's token is its client's, with a scheme or bare; it is asked about once for many requests."""
    mine = token(api_server)
    headers = {"Authorization": carrier.format(mine)}
    replies = [service.client.get("/v1/allocations", headers=headers) for _ in range(5)]
    assert {reply.status_code for reply in replies} == {200}
    assert api_server.asked.count(mine) == 1
    made = service.client.post("/v1/reserve", json={"poolDomain": service.pool, "subdomain": name()}, headers=headers)
    assert made.status_code == 201
    events = service.client.get(f"/v1/allocations/{made.json()['fqdn']}/events", headers=headers).json()["events"]
    assert [one["actor"] for one in events] == ["crossplane"]


@pytest.mark.parametrize(
    "change",
    [
        {"account": "crossplane-system:other"},
        {"account": "other:provider-http"},
        {"audience": "https://kubernetes.default"},
    ],
    ids=["other account", "other namespace", "other audience"],
)
def test_token_of_nobody_here(service: Service, api_server: ApiServer, change: dict[str, str]) -> None:
    """A token of another account, or for another audience, is nobody's; so is one that the API server does not know."""
    for wrong in (token(api_server, **change), "a.b.c"):
        reply = service.client.get("/v1/allocations", headers=bearer(wrong))
        assert (reply.status_code, reply.json()["error"]) == (401, "unauthenticated")


def test_user_who_is_no_account(service: Service, api_server: ApiServer) -> None:
    """A person of the cluster is no client."""
    api_server.accounts["x.y.z"] = ("crossplane-system:provider-http", [AUDIENCE])
    assert service.client.get("/v1/allocations", headers=bearer("x.y.z")).status_code == 401


def test_no_is_remembered_for_a_while(service: Service, api_server: ApiServer) -> None:
    """The same wrong token is not asked about each time."""
    wrong = f"w.{name()}.w"
    for _ in range(4):
        service.client.get("/v1/allocations", headers=bearer(wrong))
    assert api_server.asked.count(wrong) == 1


@pytest.mark.parametrize(("status", "delay"), [(500, 0.0), (403, 0.0), (201, 6.0)], ids=["500", "403", "slow"])
def test_api_server_away(service: Service, api_server: ApiServer, status: int, delay: float) -> None:
    """While the API server cannot tell, a token gets 503 and not 401; one that was known goes on."""
    known = token(api_server)
    assert service.client.get("/v1/allocations", headers=bearer(known)).status_code == 200
    api_server.status, api_server.delay = status, delay
    fresh = token(api_server)
    try:
        reply = service.client.get("/v1/allocations", headers=bearer(fresh))
        assert (reply.status_code, reply.json()["error"]) == (503, "authentication-unavailable")
        assert reply.headers["retry-after"]
        assert service.client.get("/v1/allocations", headers=bearer(known)).status_code == 200
    finally:
        api_server.status, api_server.delay = 201, 0.0
    assert service.client.get("/v1/allocations", headers=bearer(fresh)).status_code == 200


def test_tokens_in_no_log(service: Service, api_server: ApiServer) -> None:
    """Neither a caller's token nor the service's own is logged."""
    mine = token(api_server)
    service.client.get("/v1/allocations", headers=bearer(mine))
    eventually(lambda: any(one.get("client") == "crossplane" for one in service.lines()))
    assert mine not in service.log.read_text()
    assert "own-token" not in service.log.read_text()


def asks_from(service: Service, address: str, *tokens: str) -> list[int]:
    """The statuses for tokens that come at once from an address."""
    transport = httpx.HTTPTransport(local_address=address, limits=httpx.Limits(max_connections=None))
    with httpx.Client(
        base_url=service.client.base_url, transport=transport, timeout=patient(30), trust_env=False
    ) as client, ThreadPoolExecutor(len(tokens)) as executor:  # fmt: skip
        return list(executor.map(lambda one: client.get("/v1/allocations", headers=bearer(one)).status_code, tokens))


def test_wrong_tokens_slow_down_no_valid_one(service: Service, api_server: ApiServer) -> None:
    """However many wrong tokens came from an address, a valid one from there passes."""
    statuses = [asks_from(service, "127.0.0.3", f"w.{name()}.w")[0] for _ in range(30)]
    assert set(statuses) == {401, 429}
    assert asks_from(service, "127.0.0.3", token(api_server)) == [200]


def test_reviews_are_limited_before_they_are_made(service: Service, api_server: ApiServer) -> None:
    """Hundreds of wrong tokens at once make few reviews, and do not delay another sender."""
    before = len(api_server.asked)
    api_server.delay = 2.0
    try:
        with ThreadPoolExecutor(1) as executor:
            storm = executor.submit(asks_from, service, "127.0.0.4", *(f"w.{name()}.w" for _ in range(150)))
            eventually(lambda: len(api_server.asked) > before)
            began = time.monotonic()
            assert asks_from(service, "127.0.0.5", token(api_server)) == [200]
            assert time.monotonic() - began < 2 + patient(2)
            assert set(storm.result()) == {401, 429}
    finally:
        api_server.delay = 0.0
    assert len(api_server.asked) - before < 100
