"""Claims in PostgreSQL: who may have a customer's domain, by the rows that each step leaves."""

from datetime import datetime

import pytest

from pdm_service.callers import Actor, Quotas
from pdm_service.errors import Conflict, IdempotencyKeyReused, OverlapsAllocation, QuotaExceeded
from pdm_service.model.allocation import Mode, Needs, Proof
from pdm_service.model.records import RRset
from pdm_service.model.tokens import Credentials
from pdm_service.store.claims import KEPT, Wish
from pdm_service.store.rows import rrsets_of
from tests.integration.conftest import ADDRESSES, ANN, BOB, DAY, HOUR, MINUTE, POOL, Tables

NAME = "own.test"
MX = RRset(name="own.test.", type="MX", ttl=300, contents=("10 mx.old.net.",))
CLAIMED = ("reserved", "ann", None, "reserved", "byo-manual")
WISHED = ("committed", "ann", "reserved", "reserved", "unproven")


async def now(tables: Tables) -> datetime:
    return await tables.connection.fetchval("SELECT now()")


async def claims_of(tables: Tables, fqdn: str = NAME) -> list[str]:
    return [row["challenge"] for row in await tables.connection.fetch("SELECT * FROM claims WHERE fqdn = $1", fqdn)]


async def test_open(tables: Tables) -> None:
    """A claim holds up nobody: any number may wait for a proof, and the delegation is watched."""
    claim = await tables.claimed(NAME, tenant="team")
    row = await tables.row("claims", NAME)
    assert (row["id"], row["challenge"], row["proof"], row["committed_at"]) == (claim.id, "challenge-claim", None, None)
    assert row["expires_at"] - row["reserved_at"] == HOUR
    assert (await tables.row("watches", NAME))["due_at"] is not None
    assert await tables.events(NAME) == [CLAIMED]
    assert await tables.row("allocations", NAME) is None
    await tables.claimed(NAME, "second", BOB)
    assert len(await claims_of(tables)) == 2


async def test_open_of_a_held_domain(tables: Tables) -> None:
    """A domain that somebody has, and one above or below it, cannot be claimed; one that came by transition can."""
    await tables.adopted(NAME)
    with pytest.raises(Conflict):
        await tables.claimed(NAME, "second", BOB)
    for fqdn in (f"x.{NAME}", "test"):
        with pytest.raises(OverlapsAllocation):
            await tables.claimed(fqdn, "second", BOB)
    await tables.adopted("weak.example", "third", proof=Proof.TRANSITION)
    assert await tables.claimed("weak.example", "fourth", BOB)
    assert await tables.claims.held_by_others(NAME, b"claim") is None
    assert await tables.claims.held_by_others(f"x.{NAME}", b"other") == NAME


async def test_open_with_a_key_that_was_used(tables: Tables) -> None:
    """A client's Idempotency-Key stands for one claim, and finds it again."""
    keyed = Credentials(token_digest=b"t", token_nonce=b"n", idempotency_digest=b"key")
    claim = await tables.claimed(NAME, credentials=keyed)
    with pytest.raises(IdempotencyKeyReused):
        await tables.claimed("other.test", credentials=keyed)
    assert await tables.claims.again("ann", b"key") == claim
    assert await tables.claims.again("bob", b"key") is None
    assert await tables.claimed("other.test", actor=BOB, credentials=keyed)


async def test_open_over_the_quota(tables: Tables) -> None:
    """Claims count as reservations."""
    counted = Actor("ann", quotas=Quotas(reservations=1))
    await tables.claimed(NAME, actor=counted)
    with pytest.raises(QuotaExceeded):
        await tables.claimed("other.test", "second", counted)
    assert await claims_of(tables, "other.test") == []


