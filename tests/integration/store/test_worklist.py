"""The publisher's side of the store: who works on a row, and what came of it; a lost lease records nothing."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from pdm_service.model.allocation import Allocation
from pdm_service.store.rows import Lease
from pdm_service.store.worklist import Backlog, Parent, Worklist, Zone
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
    digest,
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


async def test_delegated(store: Store) -> None:
    """Of names come generation and DS of what is published; what is being changed is only named."""
    held = await store.published()
    await store.active(f"a.{POOL}")
    await store.releasing(f"b.{POOL}")
    await store.reserved(f"c.{POOL}")
    await store.active(f"d.{POOL}")
    asked = [FQDN, f"a.{POOL}", f"b.{POOL}", f"c.{POOL}", f"nobody.{POOL}"]
    assert await store.worklist.delegated(asked) == {
        FQDN: (held.generation, frozenset({"1 13 2 ab"})), f"a.{POOL}": None, f"b.{POOL}": None,
    }  # fmt: skip


# --- calls that may come late --------------------------------------------------------------------------


async def late(store: Store, fqdn: str = FQDN) -> bool:
    return bool(await store.sql("SELECT FROM late_calls WHERE fqdn = $1", fqdn))


async def test_work_that_was_not_finished(store: Store) -> None:
    """Of a name whose lease ran out it is noted that calls may come late; of one that was given back it is not."""
    await store.active()
    lease = await store.leased()
    assert not lease.late
    await store.worklist.give_up(lease)
    assert not (await store.leased()).late
    assert not await late(store)
    await store.sql("UPDATE allocations SET lease_until = now() - interval '1 second'")
    assert (await store.leased()).late
    assert await late(store)


async def test_a_late_name_is_looked_at_soon(store: Store) -> None:
    """It is looked at 2 s after it was published, then every 10 s, for 5 minutes; before others, and beyond their limit."""
    await store.published(f"p.{POOL}")
    await store.active()
    lease = await store.leased()
    await store.worklist.note_late(lease)
    assert await store.worklist.record_published(lease, DS, HOUR, "published")

    async def due_in() -> float:
        (row,) = await store.sql(
            "SELECT extract(epoch FROM due_at - now())::float8 AS due FROM allocations WHERE fqdn = $1", FQDN
        )
        return float(row["due"])

    assert 0 < await due_in() <= 2
    await store.sql("UPDATE allocations SET due_at = now()")
    (lease,) = await store.worklist.lease(10, 0, 1)
    assert (lease.name, lease.late) == (FQDN, True)
    assert await store.worklist.record_unchanged(lease, HOUR)
    assert 8 < await due_in() <= 10
    await store.sql("UPDATE allocations SET due_at = now() WHERE fqdn = $1", FQDN)
    await store.sql("UPDATE late_calls SET since = now() - interval '6 minutes'")
    leases = {one.name: one for one in await store.worklist.lease(10, 2)}
    assert await store.worklist.record_unchanged(leases[FQDN], HOUR)
    assert await due_in() > 3500
    assert await store.worklist.late_and_free(10) == []
    assert not await late(store)


async def test_a_late_name_is_nobodys_for_a_while(store: Store) -> None:
    """A name that DNS has no more stays in release as long as a call may be carried out, and its holder is told."""
    await store.releasing()
    lease = await store.leased()
    await store.worklist.note_late(lease)
    assert await store.worklist.record_removed(lease) == "held"
    row = await store.row("allocations")
    assert (row["state"], row["lease_id"], "may still" in row["dns_error"]) == ("releasing", None, True)
    await store.sql("UPDATE late_calls SET since = now() - interval '16 seconds'")
    await store.sql("UPDATE allocations SET due_at = now()")
    assert await store.worklist.record_removed(await store.leased()) == "removed"
    assert await store.allocations.find(FQDN) is None
    # It is looked at for the rest of the 5 minutes.
    assert await store.worklist.late_and_free(10) == [(FQDN, POOL)]
    assert await store.worklist.late_and_free(10) == []


async def test_lease_of_a_reservation(store: Store) -> None:
    """A reservation is leased once, and what its holder commits meanwhile waits for the end of the lease."""
    await store.reserved()
    lease = await store.worklist.lease_reserved(FQDN)
    assert lease is not None
    assert await store.worklist.lease_reserved(FQDN) is None
    assert await store.allocations.commit(FQDN, digest(FQDN), ADDRESSES, None, CLIENT)
    assert await store.worklist.lease(10, 10) == []
    await store.worklist.give_up(lease)
    assert len(await store.worklist.lease(10, 10)) == 1
    assert await store.worklist.lease_reserved(FQDN) is None


# --- what PowerDNS lists -------------------------------------------------------------------------------


async def test_zones_that_have_changed(store: Store) -> None:
    """A published name is due when its zone has another serial than at the last look, and once for each serial."""
    held = await store.published()
    other = await store.published(f"p.{POOL}")

    async def due(serial: int) -> set[str]:
        await store.sql("UPDATE allocations SET due_at = now() + interval '1 hour'")
        zones = [Zone(FQDN, held.id, serial), Zone(f"p.{POOL}", uuid4(), serial), Zone(f"no.{POOL}", other.id, serial)]
        await store.worklist.changed(zones)
        return {row["fqdn"] for row in await store.sql("SELECT fqdn FROM allocations WHERE due_at <= now()")}

    assert await due(7) == {FQDN}, "it was published just now"
    lease = await store.leased()
    assert lease.serial == 7
    assert await store.worklist.record_unchanged(lease, HOUR)
    assert await due(7) == set()
    assert await due(8) == {FQDN}
    # Looked at because its turn came: what was listed last is not what was looked at, perhaps.
    await store.sql(
        "UPDATE allocations SET serial = NULL, listed_serial = NULL, dns_updated_at = now() - interval '2 d'"
    )
    assert await due(9) == set()
    assert await due(9) == set()
    assert await due(10) == {FQDN}


async def test_a_serial_that_moves_while_it_is_looked_at(store: Store) -> None:
    """What was listed after a look began was not looked at."""
    held = await store.published()
    await store.worklist.changed([Zone(FQDN, held.id, 7)])
    lease = await store.leased()
    await store.worklist.changed([Zone(FQDN, held.id, 8)])
    assert await store.worklist.record_unchanged(lease, HOUR)
    await store.worklist.changed([Zone(FQDN, held.id, 8)])
    row = await store.row("allocations")
    assert (row["serial"], row["listed_serial"]) == (7, 8)


async def test_pool_zone(store: Store) -> None:
    """A pool zone is as it was read as long as its serial counts our own changes, and no others; it is read once a day."""

    async def known() -> Parent:
        async with store.worklist.writer_of(POOL, 5) as writer:
            return await writer.known(POOL, timedelta(days=1))

    assert not (await known()).unchanged(5)
    await store.worklist.note_write(POOL)
    before = await known()
    await store.worklist.note_write(POOL)  # while it is read
    await store.worklist.record_read(POOL, 5, before.writes)
    found = await known()
    assert [found.unchanged(serial) for serial in (5, 6, 7)] == [False, True, False]
    await store.sql("UPDATE parent_zones SET read_at = now() - interval '25 hours'")
    assert not (await known()).unchanged(6)


async def test_published(store: Store) -> None:
    """Published names come in order, some at a time, of one pool domain or of all; what was published since does not."""
    for label in "bac":
        await store.published(f"{label}.{POOL}")
    await store.active(f"d.{POOL}")
    now = await store.now()
    assert await store.worklist.published("", now, 2) == [f"a.{POOL}", f"b.{POOL}"]
    assert await store.worklist.published(f"b.{POOL}", now, 2, POOL) == [f"c.{POOL}"]
    assert await store.worklist.published("", now, 2, "other.test") == []
    assert await store.worklist.published("", now - HOUR, 2) == []


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
