"""A proof is of today: what an earlier owner showed, or what stands everywhere, gets nobody a domain.

The orders of steps are the matter of tests/integration/test_histories.py; here DNS itself is asked.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.byo.conftest import Byo
from tests.byo.test_takeover import STRANGER, looked_again, stranger
from tests.eventually import eventually
from tests.integration import test_rdap as rdap_server
from tests.service import ADDRESS, Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree, answers, rr

CHALLENGE = "_openova-challenge"


def published(byo: Byo) -> dict[str, object]:
    return byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published" and byo.served())


def held(byo: Byo, **more: object) -> None:
    """Have a caller hold the domain by the TXT record."""
    byo.reserve()
    byo.prove()
    assert byo.commit(**more).status_code == 200


def show(byo: Byo, *whose: Byo) -> None:
    """Let these callers' records be the ones that the old provider serves."""
    texts = [f'"{one.renewed()["challenge"]["value"]}"' for one in whose]
    byo.tree.old_patch(byo.domain, rr(f"{CHALLENGE}.{byo.domain}", "TXT", *texts, ttl=1))


def test_domain_that_was_sold(byo: Byo, customer: str) -> None:
    """Who proved a domain and did not commit has nothing of it once the record is gone: the next owner gets it."""
    buyer = stranger(byo)
    byo.reserve()
    show(byo, byo)
    eventually(lambda: looked_again(byo, 1) or byo.renewed().get("proof") == "txt", 15)
    show(byo)
    buyer.reserve()
    show(buyer, buyer)
    late = byo.commit(loadBalancerIP=STRANGER)
    assert (late.status_code, late.json()["dns"]["needs"]) == (202, "proof")
    assert "lapsed" in byo.events()
    assert buyer.commit().status_code == 200
    assert published(buyer)["loadBalancerIP"] == ADDRESS
    assert byo.commit(loadBalancerIP=STRANGER).json()["error"] in {"token-mismatch", "not-found"}


def test_proof_that_was_not_seen_for_a_day(byo: Byo, customer: str) -> None:
    """A proof is shown until it has not been seen for 24 h, though the claim goes on."""
    byo.reserve(ttlSeconds=7 * 86400)
    show(byo, byo)
    eventually(lambda: looked_again(byo, 1) or byo.renewed().get("proof") == "txt", 15)
    show(byo)
    looked_again(byo)
    assert byo.renewed()["proof"] == "txt"
    byo.service.execute("UPDATE claims SET proof_seen_at = now() - interval '25 hours'")
    looked_again(byo)
    assert "proof" not in byo.renewed()


def test_wildcard(byo: Byo, customer: str) -> None:
    """A TXT record at every name is no proof; the record at its own name is, also beside a wildcard."""
    value = byo.reserve()["challenge"]["value"]
    byo.tree.old_patch(customer, rr(f"*.{customer}", "TXT", f'"{value}"', ttl=1))
    assert answers(byo.tree.old.addresses[0], f"{CHALLENGE}.{customer}", "TXT") == [f'"{value}"']
    assert byo.commit().json()["dns"]["needs"] == "proof"
    looked_again(byo)
    assert not byo.served()
    byo.tree.old_patch(customer, rr(f"*.{CHALLENGE}.{customer}", "TXT", f'"{value}"', ttl=1))
    show(byo, byo)
    looked_again(byo)
    assert not byo.served(), "what cannot exist must not answer as well"
    byo.tree.old_patch(customer, rr(f"*.{CHALLENGE}.{customer}", "TXT"))
    assert published(byo)["proof"] == "txt"


def test_flip_before_the_commit(byo: Byo, customer: str) -> None:
    """A customer who proves, changes the nameservers and commits last is not left without: the change is the proof."""
    byo.reserve()
    show(byo, byo)
    looked_again(byo)
    byo.tree.delegate(customer, PLATFORM_NAMES)
    looked_again(byo)
    assert byo.commit().status_code == 200
    assert published(byo)["proof"] == "transition"


@pytest.fixture
def rdap() -> Iterator[rdap_server.Server]:
    made = rdap_server.Server()
    yield made
    made.stop()


