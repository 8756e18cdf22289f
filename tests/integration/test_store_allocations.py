"""Allocations in PostgreSQL: every transition and every refusal, by the rows that it leaves."""

import msgspec
import pytest

from pdm_service.callers import Actor, Quotas
from pdm_service.errors import Conflict, IdempotencyKeyReused, OverlapsAllocation, QuotaExceeded
from pdm_service.model.allocation import DnsState, Filter, State
from pdm_service.model.tokens import Credentials
from pdm_service.store.allocations import Allocations
from pdm_service.store.availability import Availability, Question
from pdm_service.store.declarations import Declaration, Declarations
from tests.integration.conftest import ADDRESSES, ANN, BOB, DAY, HOUR, MINUTE, POOL, Tables

ADMIN = Actor("admin", everything=True)
RESERVED = ("reserved", "ann", None, "reserved", None)
COMMITTED = ("committed", "ann", "reserved", "active", None)
PUBLISHED = ("published", "publisher", "active", "active", "published")
TO_RELEASING = ("released", "ann", "active", "releasing", None)


def question(label: str, actor: Actor = BOB, tenant: str | None = None) -> Question:
    return Question(f"{label}.{POOL}", POOL, label, actor.name, tenant)


# --- reserve ----------------------------------------------------------------------------------------


async def test_reserve(tables: Tables) -> None:
    """A free name is held until it expires, for its client and tenant, and is not in DNS."""
    held = await tables.reserved("acme", tenant="team", created_by="x")
    row = await tables.row("allocations", held.fqdn)
    assert (row["state"], row["dns_state"], row["due_at"], row["committed_at"]) == ("reserved", "none", None, None)
    assert (row["owner"], row["tenant"], row["created_by"], row["declared"]) == ("ann", "team", "x", False)
    assert row["expires_at"] - row["reserved_at"] == HOUR
    assert (row["id"], bytes(row["token_digest"])) == (held.id, b"acme")
    assert await tables.events(held.fqdn) == [RESERVED]


async def test_reserve_of_a_held_name(tables: Tables) -> None:
    """A name that somebody holds is not given, and stays as it is."""
    held = await tables.reserved("acme")
    assert await tables.allocations.reserve(tables.reservation("acme"), BOB) is None
    assert (await tables.row("allocations", held.fqdn))["id"] == held.id
    assert await tables.events(held.fqdn) == [RESERVED]


async def test_reserve_after_expiry(tables: Tables) -> None:
    """From the moment of expiry a name is free: the next holding has another id, generation and token."""
    held = await tables.reserved("acme")
    await tables.ago("allocations", held.fqdn, expires_at=MINUTE)
    again = await tables.allocations.reserve(
        tables.reservation("acme", credentials=Credentials(token_digest=b"other")), BOB
    )
    row = await tables.row("allocations", held.fqdn)
    assert row["id"] == again.id != held.id
    assert row["generation"] > held.generation
    assert (row["owner"], bytes(row["token_digest"]), row["request_digest"]) == ("bob", b"other", None)


async def test_reserve_above_or_below_a_held_name(tables: Tables) -> None:
    """Nobody's zone lies above or below somebody else's."""
    await tables.reserved("acme")
    below = tables.reservation("x", fqdn=f"x.acme.{POOL}")
    with pytest.raises(OverlapsAllocation):
        await tables.allocations.reserve(below, BOB)
    await tables.ago("allocations", f"acme.{POOL}", expires_at=MINUTE)
    assert await tables.allocations.reserve(below, BOB)
    assert await tables.row("allocations", f"acme.{POOL}") is None
    assert await tables.events(f"acme.{POOL}") == [RESERVED, ("expired", "clock", "reserved", None, None)]


async def test_reserve_with_a_key_of_another_request(tables: Tables) -> None:
    """A client's Idempotency-Key stands for one reservation; another client's is another key."""
    keyed = Credentials(token_digest=b"t", idempotency_digest=b"key", token_nonce=b"n")
    await tables.reserved("acme", credentials=keyed)
    with pytest.raises(IdempotencyKeyReused):
        await tables.allocations.reserve(tables.reservation("other", credentials=keyed), ANN)
    assert await tables.row("allocations", f"other.{POOL}") is None
    assert await tables.allocations.reserve(tables.reservation("other", credentials=keyed), BOB)


