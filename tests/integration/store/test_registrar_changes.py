"""Undo sheets and changes at registrars: noted before they are sent, settled once, never two at a time."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from pdm_service.model.allocation import Mode
from pdm_service.model.records import RRset
from pdm_service.store.registrar_changes import Kind, Result, UndoSheet
from tests.store import CLIENT, DOMAIN, HOUR, MINUTE, OTHER, Entry, Store, changed, said, sheet

WANTED = ["ns1.platform.test", "ns2.platform.test"]
LATER = ("ns1.later.test",)


def noted(action: str, problem: str | None = None) -> Entry:
    return Entry(action, "active", "active", "registrar", problem)


# --- undo sheets -------------------------------------------------------------------------------------


async def test_keep(store: Store) -> None:
    """An undo sheet is kept and read back as it was, with the moment it was made."""
    held = await store.adopted(mode=Mode.BYO_API)
    assert await store.changes.sheet(held.id) is None
    trail = await store.events(DOMAIN)
    await store.changes.keep(held, sheet())
    row = await store.row("undo_sheets")
    assert (row["allocation_id"], row["fqdn"], row["registrar"]) == (held.id, DOMAIN, "ovh")
    assert (row["nameservers"], row["parent_ttl"]) == (["ns1.old.test", "ns2.old.test"], 3600)
    found = await store.changes.sheet(held.id)
    assert found is not None
    assert found.made_at == row["made_at"]
    assert (found.registrar, found.nameservers, found.ds, found.acknowledged, found.rrsets) == (
        sheet().registrar, sheet().nameservers, sheet().ds, sheet().acknowledged, sheet().rrsets,
    )  # fmt: skip
    assert await store.events(DOMAIN) == trail


@pytest.mark.parametrize(
    ("kind", "outcome", "kept"),
    [
        ("nameservers", "requested", True), ("nameservers", "pending", True), ("nameservers", "done", True),
        ("nameservers", "failed", False), ("ds", "done", False), (None, None, False),
    ],
)  # fmt: skip
async def test_keep_of_a_later_sheet(store: Store, kind: Kind | None, outcome: Result, kept: bool) -> None:
    """A sheet from before a change of nameservers that may have been made is kept; any other makes way for a later one."""
    held = await store.adopted(mode=Mode.BYO_API)
    await store.changes.keep(held, sheet())
    before = await store.row("undo_sheets")
    if kind:
        await store.change(held, kind, outcome)
    other = await store.adopted("other.example", token=b"other")
    await store.change(other, "nameservers", "done")
    later = UndoSheet(
        registrar="dynadot", nameservers=LATER, ds=(), parent_ttl=60, acknowledged=("BYO-Y",),
        rrsets=(RRset(name=f"{DOMAIN}.", type="A", ttl=60, contents=("192.0.2.7",)),),
    )  # fmt: skip
    await store.changes.keep(held, later)
    after = await store.row("undo_sheets")
    assert changed(before, after) == (set() if kept else set(before) - {"allocation_id", "fqdn"})
    found = await store.changes.sheet(held.id)
    assert found is not None
    assert replace(found, made_at=None) == (sheet() if kept else later)


# --- begin -------------------------------------------------------------------------------------------


async def test_begin(store: Store) -> None:
    """A change is noted before it is sent, with what it wants; nothing is known of it yet."""
    held = await store.adopted(mode=Mode.BYO_API)
    change = await store.changes.begin(held, "ovh", "nameservers", WANTED, CLIENT)
    row = await store.row("registrar_changes")
    wanted = {
        "allocation_id": held.id, "fqdn": DOMAIN, "registrar": "ovh", "kind": "nameservers", "wanted": WANTED,
        "outcome": "requested", "settled_at": None, "operation": None, "problem": None,
    }  # fmt: skip
    assert {column: row[column] for column in wanted} == wanted
    assert change is not None
    assert (change.id, change.wanted, change.outcome, change.settled) == (row["id"], tuple(WANTED), "requested", False)
    assert timedelta() <= change.age < MINUTE
    assert (await store.events(DOMAIN))[-1] == said(
        "nameservers-requested", "active", "active", "ns1.platform.test, ns2.platform.test"
    )


async def test_begin_while_one_is_open(store: Store) -> None:
    """While the outcome of a change is not known no other one of the domain begins; others' domains go on."""
    held = await store.adopted()
    other = await store.adopted("other.example", token=b"other")
    change = await store.change(held)
    async with store.unchanged():
        assert await store.changes.begin(held, "ovh", "rollback", WANTED, OTHER) is None
    assert await store.change(other)
    await store.changes.note(change, "failed")
    assert await store.change(held, "rollback")


async def test_begin_by_many_at_once(store: Store) -> None:
    """Of many that begin a change of a domain at once one does."""
    held = await store.adopted()
    found = await asyncio.gather(*(store.changes.begin(held, "ovh", "ds", ["x"], CLIENT) for _ in range(4)))
    assert sum(one is not None for one in found) == 1
    assert len(await store.rows("registrar_changes")) == 1


async def test_begin_for_what_is_not_active(store: Store) -> None:
    """A domain that is leaving, or is gone, has no change begun at its registrar."""
    held = await store.adopted()
    await store.allocations.release_byo(held.id, None, orphan=False, actor=CLIENT)
    async with store.unchanged():
        assert await store.changes.begin(held, "ovh", "ds", ["x"], CLIENT) is None
    await store.worklist.record_removed(await store.leased())
    async with store.unchanged():
        assert await store.changes.begin(held, "ovh", "ds", ["x"], CLIENT) is None


