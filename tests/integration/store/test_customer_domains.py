"""Customers' domains in the store: a proven claim becomes an allocation, which is released and leaves."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from pdm_service.errors import Conflict, OverlapsAllocation
from pdm_service.model.allocation import Mode, Proof
from tests.store import (
    ADDRESSES,
    CLAIMED,
    CLIENT,
    DOMAIN,
    HOUR,
    OPERATOR,
    OTHER,
    WATCH,
    WISH,
    Entry,
    Store,
    changed,
    said,
)

OF_CLAIMS = ("proof_seen_at", "registered_at", "acknowledged", "problem")
EVICTED = "somebody else proved that the domain is "


# --- adopt -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "needs"), [(Mode.BYO_MANUAL, None), (Mode.BYO_API, "registrar-token")])
async def test_adopt(store: Store, mode: Mode, needs: str | None) -> None:
    """A claim that is proven and committed becomes an active allocation with its id and all it has, DNS pending, due
    now; the delegation is due to be observed, and where we are to change it the token is needed."""
    claim = await store.wished(key=b"key", tenant="team", mode=mode)
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    before = await store.row("claims")
    await store.sql("UPDATE watches SET due_at = now() + interval '1 hour'")
    await store.claims.adopt(claim.id, OPERATOR)
    row = await store.row("allocations")
    carried = set(before) - {"challenge", "elsewhere_at", "expires_at", "committed_at", *OF_CLAIMS}
    assert {column: row[column] for column in carried} == {column: before[column] for column in carried}
    wanted = {
        "state": "active", "dns_state": "pending", "needs": needs, "expires_at": None, "declared": False,
        "announce_ds": False, "not_before": None, "load_balancer_ips": ADDRESSES, "proof": "txt", "mode": mode,
        "pool_domain": None, "subdomain": None,
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    assert row["committed_at"] == row["dns_updated_at"] == row["due_at"]
    assert await store.rows("claims") == []
    assert (await store.row("watches"))["due_at"] == row["due_at"]
    assert (await store.events(DOMAIN))[-1] == said("committed", "reserved", "active", "txt", by=OPERATOR)


@pytest.mark.parametrize("missing", ["proof", "wish"])
async def test_adopt_of_what_is_not_ready(store: Store, missing: str) -> None:
    """A claim without a proof, or whose holder has not committed, is not adopted."""
    claim = await (store.wished() if missing == "proof" else store.claimed())
    if missing != "proof":
        await store.claims.prove([claim.id], Proof.TXT, WATCH)
    async with store.unchanged():
        assert await store.claims.adopt(claim.id, CLIENT) is None


async def test_adopt_once(store: Store) -> None:
    """Of many that adopt a claim at once one does."""
    claim = await store.wished()
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    found = await asyncio.gather(*(store.claims.adopt(claim.id, CLIENT) for _ in range(4)))
    assert sum(one is not None for one in found) == 1


async def test_adopt_evicts_rivals(store: Store) -> None:
    """A strong proof ends all other claims at and below the domain, and the memory of an orphan; no others.

    Who claims a name above decides on what lies below, not the other way round.
    """
    claim = await store.wished()
    for domain in (DOMAIN, f"eu.{DOMAIN}", "example"):
        await store.claimed(domain, OTHER)
    await store.claimed("acme2.example", OTHER)
    await store.sql("INSERT INTO orphans (fqdn) VALUES ($1), ('other.example')", DOMAIN)
    await store.claims.prove([claim.id], Proof.REGISTRAR, WATCH)
    await store.clear()
    assert await store.claims.adopt(claim.id, CLIENT)
    kept = await store.sql("SELECT fqdn FROM claims ORDER BY fqdn")
    assert [row["fqdn"] for row in kept] == ["acme2.example", "example"]
    assert [row["fqdn"] for row in await store.rows("orphans")] == ["other.example"]
    for domain in (DOMAIN, f"eu.{DOMAIN}"):
        entry = (await store.events(domain))[0]
        assert entry[:4] == ("evicted", "reserved", None, "claim")
        assert (entry.outcome or "").startswith(EVICTED)


async def test_adopt_by_a_weak_proof_evicts_nobody(store: Store) -> None:
    """A proof by transition leaves other claims, and the memory of an orphan, alone."""
    claim = await store.wished()
    await store.claimed(by=OTHER)
    await store.sql("INSERT INTO orphans (fqdn) VALUES ($1)", DOMAIN)
    await store.claims.prove([claim.id], Proof.TRANSITION, WATCH)
    assert await store.claims.adopt(claim.id, CLIENT)
    assert (await store.row("claims"))["owner"] == "other"
    assert len(await store.rows("orphans")) == 1


async def test_adopt_evicts_a_holder_by_a_weak_proof(store: Store) -> None:
    """A strong proof takes the domain from a holder by transition alone."""
    weak = await store.wished()
    neighbour = await store.adopted("other.example", proof=Proof.TRANSITION, token=b"neighbour")
    claim = await store.wished(by=OTHER, token=b"other")
    await store.claims.prove([weak.id], Proof.TRANSITION, WATCH)
    await store.claims.adopt(weak.id, CLIENT)
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    await store.clear()
    assert await store.claims.adopt(claim.id, OTHER)
    row = await store.held(DOMAIN)
    assert (row["id"], row["owner"], row["proof"]) == (claim.id, "other", "txt")
    assert (await store.held("other.example"))["id"] == neighbour.id
    evicted, committed = await store.events(DOMAIN)
    assert evicted[:4] == ("evicted", "active", None, "claim")
    assert committed == said("committed", "reserved", "active", "txt", by=OTHER)


@pytest.mark.parametrize(
    ("holder", "released", "challenger"),
    [
        (Proof.TXT, False, Proof.TXT), (Proof.TXT, False, Proof.REGISTRAR),
        (Proof.TRANSITION, False, Proof.TRANSITION), (Proof.TRANSITION, True, Proof.TXT),
    ],
)  # fmt: skip
async def test_adopt_of_a_held_domain(store: Store, holder: Proof, released: bool, challenger: Proof) -> None:
    """A holder by a strong proof gives way to nobody, one by a weak proof to no weak one, nor while it is leaving."""
    second = await store.wished("other.example", OTHER)
    held = await store.adopted(proof=holder)
    # As if its claim had been opened in the moment before the domain became the other's.
    await store.sql("UPDATE claims SET (fqdn, span) = (SELECT fqdn, span FROM allocations)")
    if released:
        await store.allocations.release_byo(held.id, None, orphan=False, actor=CLIENT)
    await store.claims.prove([second.id], challenger, WATCH)
    async with store.unchanged():
        with pytest.raises(Conflict):
            await store.claims.adopt(second.id, OTHER)


async def test_adopt_above_or_below_a_held_domain(store: Store) -> None:
    """A domain above or below an allocation is not adopted, however well it is proven."""
    claims = [await store.wished(domain, token=domain.encode()) for domain in (f"eu.{DOMAIN}", "example")]
    await store.reserved(DOMAIN)
    await store.claims.prove([one.id for one in claims], Proof.TXT, WATCH)
    for claim in claims:
        async with store.unchanged():
            with pytest.raises(OverlapsAllocation):
                await store.claims.adopt(claim.id, CLIENT)


@pytest.mark.parametrize(
    ("proof", "age", "adopted"),
    [
        (Proof.TXT, timedelta(), True), (Proof.TXT, timedelta(minutes=2), False),
        (Proof.TRANSITION, timedelta(), True), (Proof.TRANSITION, timedelta(minutes=2), False),
        (Proof.REGISTRAR, timedelta(hours=23), True), (Proof.REGISTRAR, timedelta(hours=25), False),
    ],
)  # fmt: skip
async def test_adopt_by_an_old_proof(store: Store, proof: Proof, age: timedelta, adopted: bool) -> None:
    """What DNS showed counts at the moment; that a registrar's token showed it, for a day: the commit may have died."""
    claim = await store.wished()
    await store.claims.prove([claim.id], proof, WATCH)
    await store.sql("UPDATE claims SET proof_seen_at = now() - $1::interval", age)
    assert (await store.claims.adopt(claim.id, CLIENT) is not None) is adopted


