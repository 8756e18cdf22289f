"""The store's declared names: made, changed; each refusal changes nothing."""

import asyncio

import pytest

from pdm_service.errors import OverlapsAllocation
from tests.store import (
    ADDRESSES,
    CLIENT,
    COMMITTED,
    FQDN,
    HOUR,
    MINUTE,
    OTHER,
    POOL,
    RESERVED,
    Entry,
    Store,
    changed,
    declaration,
    said,
)

# --- make --------------------------------------------------------------------------------------------


async def test_make_without_addresses(store: Store) -> None:
    """A name declared without addresses is reserved: it has no token, does not expire, and is in no DNS."""
    await store.declared()
    row = await store.row("allocations")
    wanted = {
        "fqdn": FQDN, "mode": "pool", "pool_domain": POOL, "subdomain": "acme", "declared": True, "owner": "client",
        "tenant": "team", "created_by": "ann", "token_digest": b"", "state": "reserved", "dns_state": "none",
        "expires_at": None, "committed_at": None, "due_at": None, "load_balancer_ips": [],
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    assert await store.events() == [RESERVED]
    assert (await store.row("events"))["tenant"] == "team"


async def test_make_with_addresses(store: Store) -> None:
    """A name declared with addresses is active at once, its DNS pending and due now; the trail has both steps."""
    new = declaration(*ADDRESSES, sovereign_fqdn="acme.platform.test")
    assert await store.declarations.make(new, CLIENT)
    row = await store.row("allocations")
    assert (row["state"], row["dns_state"], row["expires_at"]) == ("active", "pending", None)
    assert (row["load_balancer_ips"], row["sovereign_fqdn"]) == (ADDRESSES, "acme.platform.test")
    assert row["reserved_at"] == row["committed_at"] == row["dns_updated_at"] == row["due_at"]
    assert await store.events() == [RESERVED, COMMITTED]
    assert {event["tenant"] for event in await store.rows("events")} == {"team"}


@pytest.mark.parametrize("state", ["reserved", "active", "releasing", "declared"])
async def test_make_of_a_held_name(store: Store, state: str) -> None:
    """A name that somebody has, in whatever state, is not declared."""
    await getattr(store, state)()
    async with store.unchanged():
        assert await store.declarations.make(declaration(*ADDRESSES), OTHER) is None
        assert await store.declarations.make(declaration(*ADDRESSES), CLIENT) is None


async def test_make_of_one_name_by_many_at_once(store: Store) -> None:
    """Of simultaneous declarations of a name one makes it."""
    found = await asyncio.gather(*(store.declarations.make(declaration(), CLIENT) for _ in range(4)))
    assert sum(one is not None for one in found) == 1
    assert await store.events() == [RESERVED]


@pytest.mark.parametrize("addresses", [[], ADDRESSES])
async def test_make_of_an_expired_name(store: Store, addresses: list[str]) -> None:
    """An expired reservation is taken over whole, with a new id and generation: no token fits any more."""
    first = await store.expired(by=OTHER, key=b"key", tenant="rival")
    made = await store.declarations.make(
        declaration(*addresses, created_by="bob", sovereign_fqdn="b.platform.test"), CLIENT
    )
    row = await store.row("allocations")
    assert made is not None
    assert made.id == row["id"] != first.id
    assert row["generation"] > first.generation
    wanted = {
        "declared": True, "owner": "client", "tenant": "team", "expires_at": None, "token_digest": b"",
        "created_by": "bob", "sovereign_fqdn": "b.platform.test", "token_nonce": None, "idempotency_digest": None, "request_digest": None, "load_balancer_ips": addresses,
        "state": "active" if addresses else "reserved", "dns_state": "pending" if addresses else "none",
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    assert row["due_at"] == row["committed_at"] == row["dns_updated_at"] == (row["reserved_at"] if addresses else None)
    assert row["reserved_at"] > first.reserved_at


async def test_make_above_or_below_a_held_name(store: Store) -> None:
    """A name above or below a live allocation is refused; an expired one there is deleted to make room."""
    await store.reserved()
    below = declaration(fqdn=f"eu.{FQDN}")
    async with store.unchanged():
        with pytest.raises(OverlapsAllocation):
            await store.declarations.make(below, CLIENT)
    await store.sql("UPDATE allocations SET expires_at = now()")
    assert await store.declarations.make(below, CLIENT)
    assert (await store.row("allocations"))["fqdn"] == f"eu.{FQDN}"
    assert await store.events() == [RESERVED, Entry("expired", "reserved", None, "clock")]


async def test_make_of_a_name_in_quarantine(store: Store) -> None:
    """A name in quarantine is declared by its last holder alone: the same client, for the same owner."""
    await store.quarantined(tenant="team")
    async with store.unchanged():
        assert await store.declarations.make(declaration(), OTHER) is None
        assert await store.declarations.make(declaration(tenant="rival"), CLIENT) is None
    assert await store.declarations.make(declaration(fqdn=f"b.{POOL}"), OTHER)
    assert await store.declarations.make(declaration(), CLIENT)


# --- change ------------------------------------------------------------------------------------------


async def test_change_that_commits(store: Store) -> None:
    """A declared reservation that gets addresses becomes active, its DNS pending, due now, as a new generation."""
    held = await store.declared()
    await store.declared(fqdn=f"b.{POOL}")
    before, neighbour = await store.held(), await store.held(f"b.{POOL}")
    assert await store.declarations.change(held.id, declaration(*ADDRESSES), CLIENT)
    after = await store.held()
    assert await store.held(f"b.{POOL}") == neighbour
    assert changed(before, after) == {
        "state", "committed_at", "load_balancer_ips", "dns_state", "dns_updated_at", "generation", "due_at"
    }  # fmt: skip
    assert (after["state"], after["dns_state"], after["load_balancer_ips"]) == ("active", "pending", ADDRESSES)
    assert after["committed_at"] == after["dns_updated_at"] == after["due_at"]
    assert after["generation"] > before["generation"]
    assert await store.events() == [RESERVED, said("committed", "reserved", "active", "other addresses")]


async def test_change_of_addresses(store: Store) -> None:
    """A published name that gets other addresses is to be published anew, and its last failure is forgotten."""
    held = await store.declared(*ADDRESSES)
    await store.worklist.record_published(await store.leased(), ["1 13 2 ab"], HOUR, "published")
    await store.sql("UPDATE allocations SET attempts = 2, dns_error = 'no'")
    before = await store.row("allocations")
    assert await store.declarations.change(held.id, declaration("192.0.2.9"), CLIENT)
    after = await store.row("allocations")
    assert changed(before, after) == {
        "load_balancer_ips", "dns_state", "dns_updated_at", "dns_error", "attempts", "generation", "due_at"
    }  # fmt: skip
    assert (after["dns_state"], after["dns_error"], after["attempts"]) == ("pending", None, 0)
    assert after["due_at"] == after["dns_updated_at"]
    assert after["generation"] > before["generation"]
    assert (await store.events())[-1] == said("changed", "active", "active", "other addresses")


@pytest.mark.parametrize("addresses", [[], ADDRESSES])
async def test_change_of_notes(store: Store, addresses: list[str]) -> None:
    """What is only shown is changed without a new generation: DNS is as it was."""
    held = await store.declared(*addresses)
    before = await store.row("allocations")
    new = declaration(*addresses, created_by="bob", sovereign_fqdn="b.platform.test")
    assert await store.declarations.change(held.id, new, CLIENT)
    after = await store.row("allocations")
    assert changed(before, after) == {"created_by", "sovereign_fqdn"}
    assert (after["created_by"], after["sovereign_fqdn"]) == ("bob", "b.platform.test")
    assert (await store.events())[-1] == said("changed", before["state"], before["state"])


@pytest.mark.parametrize("addresses", [[], ADDRESSES])
async def test_change_to_what_it_is(store: Store, addresses: list[str]) -> None:
    """A name that is as declared already is not changed."""
    held = await store.declared(*addresses)
    async with store.unchanged():
        assert await store.declarations.change(held.id, declaration(*addresses), CLIENT) is None


async def test_change_that_would_unpublish(store: Store) -> None:
    """An active name does not lose its addresses, whatever else is declared with that."""
    held = await store.declared(*ADDRESSES)
    async with store.unchanged():
        assert await store.declarations.change(held.id, declaration(created_by="bob"), CLIENT) is None


async def test_change_of_what_is_leaving(store: Store) -> None:
    """A declared name that is being released is not changed."""
    held = await store.declared(*ADDRESSES)
    await store.allocations.release_active(held, CLIENT)
    async with store.unchanged():
        assert await store.declarations.change(held.id, declaration("192.0.2.9"), CLIENT) is None


async def test_change_of_what_was_not_declared(store: Store) -> None:
    """A name that is held by a token is not changed by a declaration."""
    held = await store.active()
    async with store.unchanged():
        assert await store.declarations.change(held.id, declaration("192.0.2.9"), CLIENT) is None


async def test_change_while_it_is_published(store: Store) -> None:
    """What the publisher finds out about the addresses of before is not taken for the outcome of the change."""
    held = await store.declared(*ADDRESSES)
    lease = await store.leased()
    await store.declarations.change(held.id, declaration("192.0.2.9"), CLIENT)
    async with store.unchanged():
        assert not await store.worklist.record_published(lease, [], MINUTE, "published")