async def test_renew_and_withdraw(tables: Tables) -> None:
    """A live claim lasts longer, and is taken back, by its holder alone; an expired one is neither."""
    claim = await tables.claimed(NAME)
    assert await tables.claims.renew(NAME, b"claim", DAY, BOB) is None
    assert await tables.claims.renew(NAME, b"wrong", DAY, ANN) is None
    assert (await tables.claims.renew(NAME, b"claim", DAY, ANN)).expires_at > claim.expires_at
    assert (await tables.claims.withdraw(claim.id, ANN)).id == claim.id
    assert await tables.claims.withdraw(claim.id, ANN) is None
    assert await tables.events(NAME) == [
        CLAIMED, ("renewed", "ann", "reserved", "reserved", None), ("released", "ann", "reserved", None, None),
    ]  # fmt: skip
    late = await tables.claimed(NAME, "late")
    await tables.ago("claims", NAME, expires_at=MINUTE)
    assert await tables.claims.renew(NAME, b"late", DAY, ANN) is None
    assert await tables.claims.withdraw(late.id, ANN) is None
    assert (await tables.claims.find(NAME, b"late", "ann")).expired
    assert await tables.claims.find(NAME, b"late", "bob") is None
    assert await tables.claims.of(NAME) == []


async def test_wish(tables: Tables) -> None:
    """What a claim's holder wants served is stored, and the claim waits longer for its proof."""
    claim = await tables.claimed(NAME)
    wish = Wish(addresses=ADDRESSES, sovereign_fqdn="s.test", imports=(MX,))
    found = await tables.claims.wish(claim.id, wish, ANN)
    row = await tables.row("claims", NAME)
    assert (tuple(row["load_balancer_ips"]), row["sovereign_fqdn"], rrsets_of(row["imports"])) == (
        ADDRESSES, "s.test", (MX,),
    )  # fmt: skip
    assert row["expires_at"] - row["committed_at"] == KEPT
    assert (found.needs, found.imports) == (Needs.PROOF, (MX,))
    assert await tables.events(NAME) == [CLAIMED, WISHED]
    await tables.ago("claims", NAME, expires_at=MINUTE)
    assert await tables.claims.wish(claim.id, wish, ANN) is None


async def test_prove(tables: Tables) -> None:
    """A proof is recorded once, and gives way only to a better one."""
    claim = await tables.claimed(NAME)
    for proof in (Proof.TRANSITION, Proof.TXT, Proof.REGISTRAR):
        await tables.claims.prove([claim.id], proof)
    await tables.claims.prove([], Proof.TXT)
    assert (await tables.row("claims", NAME))["proof"] == "txt"
    assert await tables.events(NAME) == [
        CLAIMED, *(("proven", "watch", "reserved", "reserved", proof) for proof in ("transition", "txt"))
    ]  # fmt: skip
    await tables.claimed("late.test", "late")
    await tables.ago("claims", "late.test", expires_at=MINUTE)
    await tables.claims.prove([(await tables.row("claims", "late.test"))["id"]], Proof.TXT)
    assert (await tables.row("claims", "late.test"))["proof"] is None


async def test_a_transition_proves(tables: Tables) -> None:
    """A claim that was open when the domain was last seen elsewhere is proven by its coming here."""
    claim = await tables.wished(NAME)
    moment = await now(tables)
    assert await tables.claims.prove_by_transition(NAME, moment + MINUTE) == []
    await tables.claims.seen_elsewhere(NAME, moment)
    assert (await tables.row("claims", NAME))["elsewhere_at"] == moment
    assert await tables.claims.prove_by_transition(NAME, moment) == []
    assert await tables.claims.prove_by_transition(NAME, moment + MINUTE) == [claim.id]


@pytest.mark.parametrize("why", ["rival", "rival below", "holder below", "orphan", "no wish", "other mode"])
async def test_a_transition_proves_nothing(tables: Tables, why: str) -> None:
    """Where somebody else may have brought it about, or had the domain before, a stronger proof is needed."""
    if why == "no wish":
        await tables.claimed(NAME)
    else:
        await tables.wished(NAME, mode=Mode.BYO_API if why == "other mode" else Mode.BYO_MANUAL)
    if why.startswith("rival"):
        await tables.claimed(f"x.{NAME}" if why == "rival below" else NAME, "rival", BOB)
    if why == "orphan":
        await tables.connection.execute("INSERT INTO orphans (fqdn) VALUES ($1)", NAME)
    moment = await now(tables)
    await tables.claims.seen_elsewhere(NAME, moment)
    if why == "holder below":
        await tables.adopted(f"x.{NAME}", "holder", BOB)
    assert await tables.claims.prove_by_transition(NAME, moment + MINUTE) == []


