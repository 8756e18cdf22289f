"""The declarative resource, as Crossplane's provider-http drives it: its own rules, on real replies."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jq
import pytest
import yaml

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.dns_view import records
from tests.eventually import eventually
from tests.outage import away
from tests.service import Service, at_once, name

# The mappings that users are told.
DOCUMENT = Path(__file__).parents[2] / "docs" / "crossplane.md"
MAPPINGS = {
    one["action"]: one for one in yaml.safe_load(DOCUMENT.read_text().split("```")[1].removeprefix("yaml"))["mappings"]
}


def contained(part: Any, whole: Any) -> bool:
    """What provider-http takes for "up to date": objects may have more keys; all else is equal."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contained(part[key], whole[key]) for key in part)
    return part == whole


class Resource:
    """One XR: its parameters, and the requests that its mappings render to."""

    def __init__(self, service: Service, owner: str, **parameters: object) -> None:
        self.service, self.owner = service, owner
        self.parameters: dict[str, object] = {"poolDomain": service.pool, "subdomain": name(), **parameters}

    def _rendered(self, program: str) -> Any:
        """Evaluate a mapping's jq program as provider-http does."""
        payload = {"baseUrl": "/v1/allocations/", "body": self.parameters}
        return jq.compile(program.replace("OWNER", self.owner)).input_value({"payload": payload}).first()

    def send(self, action: str) -> httpx.Response:
        mapping = MAPPINGS[action]
        body = json.dumps(self._rendered(mapping["body"])) if "body" in mapping else None
        assert "null" not in (body or "")
        headers = {"content-type": "application/json"} if body else {}
        return self.service.client.request(
            mapping["method"], self._rendered(mapping["url"]), content=body, headers=headers
        )

    def observe(self) -> httpx.Response:
        return self.send("OBSERVE")

    def put(self) -> httpx.Response:
        assert MAPPINGS["CREATE"] == {**MAPPINGS["UPDATE"], "action": "CREATE"}
        return self.send("UPDATE")

    def remove(self) -> httpx.Response:
        return self.send("REMOVE")

    def up_to_date(self) -> bool:
        return contained(self._rendered(MAPPINGS["UPDATE"]["body"]), self.observe().raise_for_status().json())

    def state(self) -> str:
        return self.observe().headers["pdm-state"]


PARAMETERS: list[dict[str, object]] = [
    {},
    {"createdBy": "crossplane", "sovereignFQDN": "omantel.example.om"},
    {"loadBalancerIP": "192.0.2.7"},
    {"loadBalancerIP": "2001:db8::7", "sovereignFQDN": "a.b.example"},
    {"loadBalancerIPs": ["192.0.2.9", "192.0.2.8", "2001:db8::1"]},
    {"loadBalancerIP": "192.0.2.9", "loadBalancerIPs": ["192.0.2.9", "192.0.2.8"], "createdBy": "ünï"},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda one: "+".join(one) or "none")
def test_life_of_a_resource(service: Service, parameters: dict[str, object]) -> None:
    """Absent, created, the same again without a change, up to date at once, removed, absent."""
    one = Resource(service, "ns-claim-1", **parameters)
    assert one.observe().status_code == 404
    made = one.put()
    assert made.status_code in {201, 202}, made.text
    assert "reservationToken" not in made.text
    assert "null" not in made.text
    wanted = "active" if any("loadBalancer" in key for key in parameters) else "reserved"
    eventually(lambda: one.state() == wanted, 15)
    assert one.observe().headers["pdm-fqdn"] == f"{one.parameters['subdomain']}.{service.pool}"
    assert one.up_to_date()
    before = one.observe().json()
    again = one.put()
    assert (again.status_code, again.json()) == (200, before)
    assert "expiresAt" not in before
    assert one.remove().status_code in {200, 202}
    eventually(lambda: one.observe().status_code == 404, 15)
    assert one.remove().status_code == 404


