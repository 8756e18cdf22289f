"""Rows that replicas work on under a lease: the publisher's, the watch's, the pool registrar's; and what they record."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pdm_service.errors import StoreUnavailable
from pdm_service.model.allocation import Mode
from pdm_service.model.observation import Memory, Report
from pdm_service.model.records import RRset
from pdm_service.store.database import Database
from pdm_service.store.pool_registrations import Outcome
from pdm_service.store.registrar_changes import UndoSheet
from pdm_service.store.worklist import Worklist
from tests.integration.conftest import ANN, BOB, DAY, HOUR, MINUTE, POOL, Tables

NAME = "own.test"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
MEMORY = Memory(since=NOW, changed_at=NOW, old_ttl=300)
REPORT = Report(
    domain=NAME, phase="live", dnssec="secure", ds=(), parent="test", nameservers=(), missing=(), extra=(), parents_ok=1,
    parents_total=1, servers_ok=1, servers_total=1, parents=(), servers=(), others=(), problems=(), checked_at=NOW,
    converged_by=None, complete=True, queries=9,
)  # fmt: skip
SHEET = UndoSheet(
    registrar="ovh", nameservers=("ns1.old.net",), ds=(), parent_ttl=3600, acknowledged=("BYO-OLD-WEB",),
    rrsets=(RRset(name="own.test.", type="A", ttl=60, contents=("192.0.2.1",)),),
)  # fmt: skip


# --- the publisher's worklist --------------------------------------------------------------------------


async def test_lease(tables: Tables) -> None:
    """A due row is leased to one publisher at a time; when the lease has ended, to the next."""
    held = await tables.committed("acme")
    await tables.reserved("not-due")
    (lease,) = await tables.worklist.lease(5, 0)
    assert (lease.name, lease.row.id) == (held.fqdn, held.id)
    assert (await tables.row("allocations", held.fqdn))["lease_id"] == lease.id
    assert await tables.worklist.lease(5, 5) == []
    await tables.ago("allocations", held.fqdn, lease_until=MINUTE)
    (taken_over,) = await tables.worklist.lease(5, 0)
    assert taken_over.id != lease.id
    assert not await tables.worklist.record_published(lease, [], HOUR, "published")


async def test_lease_of_audits(tables: Tables) -> None:
    """Published names are leased when their audit is due, as many as may be; kept zones not before their time."""
    for label in ("a", "b"):
        await tables.published(label)
        await tables.ago("allocations", f"{label}.{POOL}", due_at=MINUTE)
    kept = await tables.adopted(NAME)
    later = await tables.connection.fetchval("SELECT now() + interval '1 hour'")
    await tables.allocations.release_byo(kept.id, later, orphan=False, actor=ANN)
    assert len(await tables.worklist.lease(5, 1)) == 1
    assert len(await tables.worklist.lease(5, 5)) == 1


async def test_record_published(tables: Tables) -> None:
    """DS and outcome are recorded, the lease ends, and the audit is due later."""
    held = await tables.committed("acme")
    (lease,) = await tables.worklist.lease(1, 0)
    await tables.worklist.record_failure(lease, "not yet", timedelta(0))
    (lease,) = await tables.worklist.lease(1, 0)
    assert await tables.worklist.record_published(lease, ["1 13 2 ab"], HOUR, "published")
    row = await tables.row("allocations", held.fqdn)
    assert (row["dns_state"], row["ds"], row["dns_error"], row["attempts"]) == ("published", ["1 13 2 ab"], None, 0)
    assert (row["lease_id"], row["lease_until"]) == (None, None)
    assert row["due_at"] - row["dns_updated_at"] == HOUR
    assert (await tables.events(held.fqdn))[-1] == ("published", "publisher", "active", "active", "published")


async def test_record_of_a_row_that_changed(tables: Tables) -> None:
    """An outcome is recorded only for the generation that was leased; the lease can be given up."""
    held = await tables.committed("acme")
    (lease,) = await tables.worklist.lease(1, 0)
    await tables.allocations.release_active(held, ANN)
    before = await tables.row("allocations", held.fqdn)
    worklist = tables.worklist
    assert not await worklist.record_published(lease, [], HOUR, "published")
    assert not await worklist.record_removed(lease)
    assert not await worklist.record_unchanged(lease, HOUR)
    assert not await worklist.record_drift(lease, "differs")
    assert not await worklist.record_failure(lease, "failed", HOUR)
    assert await tables.row("allocations", held.fqdn) == before
    await worklist.give_up(lease)
    assert (await tables.row("allocations", held.fqdn))["lease_id"] is None
    assert await worklist.lease(1, 0) != []


async def test_record_removed(tables: Tables) -> None:
    """The name is free, and kept for its last holder for a time."""
    held = await tables.published("acme", tenant="team")
    await tables.allocations.release_active(held, ANN)
    (lease,) = await tables.worklist.lease(1, 0)
    assert await tables.worklist.record_removed(lease)
    assert await tables.row("allocations", held.fqdn) is None
    kept = await tables.row("quarantine", held.fqdn)
    assert (kept["owner"], kept["tenant"], kept["until"] - kept["since"]) == ("ann", "team", 30 * DAY)
    assert (await tables.events(held.fqdn))[-1] == ("removed", "publisher", "releasing", None, None)


async def test_removed_without_quarantine(tables: Tables) -> None:
    """A customer's domain is never kept, nor any name where the quarantine is off."""
    off = Worklist(tables.database, MINUTE, timedelta())
    pool, own = await tables.published("acme"), await tables.adopted(NAME)
    await tables.allocations.release_active(pool, ANN)
    await tables.allocations.release_byo(own.id, None, orphan=False, actor=ANN)
    for lease in await off.lease(2, 0):
        assert await (tables.worklist if lease.name == NAME else off).record_removed(lease)
    assert await tables.connection.fetchval("SELECT count(*) FROM quarantine") == 0