async def test_adopt_by_a_proof_of_the_release_before(store: Store) -> None:
    """A proof without a time, as the release before wrote it, counts when it is seen again."""
    claim = await store.wished()
    await store.sql("UPDATE claims SET proof = 'registrar'")
    assert await store.claims.adopt(claim.id, CLIENT) is None
    await store.claims.prove([claim.id], Proof.REGISTRAR, CLIENT)
    assert await store.claims.adopt(claim.id, CLIENT)


@pytest.mark.parametrize(("later", "adopted"), [(Proof.TXT, False), (Proof.REGISTRAR, False), (None, True)])
async def test_adopt_against_a_later_proof(store: Store, later: Proof | None, adopted: bool) -> None:
    """Of two strong proofs of a domain the one counts that was seen last, whether or not its holder has committed."""
    claim, rival = await store.wished(), await store.claimed(by=OTHER, token=b"other")
    await store.claims.prove([claim.id], Proof.REGISTRAR, WATCH)
    if later:
        await store.claims.prove([rival.id], later, WATCH)
    assert (await store.claims.adopt(claim.id, CLIENT) is not None) is adopted


@pytest.mark.parametrize(("days", "gives_way"), [(-1, True), (1, False)])
@pytest.mark.parametrize("known_by", ["delegation", "registry"])
@pytest.mark.parametrize("proof", [Proof.TXT, Proof.TRANSITION])
async def test_adopt_of_a_domain_that_changed_hands(
    store: Store, days: int, gives_way: bool, known_by: str, proof: Proof
) -> None:
    """A holder whose proof is older than the registration, or than the delegation's leaving, gives way to a strong one."""
    held = await store.adopted()
    await store.sql("UPDATE allocations SET committed_at = now() + $1::interval", timedelta(days=days))
    moment = await store.now()
    if not gives_way:
        with pytest.raises(Conflict):
            await store.wished(by=OTHER, outdated=moment)
        return
    registered = {"registered_at": moment} if known_by == "registry" else {}
    claim = await store.wished(by=OTHER, token=b"other", outdated=moment, **registered)
    await store.claims.prove([claim.id], proof, WATCH)
    outdated = moment if known_by == "delegation" else None
    if proof.strong:
        await store.claims.adopt(claim.id, OTHER, outdated)
    else:
        with pytest.raises(Conflict):
            await store.claims.adopt(claim.id, OTHER, outdated)
    assert (await store.held(DOMAIN))["id"] == (claim.id if proof.strong else held.id)


