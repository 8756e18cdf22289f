"""What a customer has set, or not, where the proof has to stand: told server by server, and what to do about it."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.conformance.played import Server
from tests import faulty, flood
from tests.byo.conftest import Byo, Registry
from tests.eventually import eventually
from tests.faulty import Faulty
from tests.service import Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, TLD_NAMES, Tree, rr

LABEL = "_openova-challenge"
ELLIPSIS, UNPRINTABLE = "\u2026", "\ufffd"
# What stands in the zone (PLACE is the challenge's name, ZONE the domain, VALUE what the claim wants), and what is told.
CASES: dict[str, tuple[list[tuple[str, str, str]], dict[str, Any], str]] = {
    "nothing": ([], {"state": "nxdomain"}, "has nothing at PLACE"),
    "another type": ([("PLACE", "A", "192.0.2.1")], {"state": "nodata"}, "has no TXT record at PLACE"),
    "another value": ([("PLACE", "TXT", '"wrong"')], {"state": "texts", "texts": ["wrong"]}, "another TXT record"),
    "a long value": (
        [("PLACE", "TXT", f'"{"x" * 60}" "{"y" * 60}"')],
        {"state": "texts", "texts": ["x" * 60 + "y" * 20 + ELLIPSIS]},
        "another TXT record",
    ),
    "what cannot be printed": (
        [("PLACE", "TXT", r'"a\000b\027c\255"')],
        {"state": "texts", "texts": [f"a{UNPRINTABLE}b{UNPRINTABLE}c{UNPRINTABLE}"]},
        "another TXT record",
    ),
    "a wildcard": (
        [("*.ZONE", "TXT", '"VALUE"')],
        {"state": "everywhere", "texts": ["VALUE"]},
        "only by a wildcard",
    ),
    "an alias": (
        [("PLACE", "CNAME", "x.elsewhere.zz.")],
        {"state": "alias", "alias": "x.elsewhere.zz"},
        "has a CNAME at PLACE, to x.elsewhere.zz",
    ),
    "the zone appended twice": (
        [("PLACE.ZONE", "TXT", '"VALUE"')],
        {"state": "nxdomain", "doubled": "PLACE.ZONE", "texts": ["VALUE"]},
        "a TXT record stands at PLACE.ZONE",
    ),
}


@pytest.fixture
def claims(byo: Byo, tree: Tree) -> Callable[[list[tuple[str, str, str]]], tuple[Byo, Callable[[Any], Any]]]:
    """Claim a domain of one's own, and set records there; returns it, and what fills in a case's words."""

    def make(records: list[tuple[str, str, str]]) -> tuple[Byo, Callable[[Any], Any]]:
        domain = f"c{uuid.uuid4().hex[:10]}.zz"
        tree.old_zone(domain)
        tree.delegate(domain, OLD_NAMES)
        one = Byo(byo.service, tree, domain)
        value = one.reserve()["challenge"]["value"]

        def filled(text: Any) -> Any:
            if isinstance(text, list):
                return [filled(part) for part in text]
            return text.replace("PLACE", f"{LABEL}.{domain}").replace("ZONE", domain).replace("VALUE", value)

        for name, rtype, content in records:
            tree.old_patch(domain, rr(filled(name), rtype, filled(content), ttl=1))
        return one, filled

    return make


def challenge(byo: Byo) -> dict[str, Any]:
    return byo.get()["challenge"]


def codes(delegation: dict[str, Any]) -> list[str]:
    return [one["code"] for one in delegation["problems"]]


def test_what_stands_there(claims: Callable[..., tuple[Byo, Callable[[Any], Any]]]) -> None:
    """Of each nameserver is told what it has where the proof has to stand, and the delegation says what to do about it."""
    made = {what: claims(records) for what, (records, _, _) in CASES.items()}
    for what, (byo, filled) in made.items():
        _, expected, sentence = CASES[what]
        wanted = {key: filled(value) for key, value in expected.items()}

        def told(byo: Byo = byo, wanted: dict[str, Any] = wanted) -> bool:
            seen = challenge(byo).get("seen", [])
            assert {one["name"] for one in seen} == set(OLD_NAMES), seen
            assert {one["address"] for one in seen} == set(byo.tree.old.addresses)
            for one in seen:
                assert {key: value for key, value in one.items() if key not in {"name", "address"}} == wanted
            return True

        eventually(told, 40, what)
        found = challenge(byo)
        assert found["lookedAt"] >= byo.get()["reservedAt"]
        # The reply of a commit, which looks by itself, has it too.
        assert byo.commit().json()["challenge"]["lookedAt"] > found["lookedAt"]
        delegation = byo.delegation()
        assert delegation["phase"] == "awaiting-proof"
        assert codes(delegation) == ["awaiting-proof"], what
        assert filled(sentence) in delegation["problems"][0]["seen"]


@pytest.mark.parametrize(
    "written",
    [
        '" VALUE "', r'"\"VALUE\""', r'"\" VALUE\" "', r'"\'VALUE\'"', r'"\226\128\156VALUE\226\128\157"', '"\\009VALUE"',
        r'"\194\160VALUE"', '"FIRST" "SECOND"',
    ],
)  # fmt: skip
def test_blanks_and_quotes(byo: Byo, customer: str, written: str) -> None:
    """What a provider's form leaves around the value keeps nobody from a domain."""
    value = byo.reserve()["challenge"]["value"]
    parts = {"VALUE": value, "FIRST": value[:9], "SECOND": value[9:]}
    # In one go: a value may have any of the words in it.
    content = re.sub("|".join(parts), lambda found: parts[found[0]], written)
    byo.tree.old_patch(customer, rr(f"{LABEL}.{customer}", "TXT", content, ttl=1))
    reply = byo.commit()
    assert (reply.status_code, reply.json()["proof"], "challenge" in reply.json()) == (200, "txt", False), reply.text