async def test_record_of_an_audit(tables: Tables) -> None:
    """As wanted: due again later. Not so: pending, with what differs, until it is repaired."""
    held = await tables.published("acme")
    await tables.ago("allocations", held.fqdn, due_at=MINUTE)
    (lease,) = await tables.worklist.lease(1, 1)
    assert await tables.worklist.record_unchanged(lease, HOUR)
    row = await tables.row("allocations", held.fqdn)
    assert (row["dns_state"], row["lease_id"]) == ("published", None)
    await tables.ago("allocations", held.fqdn, due_at=MINUTE)
    (lease,) = await tables.worklist.lease(1, 1)
    assert await tables.worklist.record_drift(lease, "A differs")
    row = await tables.row("allocations", held.fqdn)
    assert (row["dns_state"], row["dns_error"], row["lease_id"]) == ("pending", "A differs", lease.id)
    assert not await tables.worklist.record_drift(lease, "A differs")
    assert (await tables.events(held.fqdn))[-1] == ("drifted", "publisher", "active", "active", "A differs")


async def test_record_failure_and_hurry(tables: Tables) -> None:
    """A failed attempt is told to the holder and tried again later, or at once when what held it up is over."""
    held = await tables.committed("acme")
    (lease,) = await tables.worklist.lease(1, 0)
    assert await tables.worklist.record_failure(lease, "PowerDNS is away", HOUR)
    row = await tables.row("allocations", held.fqdn)
    assert (row["dns_error"], row["attempts"], row["lease_id"]) == ("PowerDNS is away", 1, None)
    assert await tables.worklist.lease(1, 0) == []
    backlog = await tables.worklist.backlog()
    assert backlog.pending == 1
    assert 0 <= backlog.oldest_seconds < 60
    await tables.worklist.hurry()
    assert len(await tables.worklist.lease(1, 0)) == 1


async def test_suspect(tables: Tables) -> None:
    """A published name that an audit of its pool found otherwise is pending at once, unless it changed or is leased."""
    held = await tables.published("acme")
    suspect = tables.worklist.suspect
    assert not await suspect(held.fqdn, held.generation - 1, "NS differ")
    assert await suspect(held.fqdn, held.generation, "NS differ")
    assert not await suspect(held.fqdn, held.generation, "NS differ")
    row = await tables.row("allocations", held.fqdn)
    assert (row["dns_state"], row["dns_error"]) == ("pending", "NS differ")
    assert (await tables.events(held.fqdn))[-1] == ("drifted", "publisher", "active", "active", "NS differ")


async def test_condemn(tables: Tables) -> None:
    """A stray delegation becomes an allocation of nobody that is being released; a held name is left alone."""
    await tables.committed("acme")
    condemn = tables.worklist.condemn
    assert not await condemn(f"acme.{POOL}", POOL)
    assert not await condemn(f"x.acme.{POOL}", POOL)
    assert await condemn(f"stray.{POOL}", POOL)
    row = await tables.row("allocations", f"stray.{POOL}")
    assert (row["state"], row["dns_state"], bytes(row["token_digest"])) == ("releasing", "removing", b"")
    assert await tables.events(f"stray.{POOL}") == [("condemned", "publisher", None, "releasing", None)]