async def test_reserve_in_quarantine(tables: Tables) -> None:
    """A released name is kept for its last holder, and given to no other client or tenant."""
    await removed(tables, "acme")
    assert await tables.allocations.reserve(tables.reservation("acme"), BOB) is None
    assert await tables.allocations.reserve(tables.reservation("acme", tenant="other"), ANN) is None
    assert await tables.allocations.reserve(tables.reservation("acme"), ANN)


async def removed(tables: Tables, label: str) -> None:
    held = await tables.published(label)
    assert await tables.allocations.release_active(held, ANN)
    (lease,) = await tables.worklist.lease(1, 0)
    assert await tables.worklist.record_removed(lease)


async def test_reserve_with_quotas(tables: Tables) -> None:
    """A client, or a tenant of it, gets no more than it may have."""
    counted = Actor("ann", quotas=Quotas(names=2), tenant_quotas=Quotas(reservations=1))
    assert await tables.allocations.reserve(tables.reservation("a", tenant="t"), counted)
    with pytest.raises(QuotaExceeded, match="this tenant"):
        await tables.allocations.reserve(tables.reservation("b", tenant="t"), counted)
    assert await tables.allocations.reserve(tables.reservation("b"), counted)
    with pytest.raises(QuotaExceeded, match="this client"):
        await tables.allocations.reserve(tables.reservation("c"), counted)
    assert await tables.row("allocations", f"c.{POOL}") is None


async def test_reserve_of_a_look_alike(tables: Tables) -> None:
    """Where look-alikes are refused, what is easily taken for somebody else's name is not given."""
    await tables.reserved("acme-1")
    strict = Allocations(tables.database, Availability(tables.database, "refuse"))
    with pytest.raises(Conflict):
        await strict.reserve(tables.reservation("acmel"), BOB)
    assert await strict.reserve(tables.reservation("acmel"), ANN)


# --- availability and reading -------------------------------------------------------------------------


async def test_standing(tables: Tables) -> None:
    """What stands in the way is told apart: a live holding, a quarantine, a look-alike."""
    await removed(tables, "gone")
    held = await tables.committed("acme-1")
    standing = tables.availability.standing
    assert msgspec.structs.astuple(await standing(question("free"))) == (None, False, False)
    assert msgspec.structs.astuple(await standing(question("acme-1"))) == (State.ACTIVE, False, False)
    assert msgspec.structs.astuple(await standing(question("acmel"))) == (None, False, True)
    assert msgspec.structs.astuple(await standing(question("acmel", ANN))) == (None, False, False)
    assert msgspec.structs.astuple(await standing(question("gone"))) == (None, True, False)
    assert msgspec.structs.astuple(await standing(question("gone", ANN))) == (None, False, False)
    assert held.state is State.ACTIVE


async def test_end_of_quarantine(tables: Tables) -> None:
    """Once its time has passed a quarantine is forgotten."""
    await removed(tables, "gone")
    fqdn = f"gone.{POOL}"
    await tables.availability.end_quarantine()
    assert (await tables.row("quarantine", fqdn))["owner"] == "ann"
    await tables.ago("quarantine", fqdn, until=MINUTE)
    await tables.availability.end_quarantine()
    assert await tables.row("quarantine", fqdn) is None


async def test_find(tables: Tables) -> None:
    """The row as stored, an expired reservation included; with a client, only if it is theirs."""
    held = await tables.reserved("acme")
    assert await tables.allocations.find(held.fqdn, "ann") == held
    assert await tables.allocations.find(held.fqdn, "bob") is None
    await tables.ago("allocations", held.fqdn, expires_at=MINUTE)
    assert (await tables.allocations.find(held.fqdn)).expired


async def test_overlapping(tables: Tables) -> None:
    """A pool domain that is, or lies below, a live allocation is named with it."""
    held = await tables.committed("acme")
    found = await tables.allocations.overlapping([held.fqdn, f"x.{held.fqdn}", POOL, "other.test"])
    assert found == {held.fqdn: held.fqdn, f"x.{held.fqdn}": held.fqdn}


