"""The store's allocations: each transition with its rows and its event, each refusal with nothing changed."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from pdm_service.errors import IdempotencyKeyReused, OverlapsAllocation
from pdm_service.model.allocation import Mode, State
from pdm_service.model.tokens import Credentials
from tests.store import (
    ADDRESSES,
    CLIENT,
    COMMITTED,
    FQDN,
    HOUR,
    MINUTE,
    OPERATOR,
    OTHER,
    POOL,
    RESERVED,
    TTL,
    Entry,
    Store,
    changed,
    digest,
    reservation,
    said,
)

EXPIRED = Entry("expired", "reserved", None, "clock")

# --- questions ---------------------------------------------------------------------------------------


async def test_find(store: Store) -> None:
    """An allocation is found by its name, an expired reservation too; with a client's name only if it is theirs."""
    held = await store.expired()
    found = await store.allocations.find(FQDN)
    assert found == held
    assert (held.expired, held.owner, held.created_by, held.mode) == (True, "client", "ann", Mode.POOL)
    assert await store.allocations.find(FQDN, "client") == held
    assert await store.allocations.find(FQDN, "other") is None
    assert await store.allocations.find(POOL) is None


async def test_overlapping(store: Store) -> None:
    """A domain that is a live allocation, or lies below one, is told with it; one above, or below an expired one, not."""
    await store.reserved()
    await store.expired("late.pool.test")
    domains = [FQDN, f"eu.{FQDN}", POOL, "x.late.pool.test", "acme2.pool.test"]
    assert await store.allocations.overlapping(domains) == {FQDN: FQDN, f"eu.{FQDN}": FQDN}


# --- reserve -----------------------------------------------------------------------------------------


