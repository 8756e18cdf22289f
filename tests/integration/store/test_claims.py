"""The store's claims: opened, renewed, committed, proven, withdrawn, expired; each refusal changes nothing."""

from datetime import timedelta

import msgspec
import pytest

from pdm_service.errors import Conflict, IdempotencyKeyReused, OverlapsAllocation
from pdm_service.model.allocation import Mode, Proof
from tests.store import (
    ADDRESSES,
    CLAIMED,
    CLIENT,
    DAY,
    DOMAIN,
    HOUR,
    MINUTE,
    OPERATOR,
    OTHER,
    TTL,
    WATCH,
    WISH,
    Entry,
    Store,
    changed,
    ids,
    said,
)

UNPROVEN = said("committed", "reserved", "reserved", "unproven")


def proven(proof: str) -> Entry:
    return Entry("proven", "reserved", "reserved", "watch", proof)


# --- questions ---------------------------------------------------------------------------------------


async def test_find(store: Store) -> None:
    """A claim is found by its token, also when it has expired; with a client's name only if it is theirs."""
    claim = await store.claimed(ttl=-MINUTE)
    assert await store.claims.find(DOMAIN, b"token", None) == claim
    assert await store.claims.find(DOMAIN, b"token", "client") == claim
    assert await store.claims.find(DOMAIN, b"token", "other") is None
    assert await store.claims.find(DOMAIN, b"another", None) is None
    assert await store.claims.find("other.example", b"token", None) is None


async def test_again(store: Store) -> None:
    """A claim is found by the Idempotency-Key that its client opened it with, and by no other client's."""
    claim = await store.claimed(key=b"key")
    assert await store.claims.again("client", b"key") == claim
    assert await store.claims.again("client", b"another") is None
    assert await store.claims.again("other", b"key") is None


async def test_of(store: Store) -> None:
    """The live claims of a domain come oldest first; of one client, theirs alone."""
    first = await store.claimed()
    second = await store.claimed(by=OTHER)
    await store.claimed(ttl=-MINUTE)
    await store.claimed("other.example")
    assert ids(await store.claims.of(DOMAIN)) == [first.id, second.id]
    assert ids(await store.claims.of(DOMAIN, "other")) == [second.id]


async def test_held_by_others(store: Store) -> None:
    """A live allocation at or above a domain holds it against all but its own token."""
    await store.reserved("acme.pool.test")
    held = store.claims.held_by_others
    for domain in ("acme.pool.test", "eu.acme.pool.test"):
        assert await held(domain, None) == "acme.pool.test"
        assert await held(domain, b"another") == "acme.pool.test"
        assert await held(domain, b"token of acme.pool.test") is None
    for domain in ("b.pool.test", "pool.test"):
        assert await held(domain, None) is None
    await store.sql("UPDATE allocations SET expires_at = now()")
    assert await held("acme.pool.test", None) is None


@pytest.mark.parametrize(
    ("proof", "domain", "holds"),
    [(Proof.TXT, DOMAIN, True), (Proof.TRANSITION, DOMAIN, False), (Proof.TRANSITION, f"eu.{DOMAIN}", True)],
)
async def test_held_by_a_weak_proof(store: Store, proof: Proof, domain: str, holds: bool) -> None:
    """A holder by transition alone does not hold its own name against a better proof, but does those around it."""
    held = await store.adopted(proof=proof)
    assert (await store.claims.held_by_others(domain, None) is not None) is holds
    await store.allocations.release_byo(held.id, None, orphan=False, actor=CLIENT)
    assert await store.claims.held_by_others(domain, None) == DOMAIN


# --- open --------------------------------------------------------------------------------------------


