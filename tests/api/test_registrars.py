"""The routes about registrars, against registrars that are played on loopback."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.conformance.played import NONSENSE, OLD, Answer, Server, limited, lose_reply, reply, silent
from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.api.test_secrets import dump
from tests.patience import patient
from tests.registrars import CASES, play
from tests.service import Service

DOMAIN = "example.com"
NEW = ["ns1.platform.test", "ns2.platform.test"]
NAMES = ["cloudflare", "dynadot", "godaddy", "namecheap", "ovh"]


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, Server]]:
    """One of each registrar, by its name."""
    found = {case.partition("-")[0]: play(case) for case in CASES if case not in {"dynadot-rest", "godaddy-key"}}
    yield found
    for server in found.values():
        server.stop()


@pytest.fixture(scope="module")
def service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, played: dict[str, Server]
) -> Iterator[Service]:
    urls = {f"PDM_REGISTRAR_{name.upper()}_URL": server.url for name, server in played.items()}
    yield from new_shared_service(directory, postgres, template, powerdns, **urls)


@pytest.fixture
def registrars(played: dict[str, Server]) -> Iterator[dict[str, Server]]:
    """The registrars as new."""
    for server in played.values():
        server.faults, server.seen, server.read_only, server.instant = [], [], False, True
        for domain in server.domains.values():
            domain.nameservers = list(OLD)
    yield played
    for server in played.values():
        assert server.wrong == []


def validate(service: Service, **body: object) -> httpx.Response:
    return service.client.post("/v1/validate", json=body)


def compat(service: Service, registrar: str, verb: str, **body: object) -> httpx.Response:
    """The service has no way into the DNS here, so that whether there is a DS cannot be seen."""
    if verb == "set-ns":
        body = {"acknowledge": ["BYO-DS"], **body}
    return service.client.post(f"/api/v1/registrar/{registrar}/{verb}", json=body)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", answer.text)


# --- validate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("route", ["v1", "compat"])
def test_validate(service: Service, registrars: dict[str, Server], name: str, route: str) -> None:
    """A token that works is told with the current nameservers and what it may do; nothing is changed."""
    server = registrars[name]
    server.read_only = True
    answer = (
        validate(service, registrar=name.upper(), domain=f" {DOMAIN.upper()}. ", token=f" {server.token}\n")
        if route == "v1"
        else compat(service, name, "validate", domain=DOMAIN, token=server.token, unknown=1)
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"valid", "registrar", "domain", "nameservers", "canSetNameservers", "warnings"}
    assert (body["valid"], body["registrar"], body["domain"]) == (True, name, DOMAIN)
    assert body["nameservers"] == list(OLD)
    assert body["canSetNameservers"] is server.can_set
    assert bool(body["warnings"]) == (server.can_set is not True)


@pytest.mark.parametrize("verb", ["validate", "set-ns"])
@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("gandi", {"domain": DOMAIN, "token": "x"}, (404, "unsupported-registrar")),
        ("ovh", {"token": "x"}, (422, "missing-domain")),
        ("ovh", {"domain": " ", "token": "x"}, (422, "missing-domain")),
        ("ovh", {"domain": DOMAIN}, (422, "missing-token")),
        ("ovh", {"domain": DOMAIN, "token": "  "}, (422, "missing-token")),
        ("ovh", {"domain": "a..b", "token": "x"}, (422, "invalid-format")),
        ("ovh", {"domain": f"www.{DOMAIN}", "token": "x"}, (422, "invalid-format")),
        ("ovh", {"domain": "co.uk", "token": "x"}, (422, "invalid-format")),
        ("ovh", {"domain": DOMAIN, "token": "x"}, (401, "invalid-token")),
        ("ovh", {"domain": DOMAIN, "token": 7}, (400, "invalid-body")),
    ],
)
def test_question_that_cannot_be_asked(
    service: Service, registrars: dict[str, Server], verb: str, name: str, body: dict[str, object],
    expected: tuple[int, str],
) -> None:  # fmt: skip
    """What is wrong with a question is told without asking a registrar."""
    answer = compat(service, name, verb, nameservers=NEW, **body)
    assert refused(answer) == expected
    assert answer.json().get("supported") == (NAMES if expected[0] == 404 else None)
    if verb == "validate":
        assert refused(validate(service, registrar=name, **body)) == expected
    assert not registrars["ovh"].seen


def test_validate_without_a_registrar(service: Service) -> None:
    """A question without a registrar is told which there are; one with an unknown field, which."""
    assert refused(validate(service, domain=DOMAIN, token="x")) == (404, "unsupported-registrar")
    answer = validate(service, registrar="ovh", domain=DOMAIN, token="x", tokens="marked")
    assert refused(answer) == (400, "invalid-body")
    assert "tokens" in answer.json()["detail"]
    assert "marked" not in answer.text


@pytest.mark.parametrize("name", NAMES)
def test_token_that_is_refused(service: Service, registrars: dict[str, Server], name: str) -> None:
    """A token that the registrar refuses is 401 invalid-token."""
    answer = validate(service, registrar=name, domain=DOMAIN, token=registrars[name].wrong_token)
    assert refused(answer) == (401, "invalid-token")
    assert registrars[name].wrong_token not in answer.text


@pytest.mark.parametrize("name", NAMES)
def test_domain_of_somebody_else(service: Service, registrars: dict[str, Server], name: str) -> None:
    """A domain that the account does not have is 403 domain-not-in-account."""
    answer = validate(service, registrar=name, domain="example.co.uk", token=registrars[name].token)
    assert refused(answer) == (403, "domain-not-in-account")


@pytest.mark.parametrize("name", NAMES)
def test_registrar_that_is_busy_or_broken(service: Service, registrars: dict[str, Server], name: str) -> None:
    """A registrar's limit is 429 with its delay, a failure 502; both say when to try again."""
    server = registrars[name]
    server.fault(limited(1234))
    answer = validate(service, registrar=name, domain=DOMAIN, token=server.token)
    assert refused(answer) == (429, "rate-limited")
    assert answer.headers["retry-after"] == ("1234" if server.limit_has_delay else "60")
    server.faults.clear()
    server.fault(reply(NONSENSE["html 502"]))
    answer = validate(service, registrar=name, domain=DOMAIN, token=server.token)
    assert refused(answer) == (502, "api-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "<html>" not in answer.text


def test_registrar_that_hangs(service: Service, registrars: dict[str, Server]) -> None:
    """A registrar that hangs keeps nobody waiting, and holds up neither other registrars nor names."""
    for server in (registrars["ovh"], registrars["godaddy"]):
        server.fault(silent)
    with httpx.Client(base_url=service.client.base_url, timeout=patient(12), trust_env=False) as client:
        body = {"domain": DOMAIN, "token": registrars["ovh"].token, "nameservers": NEW, "acknowledge": ["BYO-DS"]}
        answer = client.post("/api/v1/registrar/ovh/set-ns", json=body)
        assert refused(answer) == (502, "api-unavailable")
    assert (
        validate(service, registrar="namecheap", domain=DOMAIN, token=registrars["namecheap"].token).status_code == 200
    )


# --- set-ns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cloudflare"])
def test_set_ns(service: Service, registrars: dict[str, Server], name: str) -> None:
    """The nameservers are set and read back; the same again changes nothing."""
    server = registrars[name]
    for _ in range(2):
        answer = compat(service, name, "set-ns", domain=DOMAIN, token=server.token, nameservers=[*reversed(NEW)])
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["success"], body["registrar"], body["domain"]) == (True, name, DOMAIN)
        assert body["propagation"]
        if not body.get("pending"):
            assert body["nameservers"] == NEW
        server.settle()
        assert sorted(server.domains[DOMAIN].nameservers) == NEW
        server.read_only = True


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cloudflare"])
def test_set_ns_with_no_way_to_see_a_ds(service: Service, registrars: dict[str, Server], name: str) -> None:
    """Where it cannot be seen whether there is a DS nothing is changed, unless the caller has acknowledged it."""
    server = registrars[name]
    body = {"domain": DOMAIN, "token": server.token, "nameservers": NEW}
    answer = compat(service, name, "set-ns", **body, acknowledge=["BYO-TTL"])
    assert refused(answer) == (409, "ds-unknown")
    assert "BYO-DS" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert not server.writes
    same = compat(service, name, "set-ns", **{**body, "nameservers": list(OLD)}, acknowledge=[])
    assert same.status_code == 200
    assert compat(service, name, "set-ns", **body).status_code == 200