async def test_delegated_in(tables: Tables) -> None:
    """Each name of a pool domain with DNS: generation and DS where it is published, nothing certain where it changes."""
    held = await tables.published("a")
    await tables.committed("b")
    await tables.reserved("c")
    found = await tables.worklist.delegated_in(POOL)
    assert found == {held.fqdn: (held.generation, frozenset({"1 13 2 ab"})), f"b.{POOL}": None}


async def test_writer_of_a_parent(database_url: str, tables: Tables) -> None:
    """One writer of a parent zone in the whole deployment, who learns which leases still hold."""
    held = await tables.committed("acme")
    (lease,) = await tables.worklist.lease(1, 0)
    other = Database(database_url, 2)
    await other.open()
    async with tables.worklist.writer_of(POOL, 5) as writer:
        assert await writer.held([lease]) == {lease.id}
        with pytest.raises(StoreUnavailable, match=POOL):
            async with Worklist(other, MINUTE, MINUTE).writer_of(POOL, 0.5):
                raise AssertionError
        await tables.allocations.release_active(held, ANN)
        assert await writer.held([lease]) == set()
    async with Worklist(other, MINUTE, MINUTE).writer_of(POOL, 5):
        pass
    await other.close()


# --- watches -------------------------------------------------------------------------------------------


async def test_watch_is_leased_and_recorded(tables: Tables) -> None:
    """A domain that is due is observed by one replica; what it found is remembered, and it is due again."""
    await tables.claimed(NAME)
    (lease,) = await tables.watches.lease(5)
    assert (lease.name, lease.row.memory) == (NAME, None)
    assert await tables.watches.lease(5) == []
    assert await tables.watches.known(NAME) is None
    assert await tables.watches.record(lease, REPORT, MEMORY, HOUR)
    row = await tables.row("watches", NAME)
    assert (row["lease_id"], row["due_at"] > await tables.watches.now()) == (None, True)
    known = await tables.watches.known(NAME)
    assert (known.report, known.memory) == (REPORT, MEMORY)
    assert not await tables.watches.record(lease, REPORT, MEMORY, HOUR)
    await tables.watches.hurry(NAME)
    (again,) = await tables.watches.lease(5)
    assert again.row.memory == MEMORY


async def test_watch_of_a_domain_that_nobody_has(tables: Tables) -> None:
    """It is observed when somebody asks, not again by itself, and forgotten after a day."""
    lease = await tables.watches.lease_one(NAME, timedelta())
    assert await tables.watches.lease_one(NAME, timedelta()) is None
    await tables.watches.give_up(lease)
    assert await tables.watches.lease_one(NAME, HOUR) is None
    lease = await tables.watches.lease_one(NAME, timedelta())
    await tables.watches.record(lease, REPORT, MEMORY, HOUR)
    assert (await tables.row("watches", NAME))["due_at"] is None
    await tables.watches.forget()
    assert await tables.row("watches", NAME)
    await tables.ago("watches", NAME, looked_at=2 * DAY)
    await tables.watches.forget()
    assert await tables.row("watches", NAME) is None


async def test_watch_notes_a_phase(tables: Tables) -> None:
    """A change of phase is an event of the holding and of each live claim."""
    await tables.adopted("held.test", "h")
    await tables.claimed(NAME)
    for fqdn in ("held.test", NAME):
        await tables.watches.note(fqdn, "partial", "live")
    assert (await tables.events("held.test"))[-1] == ("delegation", "watch", "active", "active", "partial to live")
    assert (await tables.events(NAME))[-1] == ("delegation", "watch", "reserved", "reserved", "partial to live")


async def test_announce(tables: Tables) -> None:
    """A served domain says which DS its parent should have, once; its registrar's token is needed until that is there."""
    held = await tables.adopted(NAME, mode=Mode.BYO_API)
    announce = tables.watches.announce
    assert not await announce(NAME, secured=False, registrars=["ovh"])
    (lease,) = await tables.worklist.lease(1, 0)
    await tables.worklist.record_published(lease, ["1 13 2 ab"], HOUR, "published")
    await tables.changes.keep(held, SHEET)
    await moved(tables, held)
    assert await announce(NAME, secured=False, registrars=["ovh"])
    row = await tables.row("allocations", NAME)
    assert (row["announce_ds"], row["needs"]) == (True, "registrar-token")
    assert row["generation"] > held.generation
    assert not await announce(NAME, secured=True, registrars=["ovh"])
    assert (await tables.row("allocations", NAME))["needs"] is None