async def test_open(store: Store) -> None:
    """A claim is a row with its challenge that ends after its time, and its delegation is due to be observed now."""
    await store.claimed(key=b"key", tenant="team")
    row = await store.row("claims")
    assert row["expires_at"] - row["reserved_at"] == TTL
    wanted = {
        "fqdn": DOMAIN, "mode": "byo-manual", "owner": "client", "tenant": "team", "created_by": "ann",
        "token_digest": b"token", "token_nonce": b"nonce", "idempotency_digest": b"key", "request_digest": b"request",
        "challenge": "challenge", "proof": None, "elsewhere_at": None, "committed_at": None, "imports": None,
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    watch = await store.row("watches")
    assert (watch["fqdn"], watch["due_at"], watch["lease_id"]) == (DOMAIN, row["reserved_at"], None)
    assert await store.events(DOMAIN) == [CLAIMED]
    event = await store.row("events")
    assert (event["tenant"], event["allocation_id"]) == ("team", row["id"])


async def test_open_beside_others(store: Store) -> None:
    """Any number of callers claim a domain, and domains above and below it; what was watched already is due again."""
    await store.claimed()
    await store.sql("UPDATE watches SET due_at = now() + interval '1 hour'")
    await store.claimed(by=OTHER)
    await store.claimed(f"eu.{DOMAIN}", by=OTHER)
    assert [row["owner"] for row in await store.sql("SELECT owner FROM claims ORDER BY reserved_at")] == [
        "client", "other", "other",
    ]  # fmt: skip
    assert await store.sql("SELECT fqdn FROM watches WHERE due_at > now()") == []


async def test_open_of_a_held_domain(store: Store) -> None:
    """A domain that is an allocation is not claimed, nor is one below it; one above it is by who says that they know."""
    await store.adopted()
    async with store.unchanged():
        with pytest.raises(Conflict):
            await store.claimed()
        for domain in (f"eu.{DOMAIN}", "example"):
            with pytest.raises(OverlapsAllocation):
                await store.claimed(domain)
    assert await store.claimed("example", above_others=True)


async def test_open_with_the_key_of_another_request(store: Store) -> None:
    """A client's Idempotency-Key opens one claim; another client may have the same key."""
    await store.claimed(key=b"key")
    async with store.unchanged():
        with pytest.raises(IdempotencyKeyReused):
            await store.claimed("other.example", key=b"key")
    assert await store.claimed("other.example", OTHER, key=b"key")


# --- renew, withdraw ---------------------------------------------------------------------------------


async def test_renew(store: Store) -> None:
    """A renewed claim ends later, never earlier, and nothing else of it changes."""
    await store.claimed()
    before = await store.row("claims")
    assert await store.claims.renew(DOMAIN, b"token", HOUR, CLIENT)
    after = await store.row("claims")
    assert changed(before, after) == {"expires_at"}
    assert HOUR - TTL <= after["expires_at"] - before["expires_at"] < HOUR
    assert await store.claims.renew(DOMAIN, b"token", MINUTE, CLIENT)
    assert await store.row("claims") == after
    assert await store.events(DOMAIN) == [CLAIMED, *[said("renewed", "reserved", "reserved")] * 2]


async def test_renew_of_what_is_not_the_callers(store: Store) -> None:
    """With another token, or by another client, nothing is renewed; who may do everything needs only the token."""
    await store.claimed()
    async with store.unchanged():
        assert await store.claims.renew(DOMAIN, b"another", HOUR, CLIENT) is None
        assert await store.claims.renew(DOMAIN, b"token", HOUR, OTHER) is None
    assert await store.claims.renew(DOMAIN, b"token", HOUR, OPERATOR)


async def test_withdraw(store: Store) -> None:
    """A released claim is gone, and the others on the domain stay."""
    claim = await store.claimed()
    rival = await store.claimed(by=OTHER)
    assert await store.claims.withdraw(claim.id, CLIENT) == claim
    assert (await store.row("claims"))["id"] == rival.id
    assert (await store.events(DOMAIN))[-1] == said("released", "reserved", None)


async def test_nothing_is_done_to_an_expired_claim(store: Store) -> None:
    """A claim that has expired is not renewed, withdrawn, committed, proven nor adopted."""
    claim = await store.wished()
    await store.claims.prove([claim.id], Proof.TRANSITION, WATCH)
    await store.sql("UPDATE claims SET expires_at = now()")
    async with store.unchanged():
        assert await store.claims.renew(DOMAIN, b"token", HOUR, CLIENT) is None
        assert await store.claims.withdraw(claim.id, CLIENT) is None
        assert await store.claims.wish(claim.id, WISH, CLIENT) is None
        await store.claims.prove([claim.id], Proof.TXT, WATCH)
        assert await store.claims.adopt(claim.id, CLIENT) is None


# --- what the holder wants, and what proves it ---------------------------------------------------------


async def test_wish(store: Store) -> None:
    """What a claim's holder wants served is kept with it, and the claim waits seven days for its proof."""
    claim = await store.claimed()
    before = await store.row("claims")
    await store.claims.wish(claim.id, WISH, CLIENT)
    after = await store.row("claims")
    assert changed(before, after) == {"committed_at", "expires_at", "load_balancer_ips", "sovereign_fqdn", "imports"}
    await store.claims.wish(claim.id, msgspec.structs.replace(WISH, acknowledged=("BYO-BELOW",)), CLIENT)
    assert changed(after, await store.row("claims")) <= {"acknowledged", "expires_at"}
    assert (after["load_balancer_ips"], after["sovereign_fqdn"]) == (ADDRESSES, "acme.platform.test")
    assert after["expires_at"] - after["committed_at"] == timedelta(days=7)
    found = await store.claims.find(DOMAIN, b"token", None)
    assert found is not None
    assert found.imports == WISH.imports
    assert await store.events(DOMAIN) == [CLAIMED, UNPROVEN, UNPROVEN]


async def test_greatest_age(store: Store) -> None:
    """Neither a renewal nor a commit lets a claim live beyond its greatest age; nor a reservation of a pool name."""
    claim, held = await store.claimed(), await store.reserved()
    for table in ("claims", "allocations"):
        await store.sql(f"UPDATE {table} SET reserved_at = now() - interval '29 days 20 hours'")
    assert await store.claims.renew(DOMAIN, b"token", 2 * DAY, CLIENT)
    assert await store.claims.wish(claim.id, WISH, CLIENT)
    assert await store.allocations.renew(held.fqdn, held.credentials.token_digest, 2 * DAY, CLIENT)
    for table in ("claims", "allocations"):
        row = await store.row(table)
        assert row["expires_at"] == row["reserved_at"] + 30 * DAY
        await store.sql(f"UPDATE {table} SET reserved_at = reserved_at - interval '5 hours'")
    before = await store.row("claims")
    assert await store.claims.renew(DOMAIN, b"token", 2 * DAY, CLIENT)
    assert await store.row("claims") == before


async def test_wish_again(store: Store) -> None:
    """A commit that comes again leaves the time of the first; the trail has the proof that is there by now."""
    claim = await store.wished()
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    again = await store.claims.wish(claim.id, WISH, CLIENT)
    assert again is not None
    assert again.committed_at == claim.committed_at
    assert (await store.events(DOMAIN))[-1] == said("committed", "reserved", "reserved", "txt")


async def test_prove(store: Store) -> None:
    """A proof is recorded of the claims that are named, and of no other."""
    claim = await store.claimed()
    await store.claimed(by=OTHER)
    await store.claims.prove([], Proof.TXT, WATCH)
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    assert await store.sql("SELECT owner, proof FROM claims ORDER BY owner") == [
        {"owner": "client", "proof": "txt"}, {"owner": "other", "proof": None},
    ]  # fmt: skip
    assert (await store.events(DOMAIN))[2:] == [proven("txt")]


@pytest.mark.parametrize(
    ("before", "then", "is_better"),
    [
        (Proof.TRANSITION, Proof.TXT, True), (Proof.TRANSITION, Proof.REGISTRAR, True),
        (Proof.TXT, Proof.TRANSITION, False), (Proof.REGISTRAR, Proof.TRANSITION, False),
        (Proof.TXT, Proof.REGISTRAR, True), (Proof.REGISTRAR, Proof.TXT, True),
    ],
)  # fmt: skip
async def test_prove_what_is_proven(store: Store, before: Proof, then: Proof, is_better: bool) -> None:
    """A strong proof takes the place of any, a weak one of none that is strong."""
    claim = await store.claimed()
    await store.claims.prove([claim.id], before, WATCH)
    if is_better:
        await store.claims.prove([claim.id], then, WATCH)
        assert (await store.events(DOMAIN))[-1] == proven(then)
    else:
        async with store.unchanged():
            await store.claims.prove([claim.id], then, WATCH)
    assert (await store.row("claims"))["proof"] == (then if is_better else before)


async def test_prove_again(store: Store) -> None:
    """A proof that is seen again has the time of the last time, and no second entry in the trail."""
    claim = await store.claimed()
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    before, entries = await store.row("claims"), await store.events(DOMAIN)
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    after = await store.row("claims")
    assert changed(before, after) == {"proof_seen_at"}
    assert after["proof_seen_at"] > before["proof_seen_at"]
    assert await store.events(DOMAIN) == entries


async def test_who_proved(store: Store) -> None:
    """The trail says who saw a proof: the watch, or the client whose registrar token showed it."""
    claim = await store.claimed()
    await store.claims.prove([claim.id], Proof.REGISTRAR, CLIENT)
    assert (await store.events(DOMAIN))[-1] == said("proven", "reserved", "reserved", "registrar")


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("denied", [False, True])
@pytest.mark.parametrize(("proof", "hours"), [(Proof.TXT, 23), (Proof.TXT, 25), (Proof.REGISTRAR, 23), (None, 25)])
async def test_lapse(store: Store, committed: bool, denied: bool, proof: Proof | None, hours: int) -> None:
    """A proof that was not seen for a day is none; a committed claim's TXT is none as soon as it is not there."""
    claim = await (store.wished() if committed else store.claimed())
    seen = await store.claimed(by=OTHER, token=b"other")
    await store.claims.prove([seen.id, *([claim.id] if proof else [])], proof or Proof.TXT, WATCH)
    await store.sql("UPDATE claims SET proof_seen_at = now() - $1::interval", hours * HOUR)
    await store.claims.lapse(DOMAIN, [seen.id], denied=denied)
    lapsed = proof is not None and (hours > 24 or (proof is Proof.TXT and committed and denied))
    by_owner = {row["owner"]: row["proof"] for row in await store.rows("claims")}
    assert by_owner == {"client": None if lapsed else proof, "other": proof or "txt"}
    said_so = [one for one in await store.events(DOMAIN) if one.action == "lapsed"]
    assert said_so == ([Entry("lapsed", "reserved", "reserved", "watch", proof)] if lapsed else [])


async def test_refused(store: Store) -> None:
    """Why a proven claim cannot be had stands with it until its next commit, and is news once."""
    claim = await store.wished()
    assert await store.claims.refused(claim.id, "no") is True
    assert await store.claims.refused(claim.id, "no") is False
    assert [one.dns.error for one in await store.claims.of(DOMAIN)] == ["no"]
    await store.claims.wish(claim.id, WISH, CLIENT)
    assert [one.dns.error for one in await store.claims.of(DOMAIN)] == [None]


async def test_seen_elsewhere(store: Store) -> None:
    """That a domain points elsewhere is noted with the claims that were open when the observation began."""
    await store.claimed("other.example")
    await store.claimed()
    since = await store.now()
    await store.claimed(by=OTHER)
    before = await store.events(DOMAIN)
    await store.claims.seen_elsewhere(DOMAIN, since)
    rows = await store.sql("SELECT elsewhere_at FROM claims ORDER BY reserved_at")
    assert [row["elsewhere_at"] for row in rows] == [None, since, None]
    assert await store.events(DOMAIN) == before


@pytest.mark.parametrize(("days", "kept"), [(29, True), (31, False)])
async def test_an_orphan_is_forgotten(store: Store, days: int, kept: bool) -> None:
    """A domain that was released while it pointed here needs a strong proof until it was elsewhere 30 days later."""
    await store.sql("INSERT INTO orphans (fqdn) VALUES ($1), ('other.example')", DOMAIN)
    await store.claims.seen_elsewhere(DOMAIN, await store.now() + days * DAY)
    assert [row["fqdn"] for row in await store.rows("orphans")] == ([DOMAIN] if kept else []) + ["other.example"]


# --- proof by transition -------------------------------------------------------------------------------


async def seen_elsewhere(store: Store, claim_owner: str = "client") -> None:
    """Have a claim be open while the domain pointed elsewhere."""
    await store.sql("UPDATE claims SET elsewhere_at = now() WHERE owner = $1", claim_owner)


async def test_prove_by_transition(store: Store) -> None:
    """A committed claim that was open while the domain pointed elsewhere is proven by its coming here; no row changes."""
    claim = await store.wished()
    await seen_elsewhere(store)
    # What others have elsewhere does not matter.
    await store.claimed("acme2.example", OTHER)
    await store.reserved()
    await store.sql("INSERT INTO orphans (fqdn) VALUES ('acme2.example')")
    async with store.unchanged():
        assert await store.claims.prove_by_transition(DOMAIN, await store.now()) == [claim.id]
        assert await store.claims.prove_by_transition("other.example", await store.now()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE claims SET mode = 'byo-api'",
        "UPDATE claims SET committed_at = NULL",
        "UPDATE claims SET proof = 'txt'",
        "UPDATE claims SET expires_at = now()",
        "UPDATE claims SET elsewhere_at = NULL",
        "UPDATE claims SET elsewhere_at = now() + interval '1 minute'",
        "INSERT INTO orphans (fqdn) SELECT fqdn FROM claims",
    ],
)
async def test_no_proof_by_transition(store: Store, statement: str) -> None:
    """By the nameservers of the registrar's token, uncommitted, proven, expired, never seen elsewhere, seen there
    later than the change, or released while it pointed here: the delegation proves nothing."""
    await store.wished()
    await seen_elsewhere(store)
    await store.database.execute(statement)
    assert await store.claims.prove_by_transition(DOMAIN, await store.now()) == []