@pytest.mark.parametrize("name", ["godaddy", "ovh"])
def test_set_ns_that_is_pending(service: Service, registrars: dict[str, Server], name: str) -> None:
    """A change that the registrar carries out by itself is told as pending, with what is on record."""
    server = registrars[name]
    server.instant = False
    answer = compat(service, name, "set-ns", domain=DOMAIN, token=server.token, nameservers=NEW)
    assert answer.status_code == 200
    assert (answer.json()["success"], answer.json()["pending"], answer.json()["nameservers"]) == (True, True, list(OLD))
    server.settle()


def test_set_ns_where_it_cannot_be(service: Service, registrars: dict[str, Server]) -> None:
    """Where nobody may change nameservers, that is 409 with what to do instead; the present ones are no change."""
    server = registrars["cloudflare"]
    answer = compat(service, "cloudflare", "set-ns", domain=DOMAIN, token=server.token, nameservers=NEW)
    assert refused(answer) == (409, "ns-managed-by-registrar")
    assert "transfer" in answer.json()["detail"]
    answer = compat(service, "cloudflare", "set-ns", domain=DOMAIN, token=server.token, nameservers=list(OLD))
    assert answer.status_code == 200
    assert not server.writes


@pytest.mark.parametrize(
    ("nameservers", "expected"),
    [
        (None, (422, "missing-nameservers")), ([], (422, "missing-nameservers")), (["", " "], (422, "missing-nameservers")),
        (["ns1.a.test"], (422, "missing-nameservers")), (["ns1.a.test", "NS1.a.test."], (422, "missing-nameservers")),
        (["ns1.a.test", "192.0.2.1"], (422, "invalid-format")), (["ns1.a.test", "x"], (422, "invalid-format")),
        ("ns1.a.test", (400, "invalid-body")), ([1, 2], (400, "invalid-body")),
    ],
)  # fmt: skip
def test_set_ns_of_no_set(
    service: Service, registrars: dict[str, Server], nameservers: object, expected: tuple[int, str]
) -> None:
    """What is no set of nameservers is refused before the registrar is asked."""
    body = {"domain": DOMAIN, "token": registrars["ovh"].token}
    body |= {} if nameservers is None else {"nameservers": nameservers}
    assert refused(service.client.post("/api/v1/registrar/ovh/set-ns", json=body)) == expected
    assert not registrars["ovh"].seen