async def moved(tables: Tables, held: Any) -> None:
    change = await tables.changes.begin(held, "ovh", "nameservers", ["ns1.platform.test"], ANN)
    await tables.changes.note(change, "done")


async def test_announce_not_on_the_way_back(tables: Tables) -> None:
    """While a domain goes back to its former nameservers no DS is announced."""
    held = await tables.adopted(NAME, mode=Mode.BYO_API)
    (lease,) = await tables.worklist.lease(1, 0)
    await tables.worklist.record_published(lease, ["1 13 2 ab"], HOUR, "published")
    await moved(tables, held)
    back = await tables.changes.begin(held, "ovh", "rollback", ["ns1.old.net"], ANN)
    assert not await tables.watches.announce(NAME, secured=False, registrars=[])
    await tables.changes.note(back, "failed")
    assert await tables.watches.announce(NAME, secured=False, registrars=[])


async def test_phases(tables: Tables) -> None:
    """Watched domains are counted by phase."""
    await tables.claimed(NAME)
    (lease,) = await tables.watches.lease(5)
    assert await tables.watches.phases() == {}
    await tables.watches.record(lease, REPORT, MEMORY, HOUR)
    assert await tables.watches.phases() == {"live": 1}


# --- changes at registrars -----------------------------------------------------------------------------


async def test_undo_sheet(tables: Tables) -> None:
    """It may be written anew until a change of nameservers was sent; then it stays."""
    held = await tables.adopted(NAME, mode=Mode.BYO_API)
    assert await tables.changes.sheet(held.id) is None
    for nameservers in (("ns9.old.net",), SHEET.nameservers):
        await tables.changes.keep(held, UndoSheet(**{**as_dict(SHEET), "nameservers": nameservers}))
    await moved(tables, held)
    await tables.changes.keep(held, UndoSheet(**{**as_dict(SHEET), "nameservers": ("ns1.platform.test",)}))
    found = await tables.changes.sheet(held.id)
    assert as_dict(found) == {**as_dict(SHEET), "made_at": found.made_at}


def as_dict(sheet: UndoSheet) -> dict[str, Any]:
    return {name: getattr(sheet, name) for name in UndoSheet.__struct_fields__}


async def test_change_at_a_registrar(tables: Tables) -> None:
    """It is noted before it is sent, one at a time, and settled once; what it needs of the caller follows."""
    held = await tables.adopted(NAME, mode=Mode.BYO_API)
    changes = tables.changes
    change = await changes.begin(held, "ovh", "nameservers", ["a", "b"], BOB)
    assert await changes.begin(held, "ovh", "ds", ["x"], BOB) is None
    assert (await changes.open(held.id)).id == change.id
    await changes.note(change, "pending", operation="42", problem="is carried out")
    last = await changes.last(held.id, "nameservers", "rollback")
    assert (last.outcome, last.operation, last.problem, last.settled) == ("pending", "42", "is carried out", False)
    assert (await tables.row("allocations", NAME))["needs"] is None
    await changes.note(change, "failed", problem="refused")
    await changes.note(change, "done")
    row = await tables.row("registrar_changes", NAME)
    assert (row["outcome"], row["operation"], row["settled_at"] is None) == ("failed", "42", False)
    assert (await tables.row("allocations", NAME))["needs"] == "registrar-token"
    assert await changes.open(held.id) is None
    assert (await tables.events(NAME))[-3:] == [
        ("nameservers-requested", "bob", "active", "active", "a, b"),
        ("nameservers-pending", "registrar", "active", "active", "is carried out"),
        ("nameservers-failed", "registrar", "active", "active", "refused"),
    ]


async def test_change_that_the_parent_zone_shows(tables: Tables) -> None:
    """An open change of a kind that the parent zone shows is done."""
    held = await tables.adopted(NAME, mode=Mode.BYO_API)
    await tables.changes.begin(held, "ovh", "nameservers", ["a"], ANN)
    await tables.changes.settle_by_dns(NAME, ["ds", "rollback"])
    assert (await tables.row("registrar_changes", NAME))["outcome"] == "requested"
    await tables.changes.settle_by_dns(NAME, ["nameservers"])
    assert (await tables.row("registrar_changes", NAME))["outcome"] == "done"