@pytest.mark.parametrize("domain", [DOMAIN, f"eu.{DOMAIN}", "example"])
async def test_no_proof_by_transition_beside_others(store: Store, domain: str) -> None:
    """While another live claim is at, above or below the domain its delegation proves nobody's; afterwards it does."""
    claim = await store.wished()
    await seen_elsewhere(store)
    await store.claimed(domain, OTHER)
    assert await store.claims.prove_by_transition(DOMAIN, await store.now()) == []
    await store.sql("UPDATE claims SET expires_at = now() WHERE owner = 'other'")
    assert await store.claims.prove_by_transition(DOMAIN, await store.now()) == [claim.id]


async def test_no_proof_by_transition_beside_an_allocation(store: Store) -> None:
    """While somebody holds the domain, or one above or below it, its delegation proves nobody's; afterwards it does."""
    claim = await store.wished(f"acme.{DOMAIN}")
    await seen_elsewhere(store)
    await store.reserved(DOMAIN)
    assert await store.claims.prove_by_transition(claim.fqdn, await store.now()) == []
    await store.sql("UPDATE allocations SET expires_at = now()")
    assert await store.claims.prove_by_transition(claim.fqdn, await store.now()) == [claim.id]


# --- housekeeping ------------------------------------------------------------------------------------