def test_the_doubled_name_proves_nothing(byo: Byo, customer: str) -> None:
    """A record at the doubled name is told, and counts only once it stands where it has to."""
    name, value = f"{LABEL}.{customer}", byo.reserve()["challenge"]["value"]
    byo.tree.old_patch(customer, rr(f"{name}.{customer}", "TXT", f'"{value}"', ttl=1))
    reply = byo.commit()
    assert (reply.status_code, reply.json()["dns"]["needs"]) == (202, "proof")
    assert {one["doubled"] for one in reply.json()["challenge"]["seen"]} == {f"{name}.{customer}"}
    (problem,) = byo.delegation()["problems"]
    assert (problem["code"], problem["remedy"]) == (
        "awaiting-proof",
        f"enter {LABEL} as the record's name at the provider",
    )
    byo.prove()
    byo.until("served", lambda one: one["dns"]["state"] == "published")


def test_a_nameserver_that_does_not_answer(byo: Byo, customer: str) -> None:
    """A nameserver that is silent, or does not serve the domain, is told beside the one that was asked."""
    kinds = {"silent": faulty.silent, "not-serving": faulty.code("REFUSED")}
    servers = {state: Faulty(byo.tree.address(), customer, OLD_NAMES, behave) for state, behave in kinds.items()}
    for state, server in servers.items():
        byo.tree.host(f"{state}.x{customer}", server.address)
    nameless = f"nameless.x{customer}"
    byo.tree.delegate(customer, [OLD_NAMES[0], nameless, *(f"{state}.x{customer}" for state in servers)])
    byo.reserve()
    try:
        seen = eventually(lambda: challenge(byo).get("seen"), 20)
    finally:
        for server in servers.values():
            server.stop()
    told = {one["name"]: one["state"] for one in seen}
    others = {f"{state}.x{customer}": state for state in servers}
    assert told == {OLD_NAMES[0]: "nxdomain", nameless: "not-serving", **others}
    errors = {one["name"]: one.get("error") for one in seen}
    assert (errors[nameless], errors[f"not-serving.x{customer}"]) == ("its name has no address", "REFUSED")


def test_a_name_in_the_zone_above(byo: Byo, customer: str) -> None:
    """Of a sub-domain without nameservers those of the zone above are asked, and that zone is what may be appended."""
    byo.domain = f"team.{customer}"
    byo.tree.old_patch(customer, rr(f"www.{byo.domain}", "A", "192.0.2.1"))
    value = byo.reserve()["challenge"]["value"]
    doubled = f"{LABEL}.{byo.domain}.{customer}"
    byo.tree.old_patch(customer, rr(doubled, "TXT", f'"{value}"', ttl=1))
    seen = eventually(lambda: [one for one in challenge(byo).get("seen", []) if one.get("doubled")], 20)
    assert {(one["name"], one["doubled"]) for one in seen} == {(name, doubled) for name in OLD_NAMES}
    delegation = byo.delegation(fresh=True)
    assert delegation["phase"] == "awaiting-proof"
    assert delegation["problems"][0]["remedy"] == f"enter {LABEL}.team as the record's name at the provider"


def test_unproven_and_pointing_here(byo: Byo, customer: str) -> None:
    """Of a domain that points here unproven our nameservers are not called lame: it waits for the proof."""
    byo.tree.delegate(customer, PLATFORM_NAMES)
    byo.reserve()
    found = byo.phase("awaiting-proof")
    assert codes(found) == ["awaiting-proof"]
    assert challenge(byo)["seen"] == []
    assert "former nameservers" in found["problems"][0]["remedy"]
    assert {one["state"] for one in found["servers"] if one["role"] == "ns"} != {"serving"}