async def test_adopt_above_a_held_domain(store: Store) -> None:
    """Whoever proves the upper name decides: what is held below ends if the commit acknowledges it, in DNS first."""
    lower = await store.adopted(f"eu.{DOMAIN}", OTHER, token=b"lower")
    claim = await store.wished(above_others=True)
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    async with store.unchanged():
        with pytest.raises(OverlapsAllocation, match=f"eu.{DOMAIN}"):
            await store.claims.adopt(claim.id, CLIENT)
    await store.claims.wish(claim.id, msgspec.structs.replace(WISH, acknowledged=("BYO-BELOW",)), CLIENT)
    assert await store.claims.adopt(claim.id, CLIENT) is None
    row = await store.held(lower.fqdn)
    assert (row["id"], row["state"], row["dns_state"]) == (lower.id, "releasing", "removing")
    assert [one["fqdn"] for one in await store.rows("orphans")] == [lower.fqdn]
    assert (await store.events(lower.fqdn))[-1][:4] == ("evicted", "active", "releasing", "claim")
    (waiting,) = await store.claims.of(DOMAIN)
    assert f"eu.{DOMAIN}" in (waiting.dns.error or "")
    assert await store.claims.adopt(claim.id, CLIENT) is None
    await store.sql("DELETE FROM allocations")
    assert await store.claims.adopt(claim.id, CLIENT)


async def test_a_weak_proof_sends_nobody_away(store: Store) -> None:
    """A proof by transition ends nothing below the domain, whatever its commit acknowledges."""
    await store.adopted(f"eu.{DOMAIN}", OTHER, token=b"lower")
    claim = await store.claimed(above_others=True)
    await store.claims.wish(claim.id, msgspec.structs.replace(WISH, acknowledged=("BYO-BELOW",)), CLIENT)
    await store.claims.prove([claim.id], Proof.TRANSITION, WATCH)
    async with store.unchanged():
        with pytest.raises(OverlapsAllocation):
            await store.claims.adopt(claim.id, CLIENT)


# --- release -----------------------------------------------------------------------------------------


async def test_release(store: Store) -> None:
    """A released domain is on its way out, its zone served until no cache sends anybody here; it needs nothing more."""
    held = await store.adopted(mode=Mode.BYO_API)
    await store.sql("UPDATE allocations SET dns_error = 'no', attempts = 3")
    before = await store.row("allocations")
    until = await store.now() + HOUR
    assert await store.allocations.release_byo(held.id, until, orphan=False, actor=CLIENT)
    after = await store.row("allocations")
    assert changed(before, after) == {
        "state", "dns_state", "dns_updated_at", "dns_error", "needs", "not_before", "due_at", "generation", "attempts"
    }  # fmt: skip
    assert (after["state"], after["dns_state"], after["needs"]) == ("releasing", "removing", None)
    assert (after["dns_error"], after["attempts"]) == (None, 0)
    assert after["not_before"] == after["due_at"] == until
    assert after["generation"] > before["generation"]
    assert await store.rows("orphans") == []
    assert (await store.events(DOMAIN))[-1] == said("released", "active", "releasing")