async def test_reserve(store: Store) -> None:
    """A reserve makes a row that expires after its time, is in no DNS and due to nobody, and notes the tenant."""
    await store.reserved(key=b"key", tenant="team")
    row = await store.row("allocations")
    assert row["expires_at"] - row["reserved_at"] == TTL
    wanted = {
        "fqdn": FQDN, "mode": "pool", "pool_domain": POOL, "subdomain": "acme", "state": "reserved", "dns_state": "none",
        "due_at": None, "committed_at": None, "declared": False, "owner": "client", "tenant": "team",
        "created_by": "ann", "token_digest": digest(FQDN), "token_nonce": b"nonce", "idempotency_digest": b"key",
        "request_digest": b"request", "load_balancer_ips": [], "lease_id": None,
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    assert await store.events() == [RESERVED]
    event = await store.row("events")
    assert (event["tenant"], event["allocation_id"], event["at"]) == ("team", row["id"], row["reserved_at"])


@pytest.mark.parametrize("state", ["reserved", "active", "releasing"])
async def test_reserve_of_a_held_name(store: Store, state: str) -> None:
    """A name that somebody has, in whatever state, is refused to everybody, its holder included."""
    await getattr(store, state)()
    async with store.unchanged():
        assert await store.allocations.reserve(reservation(token=b"another"), OTHER) is None
        assert await store.allocations.reserve(reservation(token=b"another"), CLIENT) is None


async def test_reserve_of_an_expired_name(store: Store) -> None:
    """Whoever reserves a name whose reservation has expired takes the row over, with a new id and generation."""
    await store.expired(key=b"key", tenant="team")
    before = await store.row("allocations")
    new = replace(
        reservation(), created_by="bob", credentials=Credentials(token_digest=b"new", request_digest=b"new request")
    )
    assert await store.allocations.reserve(new, OTHER)
    after = await store.row("allocations")
    wanted = {
        "owner": "other", "tenant": None, "created_by": "bob", "token_digest": b"new", "token_nonce": None,
        "idempotency_digest": None, "request_digest": b"new request",
    }  # fmt: skip
    assert {column: after[column] for column in wanted} == wanted
    assert changed(before, after) == {*wanted, "id", "generation", "reserved_at", "expires_at"}
    assert after["generation"] > before["generation"]
    assert after["expires_at"] - after["reserved_at"] == TTL
    assert await store.events() == [RESERVED, said("reserved", None, "reserved", by=OTHER)]


async def test_reserve_of_one_name_by_many_at_once(store: Store) -> None:
    """Of reservations of one name that go into one statement the first to ask wins, the others hear that it is held."""
    wanted = [reservation(token=bytes([number])) for number in range(5)]
    found = await asyncio.gather(*(store.allocations.reserve(one, CLIENT) for one in wanted))
    assert sum(one is not None for one in found) == 1
    assert await store.events() == [RESERVED]


async def test_reserve_above_or_below_a_held_name(store: Store) -> None:
    """A name above or below a live allocation is refused."""
    await store.reserved()
    async with store.unchanged():
        for fqdn in (f"eu.{FQDN}", POOL):
            with pytest.raises(OverlapsAllocation):
                await store.allocations.reserve(reservation(fqdn), CLIENT)


async def test_reserve_above_an_expired_name(store: Store) -> None:
    """An expired reservation above or below a name is deleted to make room, and the trail says that it expired."""
    await store.expired(f"eu.{FQDN}")
    held = await store.reserved()
    assert (await store.row("allocations"))["id"] == held.id
    assert await store.events(f"eu.{FQDN}") == [RESERVED, EXPIRED]


async def test_reserve_with_the_key_of_another_request(store: Store) -> None:
    """A client's Idempotency-Key makes one reservation; another client may have the same key."""
    await store.reserved(key=b"key")
    async with store.unchanged():
        with pytest.raises(IdempotencyKeyReused):
            await store.allocations.reserve(reservation("b.pool.test", key=b"key"), CLIENT)
    assert await store.allocations.reserve(reservation("b.pool.test", key=b"key"), OTHER)


async def test_reserve_of_a_name_in_quarantine(store: Store) -> None:
    """A name in quarantine goes to its last holder alone: the same client, for the same tenant; later to anybody."""
    await store.quarantined(tenant="team")
    async with store.unchanged():
        assert await store.allocations.reserve(reservation(tenant="team"), OTHER) is None
        assert await store.allocations.reserve(reservation(tenant="rival"), CLIENT) is None
        assert await store.allocations.reserve(reservation(), CLIENT) is None
    assert await store.allocations.reserve(reservation(f"b.{POOL}"), OTHER)
    held = await store.allocations.reserve(reservation(tenant="team"), CLIENT)
    assert held is not None
    await store.allocations.release_reserved(held, CLIENT)
    await store.sql("UPDATE quarantine SET until = now()")
    assert await store.allocations.reserve(reservation(), OTHER)


async def test_forget_expired(store: Store) -> None:
    """Only expired reservations in the range of names are deleted, and it is told whether there were any."""
    await store.expired()
    await store.reserved(f"b.{POOL}")
    await store.expired("c.other.test")
    low, high = (
        await store.sql("SELECT lower(span) AS low, upper(span) AS high FROM allocations WHERE fqdn = $1", FQDN)
    )[0].values()
    assert await store.allocations.forget_expired(low, high)
    assert [row["fqdn"] for row in await store.rows("allocations")] == [f"b.{POOL}", "c.other.test"]
    assert await store.events() == [RESERVED, EXPIRED]
    async with store.unchanged():
        assert not await store.allocations.forget_expired(low, high)


# --- renew -------------------------------------------------------------------------------------------


async def test_renew(store: Store) -> None:
    """A renewed reservation ends later, and nothing else of it changes."""
    await store.reserved()
    before = await store.row("allocations")
    assert await store.allocations.renew(FQDN, digest(FQDN), HOUR, CLIENT)
    after = await store.row("allocations")
    assert changed(before, after) == {"expires_at"}
    assert HOUR - TTL <= after["expires_at"] - before["expires_at"] < HOUR
    assert await store.events() == [RESERVED, said("renewed", "reserved", "reserved")]


async def test_renew_never_shortens(store: Store) -> None:
    """A renewal that would end a reservation earlier leaves its end where it was."""
    held = await store.reserved()
    renewed = await store.allocations.renew(FQDN, digest(FQDN), timedelta(seconds=1), CLIENT)
    assert renewed == held


async def test_renew_of_what_is_not_the_callers(store: Store) -> None:
    """With another token, or by another client, nothing is renewed; who may do everything needs only the token."""
    await store.reserved()
    async with store.unchanged():
        assert await store.allocations.renew(FQDN, b"another", HOUR, CLIENT) is None
        assert await store.allocations.renew(FQDN, digest(FQDN), HOUR, OTHER) is None
    assert await store.allocations.renew(FQDN, digest(FQDN), HOUR, OPERATOR)


@pytest.mark.parametrize("state", ["expired", "active", "releasing"])
async def test_renew_of_what_is_no_live_reservation(store: Store, state: str) -> None:
    """What has expired, or is no reservation any more, is not renewed."""
    await getattr(store, state)()
    async with store.unchanged():
        assert await store.allocations.renew(FQDN, digest(FQDN), HOUR, CLIENT) is None


# --- commit ------------------------------------------------------------------------------------------


async def test_commit(store: Store) -> None:
    """A commit makes a reservation active: it expires no more, and its DNS is wanted now, as a new generation."""
    await store.reserved()
    before = await store.row("allocations")
    committed = await store.allocations.commit(FQDN, digest(FQDN), ADDRESSES, "acme.platform.test", CLIENT)
    after = await store.row("allocations")
    assert changed(before, after) == {
        "state", "expires_at", "committed_at", "load_balancer_ips", "sovereign_fqdn", "dns_state", "dns_updated_at",
        "generation", "due_at",
    }  # fmt: skip
    assert (after["state"], after["dns_state"], after["expires_at"]) == ("active", "pending", None)
    assert (after["load_balancer_ips"], after["sovereign_fqdn"]) == (ADDRESSES, "acme.platform.test")
    assert after["committed_at"] == after["dns_updated_at"] == after["due_at"]
    assert after["generation"] > before["generation"]
    assert committed == await store.allocations.find(FQDN)
    assert await store.events() == [RESERVED, COMMITTED]


async def test_commit_of_what_is_not_the_callers(store: Store) -> None:
    """With another token, or by another client, nothing is committed; who may do everything needs only the token."""
    await store.reserved()
    async with store.unchanged():
        assert await store.allocations.commit(FQDN, b"another", ADDRESSES, None, CLIENT) is None
        assert await store.allocations.commit(FQDN, digest(FQDN), ADDRESSES, None, OTHER) is None
    assert await store.allocations.commit(FQDN, digest(FQDN), ADDRESSES, None, OPERATOR)


@pytest.mark.parametrize("state", ["expired", "active", "releasing"])
async def test_commit_of_what_is_no_live_reservation(store: Store, state: str) -> None:
    """What has expired, or is no reservation any more, is not committed."""
    await getattr(store, state)()
    async with store.unchanged():
        assert await store.allocations.commit(FQDN, digest(FQDN), ["192.0.2.9"], None, CLIENT) is None


async def test_nothing_has_the_token_of_a_declared_name(store: Store) -> None:
    """A declared name has no token: an empty one neither renews nor commits it."""
    await store.declared()
    async with store.unchanged():
        assert await store.allocations.renew(FQDN, b"", HOUR, CLIENT) is None
        assert await store.allocations.commit(FQDN, b"", ADDRESSES, None, CLIENT) is None


# --- release -----------------------------------------------------------------------------------------


async def test_release_of_a_reservation(store: Store) -> None:
    """A released reservation is gone at once: it has no DNS."""
    held = await store.reserved()
    assert await store.allocations.release_reserved(held, CLIENT) == held
    assert await store.rows("allocations") == []
    assert await store.events() == [RESERVED, said("released", "reserved", None)]


async def test_release_of_a_declared_reservation(store: Store) -> None:
    """A name that is declared without addresses does not expire, and is released like a reservation."""
    assert await store.allocations.release_reserved(await store.declared(), CLIENT)
    assert await store.rows("allocations") == []


@pytest.mark.parametrize("state", ["expired", "active", "releasing"])
async def test_release_as_a_reservation_of_what_is_none(store: Store, state: str) -> None:
    """What has expired, or is no reservation any more, is not deleted."""
    held = await getattr(store, state)()
    async with store.unchanged():
        assert await store.allocations.release_reserved(held, CLIENT) is None


async def test_release_of_an_active_name(store: Store) -> None:
    """A released name is on its way out of DNS, due now, as a new generation, and its last failure is forgotten."""
    held = await store.active()
    await store.worklist.record_failure(await store.leased(), "no", MINUTE)
    before = await store.row("allocations")
    released = await store.allocations.release_active(held, CLIENT)
    after = await store.row("allocations")
    assert changed(before, after) == {
        "state", "dns_state", "dns_updated_at", "dns_error", "generation", "attempts", "due_at"
    }  # fmt: skip
    assert (after["state"], after["dns_state"], after["dns_error"], after["attempts"]) == (
        "releasing",
        "removing",
        None,
        0,
    )
    assert after["due_at"] == after["dns_updated_at"]
    assert after["generation"] > before["generation"]
    assert released is not None
    assert released.state is State.RELEASING
    assert await store.events() == [RESERVED, COMMITTED, said("released", "active", "releasing")]


@pytest.mark.parametrize("state", ["reserved", "releasing"])
async def test_release_as_active_of_what_is_not(store: Store, state: str) -> None:
    """What is not active, or no more, is not sent out of DNS."""
    held = await getattr(store, state)()
    async with store.unchanged():
        assert await store.allocations.release_active(held, CLIENT) is None


@pytest.mark.parametrize("state", ["reserved", "active"])
async def test_release_of_an_earlier_holding(store: Store, state: str) -> None:
    """Who means an earlier holding of the name does not release the present one."""
    held = await getattr(store, state)()
    await store.sql("UPDATE allocations SET id = $1", uuid4())
    async with store.unchanged():
        assert await store.allocations.release_reserved(held, CLIENT) is None
        assert await store.allocations.release_active(held, CLIENT) is None


# --- housekeeping ------------------------------------------------------------------------------------


async def test_expire(store: Store) -> None:
    """Reservations that expired long enough ago are deleted and counted; late, live and declared ones stay."""
    await store.reserved(f"old.{POOL}", ttl=-2 * HOUR)
    await store.expired()
    await store.reserved(f"live.{POOL}")
    await store.declared(fqdn=f"declared.{POOL}")
    await store.active(f"active.{POOL}")
    assert await store.allocations.expire(HOUR) == 1
    assert [row["fqdn"] for row in await store.rows("allocations")] == [
        FQDN, f"active.{POOL}", f"declared.{POOL}", f"live.{POOL}",
    ]  # fmt: skip
    assert await store.events(f"old.{POOL}") == [RESERVED, EXPIRED]
    assert await store.allocations.expire(HOUR) == 0