async def test_holdings_of_token_and_name(tables: Tables) -> None:
    """Allocations and claims are read as one, by token and by name, and by client."""
    held, claim = await tables.reserved("acme"), await tables.claimed("own.test")
    of_token, of_name = tables.holdings.of_token, tables.holdings.of_name
    assert await of_token(held.fqdn, b"acme", None) == held
    assert await of_token(claim.fqdn, b"claim", "ann") == claim
    assert await of_token(claim.fqdn, b"claim", "bob") is None
    assert await of_token(held.fqdn, b"claim", None) is None
    second = await tables.claimed("own.test", "second", BOB)
    assert await of_name("own.test", None) == [claim, second]
    assert await of_name("own.test", "bob") == [second]
    adopted = await tables.adopted("proven.test", "third")
    late = await tables.connection.fetchval("SELECT count(*) FROM claims WHERE fqdn = 'proven.test'")
    assert (await of_name("proven.test", None), late) == ([adopted], 0)
    await tables.ago("claims", "own.test", expires_at=MINUTE)
    assert await of_name("own.test", None) == []
    assert (await of_token("own.test", b"claim", None)).expired


async def test_page_and_census(tables: Tables) -> None:
    """Live holdings are listed by name and id, filtered and paged, and counted by pool and state."""
    a, b = await tables.reserved("a"), await tables.committed("b", BOB)
    claims = [await tables.claimed("own.test", f"s{number}") for number in range(2)]
    await tables.reserved("c")
    await tables.ago("allocations", f"c.{POOL}", expires_at=MINUTE)
    wanted = [a, b, *sorted(claims, key=lambda one: one.id)]
    assert await tables.holdings.page(Filter(), "", 10) == wanted
    assert await tables.holdings.page(Filter(), wanted[2].place, 10) == wanted[3:]
    assert await tables.holdings.page(Filter(owner="bob"), "", 10) == [b]
    assert await tables.holdings.page(Filter(state="reserved", pool_domain=POOL), "", 10) == [a]
    assert await tables.holdings.page(Filter(), "", 2) == wanted[:2]
    assert await tables.holdings.census() == {(POOL, "reserved"): 1, (POOL, "active"): 1, ("byo", "reserved"): 2}


# --- renew, commit, release ---------------------------------------------------------------------------


async def test_renew(tables: Tables) -> None:
    """A live reservation lasts longer, never shorter."""
    held = await tables.reserved("acme")
    assert (await tables.allocations.renew(held.fqdn, b"acme", DAY, ANN)).expires_at > held.expires_at
    longer = (await tables.row("allocations", held.fqdn))["expires_at"]
    await tables.allocations.renew(held.fqdn, b"acme", MINUTE, ANN)
    assert (await tables.row("allocations", held.fqdn))["expires_at"] == longer
    assert (await tables.events(held.fqdn))[1:] == [("renewed", "ann", "reserved", "reserved", None)] * 2


@pytest.mark.parametrize("why", ["token", "client", "expired", "active"])
async def test_renew_refused(tables: Tables, why: str) -> None:
    """Only the holder of a live reservation can renew it."""
    held = await (tables.committed if why == "active" else tables.reserved)("acme")
    if why == "expired":
        await tables.ago("allocations", held.fqdn, expires_at=MINUTE)
    before = await tables.row("allocations", held.fqdn)
    token, actor = b"wrong" if why == "token" else b"acme", BOB if why == "client" else ANN
    assert await tables.allocations.renew(held.fqdn, token, DAY, actor) is None
    assert await tables.row("allocations", held.fqdn) == before


async def test_commit(tables: Tables) -> None:
    """A reservation becomes active: it does not expire, has its addresses, and is due for the publisher."""
    held = await tables.reserved("acme")
    made = await tables.allocations.commit(held.fqdn, b"acme", list(ADDRESSES), "s.test", ANN)
    row = await tables.row("allocations", held.fqdn)
    assert (row["state"], row["dns_state"], row["expires_at"]) == ("active", "pending", None)
    assert (tuple(row["load_balancer_ips"]), row["sovereign_fqdn"]) == (ADDRESSES, "s.test")
    assert row["due_at"] == row["committed_at"] == made.committed_at
    assert row["generation"] > held.generation
    assert await tables.events(held.fqdn) == [RESERVED, COMMITTED]