@pytest.mark.parametrize("until", [None, -HOUR])
async def test_release_at_once(store: Store, until: timedelta | None) -> None:
    """A domain whose caches are known to be empty, or that is released by force, is due now."""
    held = await store.adopted()
    not_before = None if until is None else await store.now() + until
    assert await store.allocations.release_byo(held.id, not_before, orphan=False, actor=CLIENT)
    row = await store.row("allocations")
    assert (row["not_before"], row["due_at"]) == (not_before, row["dns_updated_at"])


async def test_release_of_an_orphan(store: Store) -> None:
    """A domain released while it still points here is remembered, anew each time, and the trail says so."""
    await store.sql("INSERT INTO orphans (fqdn, since) VALUES ($1, now() - interval '1 year')", DOMAIN)
    held = await store.adopted(proof=Proof.TRANSITION)
    assert await store.allocations.release_byo(held.id, None, orphan=True, actor=CLIENT)
    orphan = await store.row("orphans")
    assert (orphan["fqdn"], orphan["since"]) == (DOMAIN, (await store.row("allocations"))["dns_updated_at"])
    assert (await store.events(DOMAIN))[-1] == said("released", "active", "releasing", "still pointing here")


async def test_release_of_what_is_no_active_domain(store: Store) -> None:
    """A domain that is on its way out already is not released again, nor is a pool name in this way."""
    held = await store.adopted()
    name = await store.active()
    await store.allocations.release_byo(held.id, None, orphan=False, actor=CLIENT)
    async with store.unchanged():
        assert await store.allocations.release_byo(held.id, None, orphan=True, actor=CLIENT) is None
        assert await store.allocations.release_byo(name.id, None, orphan=True, actor=CLIENT) is None


async def test_hasten(store: Store) -> None:
    """A domain on its way out, whose zone is still served, is taken away now; that is no transition of its own."""
    held = await store.adopted()
    await store.allocations.release_byo(held.id, await store.now() + HOUR, orphan=False, actor=CLIENT)
    await store.sql("UPDATE allocations SET attempts = 2")
    before, trail = await store.row("allocations"), await store.events(DOMAIN)
    assert await store.allocations.hasten(held.id)
    after = await store.row("allocations")
    assert changed(before, after) == {"not_before", "due_at", "generation", "attempts"}
    assert (after["not_before"], after["attempts"]) == (None, 0)
    assert before["dns_updated_at"] < after["due_at"] <= await store.now()
    assert await store.events(DOMAIN) == trail


async def test_hasten_of_what_waits_for_nothing(store: Store) -> None:
    """A domain that is active, or whose zone is not kept any more, is not hastened."""
    held = await store.adopted()
    async with store.unchanged():
        assert await store.allocations.hasten(held.id) is None
    await store.allocations.release_byo(held.id, None, orphan=False, actor=CLIENT)
    async with store.unchanged():
        assert await store.allocations.hasten(held.id) is None


async def test_a_domain_that_is_gone_is_kept_for_nobody(store: Store) -> None:
    """A customer's domain that DNS has no more is free: it is not put into quarantine."""
    held = await store.adopted()
    await store.allocations.release_byo(held.id, None, orphan=False, actor=CLIENT)
    assert await store.worklist.record_removed(await store.leased())
    assert await store.rows("allocations") == await store.rows("quarantine") == []
    assert (await store.events(DOMAIN))[-1] == Entry("removed", "releasing", None, "publisher")
    assert CLAIMED in await store.events(DOMAIN)


async def test_what_was_imported_is_read_back(store: Store) -> None:
    """What was copied from the zone before is read as it was stored; the release before left out some trailing dots."""
    held = await store.adopted()
    assert held.imports == WISH.imports
    await store.sql("UPDATE allocations SET imports = replace(imports::text, $1 || '.\"', $1 || '\"')::jsonb", DOMAIN)
    assert (await store.row("allocations"))["imports"].count(f'"{DOMAIN}"') == 1
    found = await store.allocations.find(DOMAIN)
    assert found is not None
    assert found.imports == WISH.imports