# --- note --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nameservers", "rollback", "ds"])
@pytest.mark.parametrize(
    ("outcome", "needs"),
    [("done", None), ("pending", None), ("requested", "registrar-token"), ("failed", "registrar-token")],
)
async def test_note(store: Store, kind: Kind, outcome: Result, needs: str | None) -> None:
    """What became of a change is recorded; made or taken it needs nothing more, else the token once more."""
    held = await store.adopted()
    change = await store.change(held, kind)
    await store.sql("UPDATE allocations SET needs = $1", "registrar-token" if needs is None else None)
    before, allocation = await store.row("registrar_changes"), await store.row("allocations")
    await store.changes.note(change, outcome, operation="op", problem="why")
    after = await store.row("registrar_changes")
    assert changed(before, after) == {"outcome", "operation", "problem", "settled_at"} - (
        set() if outcome in {"done", "failed"} else {"settled_at"}
    ) - ({"outcome"} if outcome == "requested" else set())
    assert (after["outcome"], after["operation"], after["problem"]) == (outcome, "op", "why")
    assert (after["settled_at"] is not None) is (outcome in {"done", "failed"})
    now = await store.row("allocations")
    assert (changed(allocation, now), now["needs"]) == ({"needs"}, needs)
    assert (await store.events(DOMAIN))[-1] == noted(f"{kind}-{outcome}", "why")


@pytest.mark.parametrize("outcome", ["done", "failed"])
async def test_note_of_a_removed_ds(store: Store, outcome: Result) -> None:
    """A DS that is taken away on the way back says nothing about what the domain needs."""
    held = await store.adopted(mode=Mode.BYO_API)
    change = await store.change(held, "ds-removal")
    before = await store.row("allocations")
    await store.changes.note(change, outcome)
    assert await store.row("allocations") == before
    assert (await store.events(DOMAIN))[-1] == noted(f"ds-removal-{outcome}")


@pytest.mark.parametrize("outcome", ["done", "failed"])
async def test_note_of_what_is_settled(store: Store, outcome: Result) -> None:
    """What is known of a change is final: a later word changes nothing."""
    change = await store.change(await store.adopted(), outcome=outcome)
    async with store.unchanged():
        await store.changes.note(change, "failed" if outcome == "done" else "done", problem="late")


async def test_note_keeps_the_operation(store: Store) -> None:
    """The registrar's id of a change that it carries out stays known when nothing new is told of it."""
    change = await store.change(await store.adopted())
    await store.changes.note(change, "pending", operation="op-1")
    await store.changes.note(change, "done")
    assert (await store.row("registrar_changes"))["operation"] == "op-1"


async def test_note_of_another_allocation(store: Store) -> None:
    """What another domain needs does not change with a change of this one."""
    change = await store.change(await store.adopted())
    await store.adopted("other.example", mode=Mode.BYO_API, token=b"other")
    await store.changes.note(change, "done")
    assert (await store.held("other.example"))["needs"] == "registrar-token"


# --- questions ---------------------------------------------------------------------------------------


async def test_last_and_open(store: Store) -> None:
    """The last change of some kinds is found, and the one whose outcome is not known."""
    held = await store.adopted()
    assert await store.changes.last(held.id, "nameservers") is None
    first = await store.change(held, "nameservers", "failed")
    second = await store.change(held, "nameservers", "done")
    assert await store.changes.open(held.id) is None
    third = await store.change(held, "ds")
    for kinds, change in (((("nameservers"),), second), (("ds", "nameservers"), third), (("ds",), third)):
        found = await store.changes.last(held.id, *kinds)
        assert found is not None
        assert found.id == change.id
    assert first.id < second.id
    found = await store.changes.open(held.id)
    assert found is not None
    assert found.id == third.id
    assert await store.changes.last(held.id, "rollback") is None


# --- by what the parent zone shows -----------------------------------------------------------------------


async def test_settle_by_dns(store: Store) -> None:
    """A change that the parent zone shows is done; one of another kind stays open."""
    held = await store.adopted(mode=Mode.BYO_API)
    await store.change(held)
    async with store.unchanged():
        await store.changes.settle_by_dns(DOMAIN, ["ds", "rollback"])
        await store.changes.settle_by_dns("other.example", ["nameservers"])
    await store.changes.settle_by_dns(DOMAIN, ["ds", "nameservers"])
    row = await store.row("registrar_changes")
    assert (row["outcome"], row["problem"]) == ("done", "seen in the parent zone")
    assert (await store.row("allocations"))["needs"] is None
    assert (await store.events(DOMAIN))[-1] == noted("nameservers-done", "seen in the parent zone")
    async with store.unchanged():
        await store.changes.settle_by_dns(DOMAIN, ["nameservers"])


async def test_withdraw(store: Store) -> None:
    """A zone that announced its DS announces it no more, from now on, as a new generation; that is no event."""
    held = await store.adopted()
    await store.sql("UPDATE allocations SET announce_ds = true, due_at = now() + interval '1 hour'")
    before, trail = await store.row("allocations"), await store.events(DOMAIN)
    await store.changes.withdraw(held)
    after = await store.row("allocations")
    assert changed(before, after) == {"announce_ds", "due_at", "generation"}
    assert not after["announce_ds"]
    assert before["due_at"] - after["due_at"] >= HOUR - MINUTE
    assert after["generation"] > before["generation"]
    assert await store.events(DOMAIN) == trail


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE allocations SET announce_ds = false",
        "UPDATE allocations SET state = 'releasing', dns_state = 'removing'",
    ],
)
async def test_withdraw_of_nothing(store: Store, statement: str) -> None:
    """A zone that announces no DS, or is leaving, is left as it is."""
    held = await store.adopted()
    await store.sql("UPDATE allocations SET announce_ds = true")
    await store.database.execute(statement)
    async with store.unchanged():
        await store.changes.withdraw(held)
