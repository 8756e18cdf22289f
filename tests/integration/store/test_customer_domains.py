"""Customers' domains in the store: a proven claim becomes an allocation, which is released and leaves."""

import asyncio
from datetime import timedelta

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
    WISH,
    Entry,
    Store,
    changed,
    said,
)

EVICTED = "somebody else proved that the domain is "


# --- adopt -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "needs"), [(Mode.BYO_MANUAL, None), (Mode.BYO_API, "registrar-token")])
async def test_adopt(store: Store, mode: Mode, needs: str | None) -> None:
    """A claim that is proven and committed becomes an active allocation with its id and all it has, DNS pending, due
    now; the delegation is due to be observed, and where we are to change it the token is needed."""
    claim = await store.wished(key=b"key", tenant="team", mode=mode)
    await store.claims.prove([claim.id], Proof.TXT)
    before = await store.row("claims")
    await store.sql("UPDATE watches SET due_at = now() + interval '1 hour'")
    await store.claims.adopt(claim.id, OPERATOR)
    row = await store.row("allocations")
    carried = set(before) - {"challenge", "elsewhere_at", "expires_at", "committed_at"}
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
        await store.claims.prove([claim.id], Proof.TXT)
    async with store.unchanged():
        assert await store.claims.adopt(claim.id, CLIENT) is None


async def test_adopt_once(store: Store) -> None:
    """Of many that adopt a claim at once one does."""
    claim = await store.wished()
    await store.claims.prove([claim.id], Proof.TXT)
    found = await asyncio.gather(*(store.claims.adopt(claim.id, CLIENT) for _ in range(4)))
    assert sum(one is not None for one in found) == 1


async def test_adopt_evicts_rivals(store: Store) -> None:
    """A strong proof ends all other claims at, above and below the domain, and the memory of an orphan; no others."""
    claim = await store.wished()
    for domain in (DOMAIN, f"eu.{DOMAIN}", "example"):
        await store.claimed(domain, OTHER)
    await store.claimed("acme2.example", OTHER)
    await store.sql("INSERT INTO orphans (fqdn) VALUES ($1), ('other.example')", DOMAIN)
    await store.claims.prove([claim.id], Proof.REGISTRAR)
    await store.clear()
    assert await store.claims.adopt(claim.id, CLIENT)
    assert [row["fqdn"] for row in await store.rows("claims")] == ["acme2.example"]
    assert [row["fqdn"] for row in await store.rows("orphans")] == ["other.example"]
    for domain in (DOMAIN, f"eu.{DOMAIN}", "example"):
        entry = (await store.events(domain))[0]
        assert entry[:4] == ("evicted", "reserved", None, "claim")
        assert (entry.outcome or "").startswith(EVICTED)


async def test_adopt_by_a_weak_proof_evicts_nobody(store: Store) -> None:
    """A proof by transition leaves other claims, and the memory of an orphan, alone."""
    claim = await store.wished()
    await store.claimed(by=OTHER)
    await store.sql("INSERT INTO orphans (fqdn) VALUES ($1)", DOMAIN)
    await store.claims.prove([claim.id], Proof.TRANSITION)
    assert await store.claims.adopt(claim.id, CLIENT)
    assert (await store.row("claims"))["owner"] == "other"
    assert len(await store.rows("orphans")) == 1


async def test_adopt_evicts_a_holder_by_a_weak_proof(store: Store) -> None:
    """A strong proof takes the domain from a holder by transition alone."""
    weak = await store.wished()
    neighbour = await store.adopted("other.example", proof=Proof.TRANSITION, token=b"neighbour")
    claim = await store.wished(by=OTHER, token=b"other")
    await store.claims.prove([weak.id], Proof.TRANSITION)
    await store.claims.adopt(weak.id, CLIENT)
    await store.claims.prove([claim.id], Proof.TXT)
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
    await store.claims.prove([second.id], challenger)
    async with store.unchanged():
        with pytest.raises(Conflict):
            await store.claims.adopt(second.id, OTHER)


async def test_adopt_above_or_below_a_held_domain(store: Store) -> None:
    """A domain above or below an allocation is not adopted, however well it is proven."""
    claims = [await store.wished(domain, token=domain.encode()) for domain in (f"eu.{DOMAIN}", "example")]
    await store.reserved(DOMAIN)
    await store.claims.prove([one.id for one in claims], Proof.TXT)
    for claim in claims:
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
