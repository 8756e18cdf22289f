"""The pre-flight against real nameservers: run by validate, and again just before a flip."""

from collections.abc import Callable, Iterator

import pytest

from adapters.conformance.played import Server
from tests.byo.conftest import Byo, Registry, at
from tests.byo.test_takeover import looked_again
from tests.eventually import eventually
from tests.integration import test_rdap as rdap_server
from tests.service import Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree, rr

FOREIGN = "4711 13 2 " + "ab" * 32


def validate(api: Byo, **more: object) -> dict:
    body = {
        "registrar": api.credential["registrar"],
        "domain": api.domain,
        "token": api.credential["registrarToken"],
        **more,
    }
    reply = api.post("/v1/validate", **body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def codes(reply: dict) -> dict[str, str]:
    return {one["code"]: one["severity"] for one in reply.get("problems", [])}


def test_validate(api: Byo, customer: str, registrar: Server) -> None:
    """Validate tells what the flip would meet, and which records there are, by reading alone."""
    registrar.read_only = True
    api.tree.old_patch(
        customer, rr(customer, "MX", "10 mx.example.net."), rr(f"dev.{customer}", "NS", "ns1.example.net.")
    )
    found = validate(api)
    assert found["canSetNameservers"] is not False
    assert codes(found) == {
        "BYO-HOLD": "warn", "BYO-OLD-MAIL": "acknowledge", "BYO-OLD-WEB": "acknowledge", "BYO-OLD-DELEG": "acknowledge",
    }  # fmt: skip
    assert {"name": customer, "type": "MX", "ttl": 60, "contents": ["10 mx.example.net."]} in found["records"]
    assert "BYO-AXFR" in codes(validate(api, zoneTransfer=True))
    assert all(one["seen"] and one["remedy"] for one in found["problems"])


def test_preflight_without_a_registrar(byo: Byo, customer: str) -> None:
    """A customer who changes the nameservers himself is told the same beforehand, without any token."""
    byo.tree.old_patch(customer, rr(customer, "MX", "10 mx.example.net."))
    byo.tree.delegate(customer, OLD_NAMES, [FOREIGN])
    found = byo.post("/v1/preflight", domain=customer).json()
    assert codes(found) == {"BYO-DS": "block", "BYO-OLD-MAIL": "acknowledge", "BYO-OLD-WEB": "acknowledge"}
    assert {(one["name"], one["type"]) for one in found["records"]} >= {(customer, "MX"), (f"www.{customer}", "A")}
    byo.tree.delegate(customer, PLATFORM_NAMES)
    found = byo.post("/v1/preflight", domain=customer).json()
    assert codes(found)["BYO-LAME-CLAIM"] == "block"
    assert byo.post("/v1/preflight", domain="no_name").json()["error"] == "invalid-format"


def test_ds_holds_a_flip_up_until_it_is_forgotten(
    api: Byo, domain: str, registrar: Server, customer: str, registry: Registry
) -> None:
    """A DS at the parent blocks; so it does for its TTL after it has gone; then the flip goes through."""
    registry.paused = True
    api.reserve("byo-api")
    api.tree.delegate(customer, OLD_NAMES, [FOREIGN], ds_ttl=4)
    refused = api.flip()
    assert codes(refused.json()) == {"BYO-DS": "block"}
    assert api.flip(acknowledge=("BYO-OLD-WEB", "BYO-DS")).status_code == 409
    assert api.phase("blocked")["problems"][0]["code"] == "ds-present"
    api.tree.delegate(customer, OLD_NAMES)
    refused = api.flip()
    assert codes(refused.json()) == {"BYO-DS-RECENT": "block"}
    registry.paused = False
    eventually(lambda: api.flip().status_code == 200, 15)
    assert [seen for seen in registrar.writes if registrar.is_change(seen)]


@pytest.fixture
def rdap() -> Iterator[rdap_server.Server]:
    made = rdap_server.Server()
    yield made
    made.stop()


def test_what_the_registry_says(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server, rdap: rdap_server.Server
) -> None:
    """A hold that the registry tells of by RDAP blocks the flip."""
    api = Byo(new_byo_service(PDM_RDAP_URL=rdap.url, **at(registrar)).start(), tree, customer)
    api.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    api.reserve("byo-api")
    assert codes(api.flip().json()) == {"BYO-HOLD": "block"}
    assert rdap.paths == [f"/domain/{customer}"]


def test_acknowledge(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """Only what is named in so many words is gone over; what was acknowledged is kept with the undo sheet."""
    api.tree.old_patch(customer, rr(customer, "MX", "10 mx.example.net."))
    api.reserve("byo-api")
    for acknowledged, left in [((), {"BYO-OLD-MAIL", "BYO-OLD-WEB"}), (("BYO-OLD-MAIL",), {"BYO-OLD-WEB"})]:
        refused = api.flip(acknowledge=acknowledged)
        assert (refused.status_code, refused.json()["error"]) == (409, "preflight-blocked")
        assert set(codes(refused.json())) == left
    assert registrar.writes == []
    assert api.flip(acknowledge=("BYO-OLD-MAIL", "BYO-OLD-WEB")).status_code == 200
    assert set(api.undo()["acknowledged"]) == {"BYO-OLD-MAIL", "BYO-OLD-WEB"}
    assert {one["type"] for one in api.undo()["records"]} >= {"MX", "A"}


def test_what_changed_between_validate_and_commit(
    api: Byo, customer: str, registrar: Server, registry: Registry
) -> None:
    """The pre-flight is run again at the commit: what came up meanwhile is found."""
    assert "BYO-OLD-MAIL" not in codes(validate(api))
    api.reserve("byo-api")
    api.tree.old_patch(customer, rr(customer, "MX", "10 mx.example.net."))
    assert "BYO-OLD-MAIL" in codes(api.flip().json())


def test_nameservers_of_ours_that_do_not_serve(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server
) -> None:
    """A flip is refused while one of the platform's own nameservers does not serve the prepared zone."""
    good, bad = tree.ours.addresses[0], tree.old.addresses[0]
    settings = {"PDM_NAMESERVER_ADDRESSES": f"ns1.platform.zz={good}", "PDM_DNS_ADDRESSES": f"ns2.platform.zz={bad}"}
    api = Byo(new_byo_service(**at(registrar), **settings).start(), tree, customer)
    api.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    api.reserve("byo-api")
    refused = api.flip()
    assert "BYO-OURNS" in codes(refused.json()), refused.text
    assert registrar.writes == []
    assert api.get()["dns"] == {**api.get()["dns"], "state": "pending", "needs": "registrar-token"}


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_sub_domain(api: Byo, customer: str, registrar: Server) -> None:
    """A sub-domain is not flipped at a registrar; in manual mode the records for the zone above are told."""
    lower = Byo(api.service, api.tree, f"platform.{customer}")
    refused = lower.post("/v1/reserve", mode="byo-api", domain=lower.domain)
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid-format")
    lower.reserve()
    assert lower.commit().json()["dns"]["needs"] == "proof"
    challenge = lower.renewed()["challenge"]
    api.tree.old_patch(customer, rr(challenge["name"], "TXT", f'"{challenge["value"]}"', ttl=1))
    lower.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    assert lower.served()
    assert lower.get()["nameservers"]
    (ds,) = lower.get()["dnssec"]["ds"]
    hosts = [f"{name}." for name in lower.get()["nameservers"]]
    api.tree.old_patch(customer, rr(lower.domain, "NS", *hosts, ttl=1))
    looked_again(lower)
    lower.phase("live")
    assert ds
