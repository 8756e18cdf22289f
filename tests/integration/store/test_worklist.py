"""The publisher's side of the store: who works on a row, and what came of it; a lost lease records nothing."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from pdm_service.model.allocation import Allocation
from pdm_service.store.rows import Lease
from pdm_service.store.worklist import Backlog, Worklist
from tests.store import (
    ADDRESSES,
    CLIENT,
    COMMITTED,
    FQDN,
    HOUR,
    MINUTE,
    OTHER,
    POOL,
    QUARANTINE,
    RESERVED,
    Entry,
    Store,
    changed,
    declaration,
    reservation,
)

DS = ["1 13 2 ab", "2 13 2 cd"]


def by_publisher(action: str, from_state: str | None, to_state: str | None, outcome: str | None = None) -> Entry:
    return Entry(action, from_state, to_state, "publisher", outcome)


# --- lease -------------------------------------------------------------------------------------------


async def test_lease(store: Store) -> None:
    """What is due is leased to one publisher, for a time, and nobody else gets it before that is over."""
    await store.active()
    await store.sql("UPDATE allocations SET due_at = now() - interval '5 seconds'")
    before = await store.row("allocations")
    lease = await store.leased()
    after = await store.row("allocations")
    assert changed(before, after) == {"lease_id", "lease_until"}
    assert (lease.id, lease.name, lease.row.generation) == (after["lease_id"], FQDN, after["generation"])
    assert 5 <= lease.waited_seconds < 60
    assert timedelta() < after["lease_until"] - await store.now() <= MINUTE
    async with store.unchanged():
        assert await store.worklist.lease(10, 10) == []
    await store.sql("UPDATE allocations SET lease_until = now() - interval '1 second'")
    assert (await store.leased()).id != lease.id


async def test_lease_of_what_is_not_due(store: Store) -> None:
    """A reservation, and a name whose time has not come, is leased to nobody."""
    await store.reserved(f"a.{POOL}")
    await store.active()
    await store.sql("UPDATE allocations SET due_at = now() + interval '1 hour' WHERE due_at IS NOT NULL")
    assert await store.worklist.lease(10, 10) == []


async def test_lease_of_what_is_still_served(store: Store) -> None:
    """A domain on its way out is not leased before caches have forgotten it, though it be due."""
    held = await store.adopted()
    await store.allocations.release_byo(held.id, await store.now() + HOUR, orphan=False, actor=CLIENT)
    await store.worklist.hurry()
    assert (await store.row("allocations"))["due_at"] <= await store.now()
    assert await store.worklist.lease(10, 10) == []
    await store.sql("UPDATE allocations SET not_before = now()")
    assert len(await store.worklist.lease(10, 10)) == 1


async def test_lease_in_order(store: Store) -> None:
    """What has waited longest comes first; what is published waits in a line of its own, with a limit of its own."""
    for number in range(3):
        await store.active(f"n{number}.{POOL}")
    await store.sql("UPDATE allocations SET due_at = now() - interval '1 hour' WHERE fqdn = $1", f"n2.{POOL}")
    assert {one.name for one in await store.worklist.lease(1, 0)} == {f"n2.{POOL}"}
    assert {one.name for one in await store.worklist.lease(10, 10)} == {f"n0.{POOL}", f"n1.{POOL}"}


async def test_lease_of_audits(store: Store) -> None:
    """Published names are leased for audits, the longest due first, and only as many as audits are wanted."""
    for number in range(3):
        await store.published(f"p{number}.{POOL}")
    await store.sql("UPDATE allocations SET due_at = now()")
    await store.sql("UPDATE allocations SET due_at = now() - interval '1 hour' WHERE fqdn = $1", f"p1.{POOL}")
    assert await store.worklist.lease(10, 0) == []
    assert [one.name for one in await store.worklist.lease(10, 1)] == [f"p1.{POOL}"]
    assert len(await store.worklist.lease(0, 10)) == 2


# --- what came of it -----------------------------------------------------------------------------------


async def test_record_published(store: Store) -> None:
    """A name that DNS has is published, with its DS, without an error, not leased, and audited later."""
    await store.active()
    await store.worklist.record_failure(await store.leased(), "no", timedelta())
    lease = await store.leased()
    before = await store.row("allocations")
    assert await store.worklist.record_published(lease, DS, HOUR, "as wanted")
    after = await store.row("allocations")
    assert changed(before, after) == {
        "dns_state", "ds", "dns_error", "dns_updated_at", "attempts", "due_at", "lease_id", "lease_until"
    }  # fmt: skip
    assert (after["dns_state"], after["ds"], after["dns_error"], after["attempts"]) == ("published", DS, None, 0)
    assert after["due_at"] - after["dns_updated_at"] == HOUR
    assert (after["lease_id"], after["lease_until"]) == (None, None)
    assert await store.events() == [RESERVED, COMMITTED, by_publisher("published", "active", "active", "as wanted")]


async def test_record_removed(store: Store) -> None:
    """A name that DNS has no more is free, and kept for its last holder for a while."""
    await store.releasing(tenant="team")
    assert await store.worklist.record_removed(await store.leased())
    assert await store.rows("allocations") == []
    row = await store.row("quarantine")
    assert row["until"] - row["since"] == QUARANTINE
    wanted = {"fqdn": FQDN, "pool_domain": POOL, "subdomain": "acme", "owner": "client", "tenant": "team"}
    assert {column: row[column] for column in wanted} == wanted
    assert (await store.events())[-1] == by_publisher("removed", "releasing", None)


async def test_record_removed_again(store: Store) -> None:
    """A name that is released again is kept anew, for whom had it then."""
    await store.quarantined()
    await store.sql("UPDATE quarantine SET since = now() - interval '40 days', until = now() - interval '10 days'")
    await store.quarantined(by=OTHER, tenant="team")
    row = await store.row("quarantine")
    assert (row["owner"], row["tenant"], row["until"] - row["since"]) == ("other", "team", QUARANTINE)
    assert row["since"] > await store.now() - MINUTE


async def test_record_removed_without_quarantine(store: Store) -> None:
    """Where names are not kept, a released one is free for everybody at once."""
    await store.releasing()
    worklist = Worklist(store.database, MINUTE, timedelta())
    assert await worklist.record_removed(await store.leased())
    assert await store.rows("allocations") == await store.rows("quarantine") == []


async def test_record_removed_of_a_condemned_name(store: Store) -> None:
    """A name that nobody held is kept for nobody."""
    await store.worklist.condemn(FQDN, POOL)
    assert await store.worklist.record_removed(await store.leased())
    assert await store.rows("allocations") == await store.rows("quarantine") == []


async def test_record_unchanged(store: Store) -> None:
    """An audit that found DNS as wanted ends the lease, and is repeated later; it is no event."""
    await store.published()
    await store.sql("UPDATE allocations SET due_at = now(), dns_error = 'x', attempts = 2")
    lease, trail = await store.leased(), await store.events()
    before = await store.row("allocations")
    assert await store.worklist.record_unchanged(lease, HOUR)
    after = await store.row("allocations")
    assert changed(before, after) == {"due_at", "dns_error", "attempts", "lease_id", "lease_until"}
    assert (after["dns_error"], after["attempts"], after["lease_id"]) == (None, 0, None)
    assert HOUR - MINUTE < after["due_at"] - await store.now() <= HOUR
    assert await store.events() == trail


async def test_record_drift(store: Store) -> None:
    """What differs in DNS is told, its repair is awaited like any change, and the lease goes on."""
    await store.published()
    await store.sql("UPDATE allocations SET due_at = now()")
    lease = await store.leased()
    before = await store.row("allocations")
    assert await store.worklist.record_drift(lease, "A differs")
    after = await store.row("allocations")
    assert changed(before, after) == {"dns_state", "dns_error", "dns_updated_at"}
    assert (after["dns_state"], after["dns_error"]) == ("pending", "A differs")
    assert (await store.events())[-1] == by_publisher("drifted", "active", "active", "A differs")
    async with store.unchanged():
        assert not await store.worklist.record_drift(lease, "A differs")


async def test_record_failure(store: Store) -> None:
    """A failed attempt is counted, told in words, and tried again later; it is no event."""
    await store.active()
    lease, trail = await store.leased(), await store.events()
    before = await store.row("allocations")
    assert await store.worklist.record_failure(lease, "no answer", HOUR)
    after = await store.row("allocations")
    assert changed(before, after) == {"dns_error", "attempts", "due_at", "lease_id", "lease_until"}
    assert (after["dns_error"], after["attempts"], after["lease_id"]) == ("no answer", 1, None)
    assert HOUR - MINUTE < after["due_at"] - await store.now() <= HOUR
    assert await store.events() == trail


Record = Callable[[Store, Lease[Allocation]], Awaitable[bool]]
RECORDS: dict[str, Record] = {
    "published": lambda store, lease: store.worklist.record_published(lease, DS, HOUR, "x"),
    "removed": lambda store, lease: store.worklist.record_removed(lease),
    "unchanged": lambda store, lease: store.worklist.record_unchanged(lease, HOUR),
    "drift": lambda store, lease: store.worklist.record_drift(lease, "x"),
    "failure": lambda store, lease: store.worklist.record_failure(lease, "x", HOUR),
}


@pytest.mark.parametrize("what", RECORDS)
async def test_no_record_without_the_lease(store: Store, what: str) -> None:
    """Whose lease was taken over, or who worked on an earlier generation, records nothing."""
    if what == "removed":
        await store.releasing()
    else:
        await store.published() if what == "drift" else await store.active()
        await store.sql("UPDATE allocations SET due_at = now()")
    lease = await store.leased()
    stale = replace(lease, row=replace(lease.row, generation=lease.row.generation - 1))
    async with store.unchanged():
        assert not await RECORDS[what](store, stale)
    await store.sql("UPDATE allocations SET lease_id = gen_random_uuid()")
    async with store.unchanged():
        assert not await RECORDS[what](store, lease)


async def test_no_record_of_another_state(store: Store) -> None:
    """What is leaving is not recorded as published, nor what is active as removed."""
    await store.releasing()
    lease = await store.leased()
    async with store.unchanged():
        assert not await store.worklist.record_published(lease, DS, HOUR, "x")
    await store.active(f"b.{POOL}")
    lease = await store.leased()
    async with store.unchanged():
        assert not await store.worklist.record_removed(lease)


async def test_give_up(store: Store) -> None:
    """A lease that is given up leaves the row due, for anybody; one that was taken over is left to its holder."""
    await store.active()
    lease = await store.leased()
    await store.worklist.give_up(lease)
    second = await store.leased()
    async with store.unchanged():
        await store.worklist.give_up(lease)
    assert second.id != lease.id


async def test_hurry(store: Store) -> None:
    """All that waits for another try is due now; audits are not, and what is due already keeps its place."""
    await store.published()
    await store.active(f"a.{POOL}")
    await store.releasing(f"b.{POOL}")
    await store.sql("UPDATE allocations SET due_at = now() + interval '1 hour'")
    await store.active(f"c.{POOL}")
    due = (await store.held(f"c.{POOL}"))["due_at"]
    await store.worklist.hurry()
    assert (await store.held(f"c.{POOL}"))["due_at"] == due
    assert {one.name for one in await store.worklist.lease(10, 10)} == {f"{label}.{POOL}" for label in "abc"}


# --- drift that is seen from outside -------------------------------------------------------------------


async def test_suspect(store: Store) -> None:
    """A published name that DNS has differently is to be published anew, now."""
    held = await store.published()
    before = await store.row("allocations")
    assert await store.worklist.suspect(FQDN, held.generation, "DS differ")
    after = await store.row("allocations")
    assert changed(before, after) == {"dns_state", "dns_error", "dns_updated_at", "due_at"}
    assert (after["dns_state"], after["dns_error"], after["due_at"]) == (
        "pending",
        "DS differ",
        after["dns_updated_at"],
    )
    assert (await store.events())[-1] == by_publisher("drifted", "active", "active", "DS differ")


async def test_suspect_of_what_is_being_changed(store: Store) -> None:
    """A name of another generation, that is leased, or is not published, is none to be suspected."""
    held = await store.published()
    async with store.unchanged():
        assert not await store.worklist.suspect(FQDN, held.generation - 1, "x")
    await store.sql("UPDATE allocations SET due_at = now()")
    lease = await store.leased()
    async with store.unchanged():
        assert not await store.worklist.suspect(FQDN, held.generation, "x")
    await store.worklist.give_up(lease)
    assert await store.worklist.suspect(FQDN, held.generation, "x")
    async with store.unchanged():
        assert not await store.worklist.suspect(FQDN, held.generation, "x")


async def test_condemn(store: Store) -> None:
    """A name in DNS that nobody holds becomes one that is leaving, of no holder; nobody can have it before it is gone."""
    assert await store.worklist.condemn(FQDN, POOL)
    row = await store.row("allocations")
    wanted = {
        "fqdn": FQDN, "mode": "pool", "pool_domain": POOL, "subdomain": "acme", "state": "releasing",
        "dns_state": "removing", "token_digest": b"", "committed_at": None, "expires_at": None, "owner": "local",
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    assert row["reserved_at"] == row["dns_updated_at"] == row["due_at"]
    assert await store.events() == [by_publisher("condemned", None, "releasing")]
    assert await store.allocations.reserve(reservation(), CLIENT) is None
    async with store.unchanged():
        assert not await store.worklist.condemn(FQDN, POOL)


@pytest.mark.parametrize("held", [FQDN, f"eu.{FQDN}", POOL])
async def test_condemn_of_a_held_name(store: Store, held: str) -> None:
    """A name that somebody holds, or above or below which somebody holds one, is not condemned."""
    await store.reserved(held)
    async with store.unchanged():
        assert not await store.worklist.condemn(FQDN, POOL)


# --- questions ---------------------------------------------------------------------------------------


async def test_delegated_in(store: Store) -> None:
    """Of a pool domain's names come generation and DS of what is published; what is being changed is only named."""
    held = await store.published()
    await store.active(f"a.{POOL}")
    await store.releasing(f"b.{POOL}")
    await store.reserved(f"c.{POOL}")
    await store.active("a.other.test")
    assert await store.worklist.delegated_in(POOL) == {
        FQDN: (held.generation, frozenset({"1 13 2 ab"})), f"a.{POOL}": None, f"b.{POOL}": None,
    }  # fmt: skip