def test_proven_and_not_committed(byo: Byo, customer: str) -> None:
    """A proven domain that is not committed waits for the commit, and our nameservers are not to blame either."""
    byo.reserve()
    byo.prove()
    byo.until("proven", lambda one: one.get("proof") == "txt")
    found = byo.delegation()
    assert (found["phase"], codes(found)) == ("awaiting-customer", ["awaiting-commit"])
    assert byo.commit().status_code == 200
    # The look that found the proof did not find the zone: the next one comes at once.
    eventually(lambda: codes(byo.delegation()) == [], 10)


def test_what_has_to_be_fixed_before(byo: Byo, customer: str) -> None:
    """What blocks a domain anyway is the phase, and comes before the proof that is missing."""
    byo.tree.delegate(customer, OLD_NAMES, ["4711 13 2 " + "ab" * 32])
    byo.reserve()
    found = byo.phase("blocked")
    assert codes(found) == ["ds-present", "awaiting-proof"]
    byo.domain = f"no{customer}"
    byo.reserve()
    found = byo.phase("blocked")
    assert codes(found) == ["not-registered", "awaiting-proof"]
    # Nobody has delegated it: whoever may set records at its parent zone could prove it.
    assert {(one["name"], one["state"]) for one in challenge(byo)["seen"]} == {(name, "nxdomain") for name in TLD_NAMES}


def test_the_claim_of_another(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, directory: Path
) -> None:
    """Whoever has not claimed a domain sees of its delegation what everybody sees: no proof is waited for."""
    service = new_byo_service(**flood.callers(directory)).start()
    url = str(service.client.base_url)
    with flood.client(url, "flood") as claimant, flood.client(url, "other") as stranger:
        claimant.post("/v1/reserve", json={"mode": "byo-manual", "domain": customer}).raise_for_status()

        def phase(who: httpx.Client) -> str:
            return who.get(f"/v1/delegations/{customer}").raise_for_status().json()["phase"]

        eventually(lambda: "lookedAt" in claimant.get(f"/v1/allocations/{customer}").json()["challenge"], 20)
        assert (phase(claimant), phase(stranger)) == ("awaiting-proof", "awaiting-customer")
        assert "awaiting-proof" not in stranger.get(f"/v1/delegations/{customer}").text
        # What was seen before a claim was opened says nothing of its challenge.
        own = stranger.post("/v1/reserve", json={"mode": "byo-manual", "domain": customer}).raise_for_status().json()
        assert "lookedAt" not in own["challenge"]


# --- after a rollback -----------------------------------------------------------------------------------


@pytest.fixture
def gone_back(api: Byo, customer: str, registrar: Server, registry: Registry) -> Byo:
    """A domain that was here for days, and whose nameservers are changed back at the registrar."""
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    api.phase("live")
    api.until("the token to be asked for", lambda one: one["dns"].get("needs") == "registrar-token")
    # Days later: nothing is about to happen, and the next look is due in hours.
    api.service.execute(
        "UPDATE watches SET due_at = now() + interval '1 hour', memory = jsonb_set(memory, '{changed_at}',"
        " to_jsonb(to_char(now() AT TIME ZONE 'UTC' - interval '3 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')))"
    )
    registry.paused = True
    reply = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert reply.status_code == 200, reply.text
    return api


def test_left_as_asked_for(gone_back: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """After a rollback the domain is looked at soon, and again; that it leaves is told as asked for, without the alert."""
    first = gone_back.delegation()["checkedAt"]
    # The registry takes its time: the next looks come soon all the same.
    eventually(lambda: gone_back.delegation()["checkedAt"] > first, 20)
    assert gone_back.delegation()["phase"] in {"converging", "live"}
    registry.paused = False
    found = gone_back.phase("left", seconds=40)
    assert codes(found) == []
    service = gone_back.service
    events = service.client.get(f"/v1/allocations/{customer}/events", params={"limit": 500}).json()["events"]
    phases = [one["outcome"].partition(" to ")[2] for one in events if one["action"] == "delegation"]
    assert phases[-1] == "left"
    assert "moved" not in phases

    def counted() -> bool:
        metrics = service.client.get("/metrics").text
        return 'pdm_delegations{phase="left"} 1.0' in metrics and 'phase="moved"} 1.0' not in metrics

    eventually(counted, 40, "the phase to be counted")


def test_lost_after_all(gone_back: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A domain that came here again after a rollback, and leaves without one, has moved."""
    registry.paused = False
    gone_back.phase("left", seconds=40)
    registrar.domains[customer].nameservers = list(PLATFORM_NAMES)
    gone_back.phase("partial", "converging", "live", seconds=40)
    registrar.domains[customer].nameservers = list(OLD_NAMES)
    gone_back.service.execute("UPDATE watches SET due_at = now()")
    gone_back.phase("moved", seconds=40)
