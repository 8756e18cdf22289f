"""Whose domain is it: attempts to get one that is somebody else's all fail."""

from collections.abc import Callable

from adapters.conformance.played import Server
from tests.byo.conftest import Byo, Registry
from tests.eventually import eventually
from tests.service import Service, at_once, name
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree, Zones, answers, rr, soa

STRANGER = "198.51.100.66"


def looked_again(byo: Byo, times: int = 2) -> None:
    """Wait until the delegation was looked at some more times."""
    for _ in range(times):
        before = byo.delegation()["checkedAt"]
        byo.service.execute("UPDATE watches SET due_at = now()")
        eventually(lambda then=before: byo.delegation()["checkedAt"] != then, 15)


def stranger(byo: Byo, domain: str | None = None) -> Byo:
    """Another caller of the same service."""
    return Byo(byo.service, byo.tree, domain or byo.domain)


def test_domain_that_points_here_already(byo: Byo, customer: str) -> None:
    """That a domain points here proves nothing: a stranger who claims it gets nothing served."""
    byo.tree.delegate(customer, PLATFORM_NAMES)
    byo.reserve()
    reply = byo.commit(loadBalancerIP=STRANGER)
    assert (reply.status_code, reply.json()["dns"]["needs"]) == (202, "proof")
    looked_again(byo, 3)
    assert byo.get()["state"] == "reserved"
    assert not byo.tree.secure(f"console.{customer}", "A")[1]


def test_stranger_who_waits_for_the_flip(byo: Byo, customer: str) -> None:
    """A stranger claims first and waits; the owner claims too, and flips: nobody gets it by waiting.

    The owner's TXT record, set at his nameservers, gets it for him.
    """
    thief = stranger(byo)
    thief.reserve()
    assert thief.commit(loadBalancerIP=STRANGER).status_code == 202
    looked_again(byo)
    byo.reserve()
    assert byo.commit().status_code == 202
    looked_again(byo)
    byo.tree.delegate(customer, PLATFORM_NAMES)
    looked_again(byo, 3)
    assert not byo.served()
    assert byo.get()["state"] == "reserved"
    byo.tree.delegate(customer, OLD_NAMES)
    byo.prove()
    byo.until("the owner to have it", lambda one: one["dns"]["state"] == "published")
    assert byo.served()
    assert byo.get()["loadBalancerIP"] != STRANGER
    assert thief.commit(loadBalancerIP=STRANGER).json()["error"] in {"token-mismatch", "not-found"}
    assert "evicted" in byo.events()


def test_owner_alone(byo: Byo, customer: str) -> None:
    """Without a rival the change of the delegation after the claim is proof enough."""
    byo.reserve()
    assert byo.commit().status_code == 202
    looked_again(byo)
    byo.tree.delegate(customer, PLATFORM_NAMES)
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    assert byo.get()["proof"] == "transition"
    assert byo.served()


def test_better_proof(byo: Byo, customer: str) -> None:
    """Who got a domain by waiting gives way to who proves it to be his; the zone gets fresh keys."""
    thief = stranger(byo)
    thief.reserve()
    thief.commit(loadBalancerIP=STRANGER)
    looked_again(byo)
    byo.tree.delegate(customer, PLATFORM_NAMES)
    thief.until("the thief to have it", lambda one: one["dns"]["state"] == "published")
    before = thief.get()["dnssec"]["ds"]
    byo.reserve()
    byo.tree.delegate(customer, OLD_NAMES)
    byo.prove()
    byo.commit()
    byo.until("the owner to have it", lambda one: one.get("proof") == "txt" and one["dns"]["state"] == "published")
    assert byo.served()
    assert byo.get()["dnssec"]["ds"] != before


def test_equal_proof(byo: Byo, customer: str) -> None:
    """Who has proven a domain keeps it against another claim: somebody has to release it first."""
    byo.reserve()
    byo.commit()
    byo.prove()
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    reply = stranger(byo).post("/v1/reserve", mode="byo-manual", domain=customer)
    assert (reply.status_code, reply.json()["error"]) == (409, "conflict")


def test_above_and_below(byo: Byo, customer: str) -> None:
    """Nobody claims a name above or below one that somebody has, nor a pool domain, or one near it."""
    byo.reserve()
    byo.commit()
    byo.prove()
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    pool = byo.service.pool
    for near in (f"shop.{customer}", f"a.b.{customer}", pool, f"x.{pool}", f"a.x.{pool}"):
        reply = byo.post("/v1/reserve", mode="byo-manual", domain=near)
        assert (near, reply.status_code, reply.json()["error"]) == (near, 409, "overlaps-allocation")
    stranger(byo, f"x{customer}").reserve()