async def test_backlog(store: Store) -> None:
    """What DNS has not as wanted is counted, with the age of the oldest; what is still to be served is not."""
    assert await store.worklist.backlog() == Backlog(0, 0)
    await store.published()
    await store.reserved(f"r.{POOL}")
    await store.active(f"a.{POOL}")
    await store.releasing(f"b.{POOL}")
    await store.sql(
        "UPDATE allocations SET dns_updated_at = now() - interval '1 hour' WHERE fqdn IN ($1, $2)", FQDN, f"a.{POOL}"
    )
    held = await store.adopted()
    await store.allocations.release_byo(held.id, await store.now() + HOUR, orphan=False, actor=CLIENT)
    found = await store.worklist.backlog()
    assert found.pending == 2
    assert 3600 <= found.oldest_seconds < 3660
    await store.sql(
        "UPDATE allocations SET not_before = now() - interval '2 hours', dns_updated_at = now() - interval '1 day' WHERE id = $1",
        held.id,
    )
    assert 7200 <= (await store.worklist.backlog()).oldest_seconds < 7260


async def test_leases_that_the_writer_still_has(store: Store) -> None:
    """Whoever writes a parent zone learns which leases hold: not ended, nor taken over, nor of another generation."""
    for label in ("a", "b", "c", "d"):
        await store.declared(*ADDRESSES, fqdn=f"{label}.{POOL}")
    leases = {one.name: one for one in await store.worklist.lease(10, 0)}
    a, b, c, d = (leases[f"{label}.{POOL}"] for label in "abcd")
    await store.sql("UPDATE allocations SET lease_until = now() WHERE fqdn = $1", b.name)
    await store.sql("UPDATE allocations SET lease_id = gen_random_uuid() WHERE fqdn = $1", c.name)
    await store.declarations.change(d.row.id, declaration("192.0.2.9", fqdn=d.name), CLIENT)
    async with store.worklist.writer_of(POOL, 5) as writer:
        assert await writer.held([a, b, c, d]) == {a.id}