def test_addresses_that_come_later_and_change(service: Service, powerdns: PowerDNS) -> None:
    """A reserved name is published when it gets an address, and published anew when the address changes."""
    one = Resource(service, "o")
    assert one.put().status_code == 201
    fqdn = f"{one.parameters['subdomain']}.{service.pool}"
    for address in ("192.0.2.21", "192.0.2.22", "2001:db8::23"):
        one.parameters["loadBalancerIP"] = address
        assert not one.up_to_date()
        assert one.put().status_code in {200, 202}
        eventually(lambda: one.state() == "active", 15)
        assert one.up_to_date()
        rtype = "AAAA" if ":" in address else "A"
        assert records(powerdns.dns_port, f"console.{fqdn}", rtype) == [address]
    assert records(powerdns.dns_port, f"console.{fqdn}", "A") == []
    del one.parameters["loadBalancerIP"]
    assert one.up_to_date()
    assert one.put().json()["error"] == "already-active"
    actions = [event["action"] for event in service.client.get(f"/v1/allocations/{fqdn}/events").json()["events"]]
    assert actions[:2] == ["reserved", "committed"]
    assert actions.count("changed") == 2


def test_text_that_changes(service: Service) -> None:
    """Other texts are stored without a change of DNS."""
    one = Resource(service, "o", loadBalancerIP="192.0.2.7", createdBy="a")
    one.put()
    eventually(lambda: one.state() == "active", 15)
    updated = one.observe().json()["dns"]["updatedAt"]
    one.parameters |= {"createdBy": "b", "sovereignFQDN": "x.example"}
    assert not one.up_to_date()
    assert one.put().status_code == 200
    assert one.up_to_date()
    assert one.observe().json()["dns"]["updatedAt"] == updated


def test_resource_of_another_owner(service: Service) -> None:
    """Another owner's resource is absent to look at and to remove, and a conflict to create."""
    one = Resource(service, "one", loadBalancerIP="192.0.2.7")
    one.put()
    two = Resource(service, "two", **{**one.parameters, "loadBalancerIP": "192.0.2.8"})
    assert two.observe().status_code == 404
    assert two.remove().status_code == 404
    reply = two.put()
    assert (reply.status_code, reply.json()["error"]) == (409, "conflict")
    assert one.up_to_date()


def test_name_that_is_held_with_a_token(service: Service) -> None:
    """What was reserved by the verbs is no resource of anybody's; the verbs still reach a declared name."""
    label = name()
    token = service.reserve(label).json()["reservationToken"]
    one = Resource(service, "one", subdomain=label)
    assert one.observe().status_code == 404
    assert one.put().status_code == 409
    assert service.release(label, reservationToken=token).status_code == 200
    assert one.put().status_code == 201
    assert service.commit(label, token).json()["error"] == "token-mismatch"
    assert service.release(label).status_code == 200


