"""A check that is answered before the framework is the check that the framework answers: the same words, rules, counts."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.api.test_callers import basic, bearer, line
from tests.eventually import eventually
from tests.service import Service, name

V1, COMPAT = "/v1/check", "/api/v1/pool/{domain}/check"


@pytest.fixture(scope="module")
def service(directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS) -> Iterator[Service]:
    """A service with callers and a brand."""
    callers, policy = directory / "checkers.jsonl", directory / "policy-of-checks.toml"
    callers.write_text(
        "\n".join([
            line("alice", "key-alice", "allocate", checksPerMinute=0), line("metrics", "key-metrics", "metrics"),
            line("late", "key-late", "check", expires="2020-01-01T00:00:00Z"),
            line("elsewhere", "key-elsewhere", "check", pools=["other.test"]),
        ])
    )  # fmt: skip
    policy.write_text('[[brand]]\nword = "omantel"\nclient = "alice"\nkey = "' + "0" * 64 + '"\n')
    more = {"PDM_AUTH_TOKENS_FILE": str(callers), "PDM_NAME_POLICY_FILE": str(policy)}
    yield from new_shared_service(directory, postgres, template, powerdns, **more)


def told(reply: httpx.Response) -> tuple[int, object, dict[str, str]]:
    """What does not differ from one request to the next."""
    headers = {name: value for name, value in reply.headers.items() if name not in {"date", "x-request-id"}}
    return reply.status_code, reply.json(), headers


TAKEN = "a-taken-name"
LABELS = [
    TAKEN,
    "free-name",
    "www",
    "omantel",
    "0mantel",
    "",
    "x--y",
    "-",
    "a" * 64,
    "A.b",
    "bücher",
    "a b",
    "ns7",
    "\x00",
    "é",
]
HEADERS: list[dict[str, str]] = [
    {}, bearer("key-alice"), basic("alice", "key-alice"), basic("bob", "key-alice"), bearer("wrong"), bearer("key-late"),
    bearer("key-metrics"), bearer("key-elsewhere"), {**bearer("key-alice"), "PDM-Allocation-Key": "x"},
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def taken(service: Service) -> None:
    """A name that is taken."""
    body = {"poolDomain": service.pool, "subdomain": TAKEN}
    reply = service.client.post("/v1/reserve", json=body, headers=bearer("key-alice"))
    assert reply.status_code == 201


@pytest.mark.parametrize("label", LABELS)
def test_a_check_of_each_kind_of_name(service: Service, label: str) -> None:
    """Whatever is asked for, the answer is that of the framework, on both routes; pools are told as well."""
    for pool in (service.pool, f"{service.pool.upper()}.", "other.test", "", "a..b"):
        query = f"poolDomain={quote(pool)}&subdomain={quote(label)}"
        one, other = (
            told(service.client.get(f"{path}?{query}", headers=bearer("key-alice"))) for path in (V1, f"{V1}/")
        )
        assert one == other
        if pool:
            path = f"/api/v1/pool/{quote(pool)}/check?sub={quote(label)}"
            one, other = (told(service.client.get(url, headers=bearer("key-alice"))) for url in (path, f"{path}&x"))
            assert one == other


@pytest.mark.parametrize("headers", HEADERS)
def test_a_check_by_each_caller(service: Service, headers: dict[str, str]) -> None:
    """Whoever asks is told what the framework would tell them, also that they may not ask."""
    for path, other in (
        (f"{V1}?poolDomain={service.pool}&subdomain=omantel", f"{V1}/?poolDomain={service.pool}&subdomain=omantel"),
        (f"/api/v1/pool/{service.pool}/check?sub=omantel", f"/api/v1/pool/{service.pool}/check?sub=omantel&x"),
    ):
        assert told(service.client.get(path, headers=headers)) == told(service.client.get(other, headers=headers))


@pytest.mark.parametrize(
    "query", ["x=1", "poolDomain=a&x", "subdomain=%ff", "poolDomain=a&poolDomain=b", "&&", "=", "tenant=%7B"]
)
def test_a_check_of_an_odd_query(service: Service, query: str) -> None:
    """Parameters that are unknown, repeated or empty mean the same."""
    one, other = (told(service.client.get(f"{path}?{query}", headers=bearer("key-alice"))) for path in (V1, f"{V1}/"))
    assert one == other


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(service: Service, method: str) -> None:
    """What is no GET is the framework's."""
    with httpx.Client(base_url=service.url, trust_env=False, timeout=service.client.timeout) as client:
        one, other = (client.request(method, path) for path in (V1, f"{V1}/"))
    assert (one.status_code, one.content) == (other.status_code, other.content)


def test_a_check_is_counted_and_logged(service: Service) -> None:
    """A check stands in the metrics under its route, and in the log with id, client, status and time."""

    def counted(route: str) -> float:
        text = service.client.get("/metrics", headers=bearer("key-metrics")).text
        wanted = f'pdm_http_requests_total{{method="GET",route="{route}",status="200"}} '
        return sum(float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(wanted))

    before = counted(V1), counted(COMPAT)
    identity = name("id-")
    headers = {**bearer("key-alice"), "X-Request-Id": identity}
    for path in (f"{V1}?poolDomain={service.pool}&subdomain=x-y", f"/api/v1/pool/{service.pool}/check?sub=x-y"):
        reply = service.client.get(path, headers=headers)
        assert (reply.status_code, reply.headers["x-request-id"]) == (200, identity)
    assert (counted(V1), counted(COMPAT)) == (before[0] + 1, before[1] + 1)
    lines = eventually(lambda: [one for one in service.lines() if one.get("requestId") == identity][1:] and [
        one for one in service.lines() if one.get("requestId") == identity
    ])  # fmt: skip
    assert [(one["path"], one["status"], one["client"]) for one in lines] == [
        (V1, 200, "alice"), (f"/api/v1/pool/{service.pool}/check", 200, "alice")
    ]  # fmt: skip
    assert all(one["ms"] >= 0 for one in lines)


def test_a_check_with_a_body(service: Service) -> None:
    """A body that comes with a check is not taken for the next request, and is refused as anywhere if it is too large."""
    query = f"{V1}?poolDomain={service.pool}&subdomain=x-y"
    headers = {**bearer("key-alice"), "Content-Type": "application/json"}
    reply = service.client.request("GET", query, headers=headers, content=b"{}")
    assert (reply.status_code, reply.headers["connection"]) == (200, "close")
    reply = service.client.request("GET", query, headers=headers, content=b"x" * 70_000)
    assert (reply.status_code, reply.json()["error"]) == (413, "payload-too-large")


def test_the_limit_of_wrong_credentials(service: Service) -> None:
    """Wrong credentials are counted also here."""
    query = f"{V1}?poolDomain={service.pool}&subdomain=x-y"
    errors = [service.client.get(query, headers=bearer(f"wrong-{n}")).json()["error"] for n in range(40)]
    assert errors[-1] == "too-many-attempts"
    assert re.fullmatch(r"\d+", service.client.get(query, headers=bearer("wrong")).headers.get("retry-after", "0"))
