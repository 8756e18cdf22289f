"""Names as people write them, on every route that takes one: refused with what was meant; and shown as people read them."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from adapters.conformance.played import OLD, Domain, Server
from pdm_service import errors
from pdm_service.client import Client
from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.registrars import play
from tests.service import ADDRESS, Service

WRITTEN = {
    "bücher.zz": "xn--bcher-kva.zz",
    "https://acme.zz/": "acme.zz",
    "acme.zz:443": "acme.zz",
    "user@acme.zz": "acme.zz",
    "acme.zz/shop": "acme.zz",
    "acme.zz..": "acme.zz",
    "acme .zz": "acme.zz",
}
LABEL, DOMAIN = "xn--bcher-kva", "xn--bcher-kva.zz"


@pytest.fixture(scope="module")
def registrar() -> Iterator[Server]:
    """A registrar with a domain that has an A-label."""
    server = play("dynadot-api3")
    server.domains[DOMAIN] = Domain(list(OLD))
    yield server
    server.stop()
    assert server.wrong == []


@pytest.fixture(scope="module")
def service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, registrar: Server
) -> Iterator[Service]:
    url = {f"PDM_REGISTRAR_{registrar.about.name.upper()}_URL": registrar.url}
    yield from new_shared_service(directory, postgres, template, powerdns, **url)


def asked(service: Service, registrar: Server, route: str, domain: str) -> httpx.Response:
    """Ask about a domain at a route; "/v1/commit sovereignFQDN" is the field of that route."""
    path, _, field = route.partition(" ")
    name, token, path_name = registrar.about.name, registrar.token, quote(domain, safe="")
    bodies: dict[str, dict[str, object]] = {
        "/v1/validate": {"registrar": name, "token": token, "domain": domain},
        "/v1/preflight": {"domain": domain},
        "/v1/reserve": {"mode": field, "domain": domain},
        "/v1/renew": {"fqdn": domain, "reservationToken": "x"},
        "/v1/commit": {"fqdn": domain, "reservationToken": "x", "loadBalancerIP": ADDRESS},
        "/v1/release": {"fqdn": domain},
        "/v1/rollback": {"fqdn": domain, "registrar": name, "registrarToken": token},
        f"/api/v1/registrar/{name}/validate": {"domain": domain, "token": token},
        f"/api/v1/registrar/{name}/set-ns": {
            "domain": domain,
            "token": token,
            "nameservers": ["ns1.b.test", "ns2.b.test"],
            "acknowledge": ["BYO-DS"],  # this service has no way into the DNS to see whether there is one
        },
    }
    path = path.replace("REGISTRAR", name)
    if path in bodies:
        body = bodies[path]
        if field == "sovereignFQDN":
            body |= {"fqdn": "acme.zz", "sovereignFQDN": domain}
        return service.client.post(path, json=body)
    if field:
        return service.client.request(field, path.replace("NAME", path_name))
    return service.client.get(path.replace("NAME", path_name))


ROUTES = [
    "/v1/validate", "/v1/preflight", "/v1/reserve byo-manual", "/v1/reserve byo-api", "/v1/renew", "/v1/commit",
    "/v1/commit sovereignFQDN", "/v1/release", "/v1/rollback", "/api/v1/registrar/REGISTRAR/validate",
    "/api/v1/registrar/REGISTRAR/set-ns",
]  # fmt: skip
IN_THE_PATH = [
    "/v1/delegations/NAME", "/v1/allocations/NAME", "/v1/allocations/NAME DELETE", "/v1/allocations/NAME/events",
    "/v1/allocations/NAME/undo",
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_domain_that_was_meant(service: Service, registrar: Server, route: str) -> None:
    """No domain, but clearly one meant: 422 with that domain, which is then taken or refused for what it is."""
    for written, meant in WRITTEN.items():
        answer = asked(service, registrar, route, written)
        assert (answer.status_code, answer.json()["error"], answer.json()["suggestion"]) == (
            422,
            "invalid-format",
            meant,
        ), answer.text
        assert meant in answer.json()["detail"]
        assert asked(service, registrar, route, meant).json().get("error") != "invalid-format"


@pytest.mark.parametrize("route", IN_THE_PATH)
def test_domain_that_was_meant_in_the_path(service: Service, registrar: Server, route: str) -> None:
    """A name in the path is refused in the same words, as far as it is one part of a path."""
    for written, meant in WRITTEN.items():
        if "/" in written:
            continue
        answer = asked(service, registrar, route, written)
        assert (answer.status_code, answer.json()["error"], answer.json()["suggestion"]) == (
            422,
            "invalid-format",
            meant,
        ), answer.text


def test_nothing_is_suggested_where_nothing_is_meant(service: Service, registrar: Server) -> None:
    """A text in which there is no domain is refused without a suggestion, and a sub-domain at a registrar too."""
    for written in ("acme", "acme example", "192.0.2.1", "https://192.0.2.1/", "😀.zz"):
        answer = asked(service, registrar, "/v1/preflight", written)
        assert (answer.status_code, answer.json()["error"], "suggestion" in answer.json()) == (
            422,
            "invalid-format",
            False,
        )


def test_what_was_taken_is_taken(service: Service, registrar: Server) -> None:
    """A trailing dot, blanks around a domain, and upper case are no mistakes."""
    answer = asked(service, registrar, "/v1/validate", f" {DOMAIN.upper()}. ")
    assert (answer.status_code, answer.json()["domain"]) == (200, DOMAIN), answer.text


def test_label_that_was_meant(service: Service) -> None:
    """A label is suggested where one that can be had was meant; an A-label never is."""
    label = f"l{uuid.uuid4().hex[:8]}"
    query = {"poolDomain": service.pool, "subdomain": f"https://{label}/"}
    for answer in (
        service.client.get("/v1/check", params=query),
        service.client.get(f"/api/v1/pool/{service.pool}/check", params={"sub": query["subdomain"]}),
    ):
        found = answer.json()
        assert (answer.status_code, found["available"], found["reason"]) == (200, False, "invalid-format")
        assert (found["suggestion"], label in found["detail"]) == (label, True)
    for answer in (
        service.client.post("/v1/reserve", json=query),
        service.client.post(f"/api/v1/pool/{service.pool}/reserve", json={"subdomain": query["subdomain"]}),
    ):
        assert (answer.status_code, answer.json()["error"], answer.json()["suggestion"]) == (
            422,
            "invalid-format",
            label,
        )
    found = service.client.get("/v1/check", params={**query, "subdomain": f"{label}.{service.pool}"}).json()
    assert (found["reason"], found["suggestion"]) == ("invalid-format", label)
    found = service.client.get("/v1/check", params={**query, "subdomain": "bücher"}).json()
    assert (found["reason"], "suggestion" in found) == ("invalid-format", False)


def test_pool_domain_that_was_meant(service: Service) -> None:
    """Of pool domains one is suggested only where it is one."""
    for written, meant in ((f"https://{service.pool}/", service.pool), ("https://acme.zz/", None)):
        answer = service.client.post("/v1/reserve", json={"poolDomain": written, "subdomain": "acme"})
        assert (answer.status_code, answer.json()["error"]) == (422, "unsupported-pool")
        assert answer.json().get("suggestion") == meant
        assert (
            service.client.get("/v1/check", params={"poolDomain": written, "subdomain": "acme"})
            .json()
            .get("suggestion")
            == meant
        )


def test_shown_as_people_read_it(service: Service, registrar: Server) -> None:
    """Replies show the U-labels beside the A-labels."""
    domain, read = f"{LABEL}.c{uuid.uuid4().hex[:8]}.zz", "bücher"
    made = asked(service, registrar, "/v1/reserve byo-manual", domain)
    assert made.status_code == 201, made.text
    pages = service.client.get("/v1/allocations").json()["allocations"]
    shown = [
        made.json(),
        asked(service, registrar, "/v1/allocations/NAME", domain).json(),
        next(one for one in pages if one["fqdn"] == domain),
        asked(service, registrar, "/v1/allocations/NAME/events", domain).json(),
        asked(service, registrar, "/v1/preflight", domain).json(),
        asked(service, registrar, "/v1/delegations/NAME", domain).json(),
    ]
    for one in shown:
        assert one.get("fqdn", one.get("domain")) == domain
        assert one["unicode"] == domain.replace(LABEL, read)


@pytest.mark.parametrize(
    "route", ["/v1/validate", "/api/v1/registrar/REGISTRAR/validate", "/api/v1/registrar/REGISTRAR/set-ns"]
)
def test_shown_as_people_read_it_at_a_registrar(service: Service, registrar: Server, route: str) -> None:
    """What is said about a domain at its registrar shows it as people read it too."""
    answer = asked(service, registrar, route, DOMAIN)
    assert (answer.status_code, answer.json()["domain"], answer.json()["unicode"]) == (200, DOMAIN, "bücher.zz"), (
        answer.text
    )


def test_not_shown_where_it_misleads(service: Service, registrar: Server) -> None:
    """A domain whose A-labels are none, or look like another domain, and one without A-labels, is shown as it is."""
    for label in ("xn--a", "xn--80ak6aa92e", "plain"):
        domain = f"{label}.c{uuid.uuid4().hex[:8]}.zz"
        made = asked(service, registrar, "/v1/reserve byo-manual", domain)
        assert (made.status_code, made.json()["fqdn"], "unicode" in made.json()) == (201, domain, False), made.text


async def test_client(service: Service) -> None:
    """The client's error has the suggestion too."""
    async with Client(service.url) as pdm:
        with pytest.raises(errors.InvalidFormat) as refusal:
            await pdm.reserve_domain("https://acme.zz/", mode="byo-manual")
    assert refusal.value.suggestion == "acme.zz"
    assert str(refusal.value).count("did you mean") == 1