def test_set_ns_whose_reply_is_lost(service: Service, registrars: dict[str, Server]) -> None:
    """A change whose reply is lost is read back; one that cannot be told is 502 outcome-unclear, with a time to look."""
    server = registrars["namecheap"]
    server.fault(lose_reply, "write")
    answer = compat(service, "namecheap", "set-ns", domain=DOMAIN, token=server.token, nameservers=NEW)
    assert (answer.status_code, answer.json()["nameservers"]) == (200, NEW)
    server.faults.clear()
    server.domains[DOMAIN].nameservers = list(OLD)
    server.fault(reply(Answer(500)), "write")
    answer = compat(service, "namecheap", "set-ns", domain=DOMAIN, token=server.token, nameservers=NEW)
    assert refused(answer) == (502, "outcome-unclear")
    assert len(server.writes) == 2


# --- what there is ------------------------------------------------------------------------------------


def test_registrars(service: Service, played: dict[str, Server]) -> None:
    """The wizard is told each registrar's name, title, token form and where to get it, abilities, and propagation."""
    found = service.client.get("/v1/registrars").json()["registrars"]
    assert [one["name"] for one in found] == NAMES
    for one in found:
        assert set(one) == {"name", "title", "tokenForm", "tokenUrl", "abilities", "propagation", "notes"}
        assert one["tokenForm"] == played[one["name"]].about.token_form
        assert one["abilities"]["setNameservers"] == (one["name"] != "cloudflare")
    assert service.client.get("/healthz").json()["registrars"] == NAMES


# --- secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_token_stays_secret(service: Service, registrars: dict[str, Server], name: str) -> None:
    """A token is in no log line, metric, reply, error, table or process list, whatever comes of the request."""
    server = registrars[name]
    faults: list[Callable[..., bool] | None] = [None, limited(9), reply(NONSENSE["html"]), lose_reply]
    texts: list[str] = []
    marked = f"marked{uuid.uuid4().hex}"
    for fault in faults:
        server.faults.clear()
        if fault:
            server.fault(fault)
        for token in (server.token, server.wrong_token, f"{marked} {marked}"):
            bodies: list[dict[str, Any]] = [
                {"domain": DOMAIN, "token": token, "nameservers": NEW},
                {"domain": "a..b", "token": token, "nameservers": token},
            ]
            for body in bodies:
                texts.append(compat(service, name, "set-ns", **body).text)
                texts.append(validate(service, registrar=name, **body).text)
    metrics = service.client.get("/metrics").text
    assert "pdm_registrar_calls_total" in metrics
    assert service.process is not None
    texts += [metrics, service.log.read_text(), Path(f"/proc/{service.process.pid}/cmdline").read_text()]
    texts += dump(service.environment["PDM_DATABASE_URL"]).values()
    parts = [*server.token.split(":"), *server.wrong_token.split(":")]
    secrets = [marked, server.token, *(part for part in parts if len(part) >= 10 and part[0].isalpha())]
    assert not [secret for secret in secrets for text in texts if secret in text]