@pytest.mark.parametrize("why", ["token", "client", "expired", "active"])
async def test_commit_refused(tables: Tables, why: str) -> None:
    """Only the holder of a live reservation can commit it, once."""
    held = await (tables.committed if why == "active" else tables.reserved)("acme")
    if why == "expired":
        await tables.ago("allocations", held.fqdn, expires_at=MINUTE)
    before = await tables.row("allocations", held.fqdn)
    token, actor = b"wrong" if why == "token" else b"acme", BOB if why == "client" else ANN
    assert await tables.allocations.commit(held.fqdn, token, ["192.0.2.9"], None, actor) is None
    assert await tables.row("allocations", held.fqdn) == before


async def test_release_of_a_reservation(tables: Tables) -> None:
    """A reservation has no DNS: it is gone at once, and nobody is kept from the name."""
    held = await tables.reserved("acme")
    assert await tables.allocations.release_reserved(held, ANN) == held
    assert await tables.row("allocations", held.fqdn) is None
    assert await tables.row("quarantine", held.fqdn) is None
    assert await tables.events(held.fqdn) == [RESERVED, ("released", "ann", "reserved", None, None)]
    assert await tables.allocations.release_reserved(held, ANN) is None


async def test_release_of_an_active_name(tables: Tables) -> None:
    """It goes out of DNS first: it is being released, and due for the publisher."""
    held = await tables.published("acme")
    leaving = await tables.allocations.release_active(held, ANN)
    row = await tables.row("allocations", held.fqdn)
    assert (row["state"], row["dns_state"], row["attempts"], row["dns_error"]) == ("releasing", "removing", 0, None)
    assert row["due_at"] is not None
    assert leaving.generation > held.generation
    assert await tables.events(held.fqdn) == [RESERVED, COMMITTED, PUBLISHED, TO_RELEASING]
    assert await tables.allocations.release_active(held, ANN) is None


async def test_release_of_the_holding_that_was_read(tables: Tables) -> None:
    """A name that has another holder meanwhile is left alone."""
    held = await tables.reserved("acme")
    await tables.allocations.release_reserved(held, ANN)
    other = await tables.reserved("acme", BOB)
    assert await tables.allocations.release_reserved(held, ANN) is None
    assert await tables.allocations.release_active(held, ANN) is None
    assert (await tables.row("allocations", held.fqdn))["id"] == other.id


async def test_release_of_an_expired_reservation(tables: Tables) -> None:
    """What has expired is not there to be released."""
    held = await tables.reserved("acme")
    await tables.ago("allocations", held.fqdn, expires_at=MINUTE)
    assert await tables.allocations.release_reserved(held, ANN) is None


async def test_release_of_a_customers_domain(tables: Tables) -> None:
    """Its zone is kept until the caches have forgotten it; hastening ends that."""
    held = await tables.adopted("own.test")
    (now,) = await tables.connection.fetchrow("SELECT now()")
    leaving = await tables.allocations.release_byo(held.id, now + HOUR, orphan=False, actor=ANN)
    row = await tables.row("allocations", "own.test")
    assert (row["state"], row["needs"], row["not_before"], row["due_at"]) == ("releasing", None, now + HOUR, now + HOUR)
    assert await tables.row("orphans", "own.test") is None
    hastened = await tables.allocations.hasten(held.id)
    row = await tables.row("allocations", "own.test")
    assert row["not_before"] is None
    assert row["due_at"] < now + HOUR
    assert hastened.generation > leaving.generation
    assert await tables.allocations.hasten(held.id) is None
    assert await tables.allocations.release_byo(held.id, None, orphan=False, actor=ANN) is None


async def test_release_of_a_domain_that_points_here(tables: Tables) -> None:
    """It is noted: the next claim needs a proof that nobody can wait for. Pool names have no such release."""
    held, pool = await tables.adopted("own.test"), await tables.committed("acme")
    assert await tables.allocations.release_byo(held.id, None, orphan=True, actor=ANN)
    assert await tables.row("orphans", "own.test")
    assert (await tables.events("own.test"))[-1] == ("released", "ann", "active", "releasing", "still pointing here")
    assert await tables.allocations.release_byo(pool.id, None, orphan=True, actor=ANN) is None