def test_reservation_that_expired_gives_way(service: Service) -> None:
    """An expired reservation, also one above or below, does not stand in the way of a declared name."""
    one = Resource(service, "one")
    label = str(one.parameters["subdomain"])
    service.reserve(label)
    service.execute(f"UPDATE allocations SET expires_at = now() - interval '1 s' WHERE subdomain = '{label}'")
    assert one.put().status_code == 201
    assert service.reserve(label).status_code == 409
    assert one.state() == "reserved"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"loadBalancerIP": "192.0.2.7 "}, "not-canonical"), ({"loadBalancerIP": "2001:DB8::1"}, "not-canonical"),
        ({"loadBalancerIP": "127.0.0.1"}, "invalid-address"), ({"loadBalancerIP": ""}, "invalid-address"),
        ({"loadBalancerIPs": []}, "missing-lb-ip"),
        ({"loadBalancerIPs": ["192.0.2.1", "192.0.2.1"]}, "not-canonical"),
        ({"loadBalancerIP": "192.0.2.1", "loadBalancerIPs": ["192.0.2.2"]}, "invalid-address"),
        ({"sovereignFQDN": "A.example"}, "not-canonical"), ({"sovereignFQDN": "a.example."}, "not-canonical"),
        ({"sovereignFQDN": "{{ s:kube-system:k }}"}, "invalid-format"),
        ({"createdBy": "{{ s:kube-system:k }}"}, "invalid-text"), ({"createdBy": "x" * 201}, "invalid-text"),
        ({"unknown": 1}, "invalid-body"), ({"subdomain": "{{ s:n:k }}"}, "invalid-format"),
        ({"poolDomain": "{{ s:n:k }}.x"}, "invalid-format"), ({"poolDomain": "other.example"}, "unsupported-pool"),
        ({"subdomain": "www"}, "reserved-name"),
    ],
)  # fmt: skip
def test_values_that_are_refused(service: Service, change: dict[str, object], error: str) -> None:
    """What could not be told back verbatim is refused and does nothing; braces nowhere; nothing is echoed."""
    one = Resource(service, "one", **change)
    reply = one.put()
    assert (reply.json()["error"], reply.status_code) == (error, 400 if error == "invalid-body" else 422), reply.text
    assert "{{" not in reply.text
    label = one.parameters["subdomain"]
    assert service.client.get(f"/v1/allocations/{label}.{service.pool}").status_code in {404, 422}


@pytest.mark.parametrize(
    ("path", "status"), [("X.{pool}", 422), ("x.{pool}.", 422), ("y.{pool}", 422), ("x.zz.yy", 422)]
)
def test_path_that_is_not_the_bodys(service: Service, path: str, status: int) -> None:
    """The name in the path is the body's, in its one form, below a pool domain."""
    body = {"poolDomain": service.pool, "subdomain": "x"}
    assert (
        service.client.put(f"/v1/allocations/{path.format(pool=service.pool)}?owner=o", json=body).status_code == status
    )


@pytest.mark.parametrize("owner", ["", "{{ a:b:c }}", "x" * 201])
def test_owner_that_is_refused(service: Service, owner: str) -> None:
    """An owner is a text like any other, and never empty."""
    label = name()
    url = f"/v1/allocations/{label}.{service.pool}"
    body = {"poolDomain": service.pool, "subdomain": label}
    for method in ("GET", "PUT", "DELETE"):
        reply = service.client.request(method, url, params={"owner": owner}, json=body if method == "PUT" else None)
        assert (reply.status_code, reply.json()["error"]) == (422, "invalid-text")
    assert service.client.put(url, json=body).json()["error"] == "invalid-text"


def test_many_at_once(new_service: Callable[..., Service]) -> None:
    """Of many calls for one resource at two replicas one creates it, the others find it; of two owners one gets it."""
    services = [new_service().start() for _ in range(2)]
    ones = [Resource(services[i % 2], "one", subdomain="same") for i in range(16)]
    assert ones[0].put().status_code == 201
    assert set(at_once(16, lambda i: ones[i].put().status_code)) == {200}
    label = name()
    rivals = [Resource(services[i % 2], f"owner-{i}", subdomain=label) for i in range(16)]
    assert sorted(at_once(16, lambda i: rivals[i].put().status_code)) == [201] + [409] * 15
    label = name()
    same = [Resource(services[i % 2], "one", subdomain=label) for i in range(16)]
    assert sorted(at_once(16, lambda i: same[i].put().status_code)) == [200] * 15 + [201]


def test_outage_is_not_absence(new_service: Callable[..., Service], postgres: Postgres, database_url: str) -> None:
    """While the database is away every call answers 503: a 404 would make the controller forget the name."""
    service = new_service().start()
    one = Resource(service, "one")
    assert one.put().status_code == 201
    with away(postgres, database_url):
        for call in (one.observe, one.put, one.remove):
            reply = call()
            assert (reply.status_code, "retry-after" in reply.headers) == (503, True)
    eventually(lambda: one.observe().status_code == 200)