def test_domain_that_was_registered_anew(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, rdap: rdap_server.Server
) -> None:
    """A holder gives way to whoever registered the domain later, and proves it; the zone has fresh keys."""

    def registered(moment: datetime) -> None:
        events = [{"eventAction": "registration", "eventDate": moment.isoformat()}]
        rdap.answer = lambda _: (200, {}, json.dumps({"events": events}).encode())

    now = datetime.now(UTC)
    byo = Byo(new_byo_service(PDM_RDAP_URL=rdap.url).start(), tree, customer)
    held(byo, loadBalancerIP=STRANGER)
    before = byo.get()["dnssec"]["ds"]
    buyer = stranger(byo)
    for useless in (lambda: registered(now - timedelta(days=900)), lambda: setattr(rdap, "answer", _nothing)):
        useless()
        refused = buyer.post("/v1/reserve", mode="byo-manual", domain=customer)
        assert (refused.status_code, refused.json()["error"]) == (409, "conflict")
    registered(now + timedelta(hours=1))
    buyer.reserve()
    assert buyer.commit().json()["dns"]["needs"] == "proof"
    assert byo.get()["loadBalancerIP"] == STRANGER, "a claim alone takes nothing"
    show(buyer, buyer)
    buyer.until("the buyer to have it", lambda one: one.get("loadBalancerIP") == ADDRESS)
    published(buyer)
    assert byo.get()["dnssec"]["ds"] != before
    assert "evicted" in byo.events()


def _nothing(_: str) -> tuple[int, dict[str, str], bytes]:
    return 404, {}, b"{}"


def test_domain_whose_delegation_left(byo: Byo, customer: str) -> None:
    """A holder whose domain has left the platform gives way to who proves it where it is now; before that to nobody."""
    held(byo, loadBalancerIP=STRANGER)
    byo.tree.delegate(customer, PLATFORM_NAMES)
    byo.phase("converging", "live")
    buyer = stranger(byo)
    assert buyer.post("/v1/reserve", mode="byo-manual", domain=customer).json()["error"] == "conflict"
    byo.tree.delegate(customer, OLD_NAMES)
    byo.phase("moved")
    buyer.reserve()
    show(buyer, buyer)
    assert buyer.commit().status_code == 200
    assert published(buyer)["loadBalancerIP"] == ADDRESS


def test_upper_name_decides(byo: Byo, customer: str) -> None:
    """Who proves the lower name ends no claim on the upper one, whose owner is told of it, and may end it."""
    lower = stranger(byo, f"team.{customer}")
    byo.reserve()
    assert byo.commit().json()["dns"]["needs"] == "proof"
    lower.reserve()
    text = lower.renewed()["challenge"]
    byo.tree.old_patch(customer, rr(text["name"], "TXT", f'"{text["value"]}"', ttl=1))
    # The zone above serves the lower name: nothing delegates it yet.
    assert lower.commit(loadBalancerIP=STRANGER).status_code == 200
    assert byo.renewed()["state"] == "reserved"
    late = byo.post("/v1/reserve", mode="byo-manual", domain=customer)
    assert (late.status_code, late.json()["error"]) == (409, "overlaps-allocation")
    assert f"team.{customer}" not in late.text + byo.post("/v1/preflight", domain=customer).text
    stranger(byo).reserve(acknowledge=["BYO-BELOW"])
    show(byo, byo)
    refused = byo.commit()
    assert (refused.status_code, refused.json()["error"]) == (409, "preflight-blocked")
    (problem,) = refused.json()["problems"]
    assert (problem["code"], problem["severity"]) == ("BYO-BELOW", "acknowledge")
    assert f"team.{customer}" in problem["seen"]
    assert lower.get()["state"] == "active"
    assert byo.commit(acknowledge=["BYO-BELOW"]).status_code == 200
    assert byo.served()
    assert answers(byo.tree.ours.addresses[0], lower.domain, "SOA") == []
    assert lower.service.client.get(f"/v1/allocations/{lower.domain}").status_code == 404
    trail = lower.service.client.get(f"/v1/allocations/{lower.domain}/events", params={"limit": 500}).json()["events"]
    assert [one["action"] for one in trail][-2:] == ["evicted", "removed"]
