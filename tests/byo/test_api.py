"""byo-api: pre-flight, undo sheet, flip, DS, and the way back, at registrars that behave and at others."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.conformance.played import Server
from tests.byo.conftest import Byo, Registry
from tests.byo.test_manual import Witness
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS
from tests.tree import OLD_NAMES, PLATFORM_NAMES, ask, rr


def test_from_reserve_to_secured(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """Pre-flight, zone, flip and DS: a resolver gets the old answers or the new ones at every moment."""
    api.reserve("byo-api")
    with Witness(api.tree, customer, {"192.0.2.1", ADDRESS}) as witness:
        made = api.flip()
        assert made.status_code == 200, made.text
        assert made.json()["dns"]["state"] == "published"
        assert made.json()["proof"] == "registrar"
        assert sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)
        assert api.undo()["nameservers"] == list(OLD_NAMES)
        assert api.undo()["lastChange"]["outcome"] == "done"
        api.phase("live")
        wanting = api.until("the token to be asked for", lambda one: one["dns"].get("needs") == "registrar-token")
        assert wanting["dns"]["state"] == "published"
        assert api.flip().status_code == 200
        eventually(lambda: api.delegation()["dnssec"] == "secure", 20, str(api.delegation()))
        api.until("nothing more to be needed", lambda one: "needs" not in one["dns"])
        eventually(api.secured, 10)
    assert witness.wrong == []
    assert len([seen for seen in registrar.writes if registrar.is_change(seen)]) == 1


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)  # takes two requests of one account at a time
def test_a_commit_that_is_overtaken(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """Of two commits of one claim the slower, which finds it an allocation, is answered as one of an active domain."""
    api.reserve("byo-api")
    overtaken = threading.Event()
    reading = threading.Event()

    def slow(*_: object) -> bool:
        reading.set()
        overtaken.wait(20)
        return False

    registrar.fault(slow, on="read", times=1)
    with ThreadPoolExecutor() as pool:
        slower = pool.submit(api.flip)
        assert reading.wait(patient(20))
        assert api.flip().status_code == 200
        overtaken.set()
        reply = slower.result()
    # Or the registrar took too long, where the machine is very busy.
    assert reply.status_code in {200, 502}, reply.text
    assert len([seen for seen in registrar.writes if registrar.is_change(seen)]) == 1


def test_there_and_back(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A rollback takes our DS away first, then restores the nameservers; nobody is without an answer."""
    api.reserve("byo-api")
    with Witness(api.tree, customer, {"192.0.2.1", ADDRESS}) as witness:
        assert api.flip().status_code == 200
        api.phase("live")
        api.until("the token to be asked for", lambda one: one["dns"].get("needs") == "registrar-token")
        api.flip()
        eventually(lambda: api.delegation()["dnssec"] == "secure", 20)
        body = {"fqdn": customer, **api.credential}
        assert api.post("/v1/rollback", **body).status_code in {200, 202}
        assert registrar.domains[customer].ds == []
        assert sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)

        def back() -> bool:
            reply = api.post("/v1/rollback", **body)
            assert reply.status_code in {200, 202}, reply.text
            return sorted(registrar.domains[customer].nameservers) == list(OLD_NAMES)

        eventually(back, 20)
        api.phase("left")
        assert api.served()
        released = api.post("/v1/release", fqdn=customer)
        assert released.status_code == 202, released.text
        assert released.json()["keepUntil"] > released.json()["dns"]["updatedAt"]
        assert api.served()
    assert witness.wrong == []
    assert api.post("/v1/release", fqdn=customer).json()["keepUntil"]
    hastened = api.post("/v1/release", fqdn=customer, force=True)
    assert (hastened.status_code, "keepUntil" in hastened.json()) == (202, False)
    eventually(lambda: api.service.client.get(f"/v1/allocations/{customer}").status_code == 404, 20)
    assert not api.served()


@pytest.mark.parametrize("customer", ["signed"], indirect=True)
def test_signed_domain(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A domain that is signed at the old provider is insecure for a while, and never bogus."""
    registry.paused = True
    api.reserve("byo-api")
    with Witness(api.tree, customer, {"192.0.2.1", ADDRESS}) as witness:
        eventually(lambda: api.tree.secure(customer, "A")[2], 10)
        refused = api.flip()
        assert [one["code"] for one in refused.json()["problems"]] == ["BYO-DS"]
        registry.paused = False  # the registrar has no DS on record, and the registry follows

        def flipped() -> bool:
            reply = api.flip()
            assert {one["code"] for one in reply.json().get("problems", [])} <= {
                "BYO-DS",
                "BYO-DS-RECENT",
                "BYO-PARENT-SPLIT",
            }
            return reply.status_code == 200

        eventually(flipped, 20)
        api.phase("live")
        api.until("the token to be asked for", lambda one: one["dns"].get("needs") == "registrar-token")
        api.flip()
        eventually(api.secured, 20)
    assert witness.wrong == []


def test_release_of_a_secured_domain(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A domain that went elsewhere with our DS is not released before the DS is taken away, which the token does."""
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    api.phase("live")
    api.until("the token to be asked for", lambda one: one["dns"].get("needs") == "registrar-token")
    api.flip()
    eventually(lambda: api.delegation()["dnssec"] == "secure", 20)
    registrar.domains[customer].nameservers = list(OLD_NAMES)
    eventually(lambda: OLD_NAMES[0] in str(ask(api.tree.tlds[1].addresses[0], customer, "NS")), 10)
    api.service.execute("UPDATE watches SET due_at = now()")  # a day later
    api.phase("blocked", "moved")
    refused = api.post("/v1/release", fqdn=customer)
    assert (refused.status_code, refused.json()["error"]) == (409, "still-delegated")
    assert "DS" in refused.json()["detail"]
    released = api.post("/v1/release", fqdn=customer, **api.credential)
    assert (released.status_code, released.json()["state"]) == (202, "releasing"), released.text
    assert registrar.domains[customer].ds == []


@pytest.mark.parametrize("registrar", ["namecheap", "godaddy-key", "ovh"], indirect=True)
def test_other_registrars(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """The flip is the same at every registrar; one that carries it out later is followed by the parent zone."""
    api.reserve("byo-api")
    made = api.flip()
    assert made.status_code == 200, made.text
    registrar.settle()
    eventually(lambda: sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES), 10)
    api.phase("live")
    assert eventually(lambda: api.undo()["lastChange"]["outcome"] == "done", 10)
    assert len([seen for seen in registrar.writes if registrar.is_change(seen)]) == 1


def test_imports(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """What the commit lists is copied into the new zone; what is not acknowledged and not copied holds it up."""
    api.tree.old_patch(
        customer,
        rr(customer, "MX", "10 mail.example.net.", ttl=2),
        rr(customer, "TXT", '"v=spf1 mx -all"', ttl=2),
    )
    api.reserve("byo-api")
    refused = api.flip()
    assert (refused.status_code, refused.json()["error"]) == (409, "preflight-blocked")
    assert [one["code"] for one in refused.json()["problems"]] == ["BYO-OLD-MAIL"]
    assert registrar.writes == []
    listed = [{"name": f" {customer.upper()}. ", "type": "mx"}, {"name": customer, "type": "TXT"}]
    assert api.flip(**{"import": listed}).status_code == 200
    api.phase("live")
    assert api.tree.secure(customer, "MX")[:2] == ("NOERROR", ["10 mail.example.net."])
    assert api.tree.secure(customer, "TXT")[:2] == ("NOERROR", ['"v=spf1 mx -all"'])