async def test_expire(store: Store) -> None:
    """Claims are deleted an hour after they expired, and counted."""
    await store.claimed("old.example", ttl=-2 * HOUR)
    await store.claimed(ttl=-MINUTE)
    await store.claimed("live.example", mode=Mode.BYO_API)
    assert await store.claims.expire() == 1
    assert [row["fqdn"] for row in await store.sql("SELECT fqdn FROM claims ORDER BY fqdn")] == [DOMAIN, "live.example"]
    assert await store.events("old.example") == [CLAIMED, Entry("expired", "reserved", None, "clock")]
    assert await store.claims.expire() == 0


async def test_a_claim_as_an_allocation(store: Store) -> None:
    """A claim reads as a reservation of nothing in DNS; once committed its DNS is pending, and it says what it needs."""
    claim = await store.claimed()
    assert (claim.state, claim.dns.state, claim.needs, claim.challenge) == ("reserved", "none", "proof", "challenge")
    wished = await store.claims.wish(claim.id, WISH, CLIENT)
    assert wished is not None
    assert (wished.state, wished.dns.state, wished.dns.updated_at) == ("reserved", "pending", wished.committed_at)
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    assert [one.needs for one in await store.claims.of(DOMAIN)] == [None]
    await store.sql("UPDATE claims SET mode = 'byo-api'")
    assert [one.needs for one in await store.claims.of(DOMAIN)] == ["registrar-token"]