async def test_an_orphan_is_forgotten(tables: Tables) -> None:
    """A domain that has been elsewhere for a month may be proven by transition again."""
    await tables.connection.execute(
        "INSERT INTO orphans (fqdn, since) VALUES ($1, now() - $2::interval)", NAME, 29 * DAY
    )
    await tables.claims.seen_elsewhere(NAME, await now(tables))
    assert await tables.row("orphans", NAME)
    await tables.claims.seen_elsewhere(NAME, await now(tables) + 2 * DAY)
    assert await tables.row("orphans", NAME) is None


async def test_adopt(tables: Tables) -> None:
    """A proven claim becomes the allocation, with its id and token; rivals end, and the publisher acts next."""
    claim = await tables.wished(NAME, mode=Mode.BYO_API)
    await tables.claimed(NAME, "rival", BOB)
    await tables.claimed(f"x.{NAME}", "below", BOB)
    await tables.claims.prove([claim.id], Proof.REGISTRAR)
    held = await tables.claims.adopt(claim.id, ANN)
    row = await tables.row("allocations", NAME)
    assert (row["id"], bytes(row["token_digest"]), row["proof"]) == (claim.id, b"claim", "registrar")
    assert (row["state"], row["dns_state"], row["needs"]) == ("active", "pending", "registrar-token")
    assert held.needs is Needs.REGISTRAR_TOKEN
    assert await claims_of(tables) == await claims_of(tables, f"x.{NAME}") == []
    assert (await tables.events(NAME))[-2:] == [
        ("evicted", "claim", "reserved", None, "somebody else proved the domain to be his"),
        ("committed", "ann", "reserved", "active", "registrar"),
    ]
    assert await tables.claims.adopt(claim.id, ANN) is None


@pytest.mark.parametrize("lacks", ["proof", "wish", "time"])
async def test_adopt_too_early_or_late(tables: Tables, lacks: str) -> None:
    """A claim needs a proof, a commit, and time that is left."""
    claim = await (tables.claimed if lacks == "wish" else tables.wished)(NAME)
    if lacks != "proof":
        await tables.claims.prove([claim.id], Proof.TXT)
    if lacks == "time":
        await tables.ago("claims", NAME, expires_at=MINUTE)
    assert await tables.claims.adopt(claim.id, ANN) is None
    assert await tables.row("allocations", NAME) is None


async def test_adopt_evicts_a_holder_by_transition(tables: Tables) -> None:
    """A holder by transition alone gives way to a strong proof."""
    weak = await tables.adopted(NAME, proof=Proof.TRANSITION)
    strong = await tables.adopted(NAME, "strong", BOB)
    assert (await tables.row("allocations", NAME))["id"] == strong.id != weak.id
    assert ("evicted", "claim", "active", None, "somebody else proved the domain to be his") in await tables.events(
        NAME
    )


async def test_adopt_of_what_somebody_holds(tables: Tables) -> None:
    """A holder by a strong proof stays, and so does one above or below; the claim stays with its holder."""
    weak = {secret: await tables.wished(fqdn, secret, BOB) for fqdn, secret in ((NAME, "same"), (f"x.{NAME}", "below"))}
    await tables.claims.prove([one.id for one in weak.values()], Proof.TRANSITION)
    # A proof that evicts nobody leaves the other claims there.
    held = await tables.adopted(NAME, proof=Proof.TRANSITION)
    with pytest.raises(Conflict):
        await tables.claims.adopt(weak["same"].id, BOB)
    with pytest.raises(OverlapsAllocation):
        await tables.claims.adopt(weak["below"].id, BOB)
    assert (await tables.row("allocations", NAME))["id"] == held.id
    assert await claims_of(tables) == ["challenge-same"]


async def test_expire(tables: Tables) -> None:
    """Claims are deleted an hour after they expired."""
    await tables.claimed(NAME)
    await tables.ago("claims", NAME, expires_at=MINUTE)
    assert await tables.claims.expire() == 0
    await tables.ago("claims", NAME, expires_at=2 * HOUR)
    assert await tables.claims.expire() == 1
    assert await tables.events(NAME) == [CLAIMED, ("expired", "clock", "reserved", None, None)]


async def test_a_pool_name_is_no_claim(tables: Tables) -> None:
    """What is held below a pool domain stands in the way of a claim on the pool domain itself."""
    await tables.committed("acme")
    with pytest.raises(OverlapsAllocation):
        await tables.claimed(POOL)