def test_claims_that_overlap(byo: Byo, customer: str) -> None:
    """A claim below another's domain ends when that is proven."""
    lower = stranger(byo, f"shop.{customer}")
    lower.reserve()
    assert lower.commit(loadBalancerIP=STRANGER).status_code == 202
    byo.reserve()
    byo.commit()
    byo.prove()
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    assert lower.service.client.get(f"/v1/allocations/{lower.domain}").status_code == 404


def test_released_domain(byo: Byo, customer: str) -> None:
    """A domain that was released while it pointed here is served for nobody before a new proof."""
    byo.reserve()
    byo.commit()
    byo.prove()
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    byo.tree.delegate(customer, PLATFORM_NAMES)
    byo.phase("converging", "live")
    refused = byo.post("/v1/release", fqdn=customer)
    assert (refused.status_code, refused.json()["error"]) == (409, "still-delegated")
    assert byo.served()
    assert byo.post("/v1/release", fqdn=customer, force=True).status_code in {200, 202}
    eventually(lambda: byo.service.client.get(f"/v1/allocations/{customer}").status_code == 404, 15)
    assert not byo.served()
    thief = stranger(byo)
    thief.reserve()
    thief.commit(loadBalancerIP=STRANGER)
    looked_again(thief)
    byo.tree.delegate(customer, OLD_NAMES)
    looked_again(thief)
    byo.tree.delegate(customer, PLATFORM_NAMES)
    looked_again(thief, 3)
    assert thief.get()["state"] == "reserved"
    assert not byo.tree.secure(f"console.{customer}", "A")[1]


def test_token_of_an_account_that_does_not_control_it(api: Byo, customer: str, registrar: Server) -> None:
    """An account that has the domain with other nameservers than the parent's does not control it."""
    registrar.domains[customer].nameservers = ["ns1.elsewhere.test", "ns2.elsewhere.test"]
    api.reserve("byo-api")
    reply = api.flip()
    assert reply.status_code == 409
    assert "BYO-REGISTRAR-DIFFERS" in [one["code"] for one in reply.json()["problems"]]
    assert api.get()["state"] == "reserved"
    assert registrar.writes == []
    assert not api.served()


def test_two_claims_committed_at_two_replicas(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server, registry: Registry
) -> None:
    """Of two callers with a token of the same account one gets the domain, and there is one change at the registrar."""
    settings = {f"PDM_REGISTRAR_{registrar.about.name.upper()}_URL": registrar.url}
    callers = [Byo(new_byo_service(**settings).start(), tree, customer) for _ in range(2)]
    for caller in callers:
        caller.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
        caller.reserve("byo-api")
    replies = at_once(2, lambda number: callers[number].flip())
    assert sorted(reply.status_code in {200, 202} for reply in replies) == [False, True]
    assert len([seen for seen in registrar.writes if registrar.is_change(seen)]) == 1


def test_zone_of_somebody_elses(byo: Byo, customer: str) -> None:
    """A zone on the platform's PowerDNS that this service did not make is not taken away for a customer."""
    made_by_hand = [soa(customer, PLATFORM_NAMES[0]), rr(customer, "NS", *(f"{one}." for one in PLATFORM_NAMES))]
    Zones(byo.tree.ours).create(customer, [*made_by_hand, rr(f"keep.{customer}", "A", "192.0.2.77")])
    byo.reserve()
    byo.commit()
    byo.prove()
    found = byo.until("the refusal to be told", lambda one: "lastError" in one["dns"])
    assert "that is not ours" in found["dns"]["lastError"]
    assert answers(byo.tree.ours.addresses[0], f"keep.{customer}", "A") == ["192.0.2.77"]


def test_zone_that_is_kept_until_the_caches_are_empty(byo: Byo, customer: str) -> None:
    """A released domain whose delegation has gone elsewhere is served until then, and no outage of PowerDNS hurries it."""
    byo.reserve()
    byo.commit()
    byo.prove()
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    byo.tree.delegate(customer, PLATFORM_NAMES)
    byo.phase("live")
    byo.tree.delegate(customer, OLD_NAMES)
    byo.phase("moved")
    released = byo.post("/v1/release", fqdn=customer)
    assert (released.status_code, released.json()["state"]) == (202, "releasing"), released.text
    byo.service.execute("UPDATE allocations SET due_at = now() - interval '1 minute'")
    for _ in range(2):  # what is due longer goes first
        byo.service.publish(name())
    assert byo.served()
    byo.service.execute("UPDATE allocations SET not_before = now()")
    eventually(lambda: byo.service.client.get(f"/v1/allocations/{customer}").status_code == 404, 15)
    assert not byo.served()