async def test_expire(tables: Tables) -> None:
    """Reservations are deleted some time after they expired, so that a late holder hears that it is late."""
    early, late, active = [await make(label) for label, make in (
        ("early", tables.reserved), ("late", tables.reserved), ("active", tables.committed),
    )]  # fmt: skip
    await tables.ago("allocations", early.fqdn, expires_at=2 * HOUR)
    await tables.ago("allocations", late.fqdn, expires_at=MINUTE)
    assert await tables.allocations.expire(HOUR) == 1
    assert [await tables.row("allocations", one.fqdn) is None for one in (early, late, active)] == [True, False, False]
    assert (await tables.events(early.fqdn))[-1] == ("expired", "clock", "reserved", None, None)


# --- PUT ----------------------------------------------------------------------------------------------


def declaration(label: str, *addresses: str, **more: object) -> Declaration:
    values = {"created_by": None, "sovereign_fqdn": None, "tenant": "team", **more}
    return Declaration(fqdn=f"{label}.{POOL}", pool_domain=POOL, subdomain=label, addresses=addresses, **values)  # type: ignore[arg-type]


async def test_declare(tables: Tables) -> None:
    """Without addresses a name is reserved and does not expire; with some it is published."""
    await tables.declarations.make(declaration("held"), ANN)
    row = await tables.row("allocations", f"held.{POOL}")
    assert (row["state"], row["declared"], row["expires_at"], bytes(row["token_digest"])) == (
        "reserved",
        True,
        None,
        b"",
    )
    assert await tables.events(f"held.{POOL}") == [RESERVED]
    await tables.declarations.make(declaration("acme", *ADDRESSES), ANN)
    row = await tables.row("allocations", f"acme.{POOL}")
    assert (row["state"], row["dns_state"], row["tenant"]) == ("active", "pending", "team")
    assert await tables.events(f"acme.{POOL}") == [RESERVED, COMMITTED]


async def test_declare_refused(tables: Tables) -> None:
    """Held names, names in quarantine, and names above or below others are not given."""
    await removed(tables, "gone")
    await tables.reserved("acme")
    make = tables.declarations.make
    assert await make(declaration("acme", *ADDRESSES), BOB) is None
    assert await make(declaration("gone", *ADDRESSES), BOB) is None
    below = msgspec.structs.replace(declaration("x"), fqdn=f"x.acme.{POOL}")
    with pytest.raises(OverlapsAllocation):
        await make(below, BOB)
    counted = Actor("bob", quotas=Quotas(names=0))
    with pytest.raises(QuotaExceeded):
        await make(declaration("new"), counted)
    strict = Availability(tables.database, "refuse")
    with pytest.raises(Conflict):
        await Declarations(tables.database, tables.allocations, strict).make(declaration("a-cme"), BOB)
    assert await tables.row("allocations", f"new.{POOL}") is None


async def test_change_of_what_was_declared(tables: Tables) -> None:
    """Other addresses are published; other words are stored; the same again changes nothing."""
    held = await tables.declarations.make(declaration("acme"), ANN)
    change = tables.declarations.change
    assert (await change(held.id, declaration("acme", created_by="x"), ANN)).state is State.RESERVED
    made = await change(held.id, declaration("acme", ADDRESSES[0], created_by="x"), ANN)
    assert (made.state, made.dns.state) == (State.ACTIVE, DnsState.PENDING)
    moved = await change(held.id, declaration("acme", *ADDRESSES, created_by="x"), ANN)
    assert moved.generation > made.generation
    assert await change(held.id, declaration("acme", *ADDRESSES, created_by="x"), ANN) is None
    assert await change(held.id, declaration("acme"), ANN) is None
    assert (await tables.events(held.fqdn))[1:] == [
        ("changed", "ann", "reserved", "reserved", None), ("committed", "ann", "reserved", "active", "other addresses"),
        ("changed", "ann", "active", "active", "other addresses"),
    ]  # fmt: skip


async def test_change_of_what_was_not_declared(tables: Tables) -> None:
    """A name that is held by a token is not changed by PUT."""
    held = await tables.committed("acme")
    assert await tables.declarations.change(held.id, declaration("acme", "192.0.2.9"), ADMIN) is None
    assert tuple((await tables.row("allocations", held.fqdn))["load_balancer_ips"]) == ADDRESSES