async def test_change_of_a_domain_that_is_not_active(tables: Tables) -> None:
    """Nothing is sent for a domain that is being released."""
    held = await tables.adopted(NAME)
    await tables.allocations.release_byo(held.id, None, orphan=False, actor=ANN)
    assert await tables.changes.begin(held, "ovh", "nameservers", ["a"], ANN) is None
    assert await tables.row("registrar_changes", NAME) is None


async def test_withdraw_of_the_announcement(tables: Tables) -> None:
    """A zone that announces its DS stops, and is due for the publisher; another is left alone."""
    held = await tables.adopted(NAME)
    await tables.changes.withdraw(held)
    assert (await tables.row("allocations", NAME))["generation"] == held.generation
    await tables.connection.execute("UPDATE allocations SET announce_ds = true")
    await tables.changes.withdraw(held)
    row = await tables.row("allocations", NAME)
    assert (row["announce_ds"], row["generation"] > held.generation) == (False, True)


# --- pool domains at their registrar -------------------------------------------------------------------


async def test_pool_registration(tables: Tables) -> None:
    """One replica looks after a pool domain at a time; what is about to be sent is noted first; what was seen stays."""
    registrations = tables.registrations
    lease = await registrations.lease(POOL, None, MINUTE)
    assert (lease.row.operation, lease.row.since_moved, lease.row.since_signed) == (None, None, None)
    assert await registrations.lease(POOL, timedelta(), MINUTE) is None
    assert await registrations.about_to_move(lease)
    assert await registrations.about_to_sign(lease)
    outcome = Outcome(state="changing", nameservers=("a",), ds=("1 13 2 ab",), operation="7", repaired=True, again=HOUR)
    await registrations.record(lease, outcome)
    assert not await registrations.about_to_move(lease)
    assert await registrations.lease(POOL, DAY, MINUTE) is None
    lease = await registrations.lease(POOL, timedelta(), MINUTE)
    assert (lease.row.operation, lease.row.since_moved is None, lease.row.since_signed is None) == ("7", False, False)
    await registrations.record(lease, Outcome(state="failed", problem="away", again=HOUR))
    found = (await registrations.all())[POOL]
    assert (found.state, found.problem, found.nameservers, found.ds) == ("failed", "away", ("a",), ("1 13 2 ab",))
    assert found.repaired_at is not None
    await registrations.record(lease, Outcome(state="in-order", again=HOUR))
    assert (await registrations.all())[POOL].state == "failed"


# --- the audit trail -----------------------------------------------------------------------------------


async def test_events_of_a_name(tables: Tables) -> None:
    """A client sees what happened to its own holdings of a name, oldest first, behind a place."""
    held = await tables.reserved("acme")
    await tables.allocations.release_reserved(held, ANN)
    await tables.reserved("acme", BOB)
    everything = await tables.trail.of(held.fqdn, None, 0, 10)
    assert [(one.action, one.actor, one.request_id) for one in everything] == [
        ("reserved", "ann", "request-1"), ("released", "ann", "request-1"), ("reserved", "bob", "request-2"),
    ]  # fmt: skip
    assert await tables.trail.of(held.fqdn, "ann", 0, 10) == everything[:2]
    assert await tables.trail.of(held.fqdn, "bob", 0, 10) == everything[2:]
    assert await tables.trail.of(held.fqdn, None, everything[0].id, 1) == everything[1:2]


async def test_export(tables: Tables) -> None:
    """Nothing is exported before all transactions that began earlier have ended, so that a place is never passed."""
    await tables.reserved("a")
    slow = tables.connection.transaction()
    await slow.start()
    await tables.connection.execute(
        "INSERT INTO events (fqdn, allocation_id, action, actor) VALUES ('x', gen_random_uuid(), 'renewed', 'x')"
    )
    await tables.reserved("b")
    first = await tables.trail.export((0, 0), None, 10)
    assert [one.fqdn for one in first] == [f"a.{POOL}"]
    await slow.commit()
    place = (first[-1].xid, first[-1].id)
    assert [one.fqdn for one in await tables.trail.export(place, None, 10)] == ["x", f"b.{POOL}"]
    assert await tables.trail.export((0, 0), datetime.now(UTC) + HOUR, 10) == []
    assert len(await tables.trail.export((0, 0), None, 2)) == 2


async def test_forget_events(tables: Tables) -> None:
    """Old entries are deleted; others stay."""
    held = await tables.reserved("a")
    await tables.reserved("b")
    await tables.ago("events", held.fqdn, at=2 * DAY)
    assert await tables.trail.forget(DAY) == 1
    assert (await tables.events(held.fqdn), len(await tables.events(f"b.{POOL}"))) == ([], 1)
