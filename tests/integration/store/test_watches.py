"""Delegations in the store: which domain is observed next, what was found, and what follows of it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pdm_service.model.allocation import Claim, Filter, Mode, Proof
from pdm_service.model.observation import ChallengeView, Looked, Memory, Phase, Report
from pdm_service.store.registrar_changes import Kind, Result
from pdm_service.store.watches import Watches
from tests.store import CLIENT, DAY, DOMAIN, FQDN, HOUR, MINUTE, OTHER, TTL, WATCH, Entry, Store, changed, sheet

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
MEMORY = Memory(since=T0, changed_at=T0, phase="live", ds_ttl=600)
REGISTRARS = ("ovh",)


def report(phase: Phase = "live") -> Report:
    return Report(
        domain=DOMAIN, phase=phase, dnssec="insecure", ds=(), parent="example", nameservers=("ns1.platform.test",),
        missing=(), extra=(), parents_ok=1, parents_total=1, servers_ok=1, servers_total=1, parents=(), servers=(),
        others=(), problems=(), checked_at=T0, converged_by=T0, complete=True, queries=3,
    )  # fmt: skip


# --- lease -------------------------------------------------------------------------------------------


async def test_lease(store: Store) -> None:
    """A domain that is due is leased to one replica for 15 seconds, and to nobody else before they are over."""
    await store.claimed()
    before = await store.row("watches")
    (lease,) = await store.watches.lease(10, 10, {})
    after = await store.row("watches")
    assert changed(before, after) == {"lease_id", "lease_until", "looked_at"}
    assert (lease.id, lease.name, lease.row.memory) == (after["lease_id"], DOMAIN, None)
    assert after["lease_until"] - after["looked_at"] == timedelta(seconds=15)
    assert lease.row.at == after["looked_at"]
    async with store.unchanged():
        assert await store.watches.lease(10, 10, {}) == []
    await store.sql("UPDATE watches SET lease_until = now() - interval '1 second'")
    assert len(await store.watches.lease(10, 10, {})) == 1


async def test_lease_in_order(store: Store) -> None:
    """Domains that are due come longest first, as many as are wanted; what is not due comes not at all."""
    for domain, due in (("a.test", "1 minute"), ("b.test", "-2 minutes"), ("c.test", "-1 minute"), ("d.test", None)):
        await store.sql("INSERT INTO watches (fqdn, due_at) VALUES ($1, now() + $2::text::interval)", domain, due)
    assert [one.name for one in await store.watches.lease(1, 1, {})] == ["b.test"]
    assert [one.name for one in await store.watches.lease(10, 10, {})] == ["c.test"]


async def test_lease_in_turn(store: Store) -> None:
    """Of each tenant the longest waiting comes first, then the next of each; nobody has more than its most."""
    for number in range(40):
        await store.sql(
            "INSERT INTO watches (fqdn, due_at, whose) VALUES ($1, now() - interval '1 hour', 'flood/')",
            f"f{number}.test",
        )
    for domain, whose in (
        ("a.test", "client/one"),
        ("b.test", "client/two"),
        ("c.test", "client/one"),
        ("d.test", None),
    ):
        await store.sql("INSERT INTO watches (fqdn, due_at, whose) VALUES ($1, now(), $2)", domain, whose)
    first = await store.watches.lease(5, 3, {})
    assert sorted(one.row.whose for one in first) == ["", "client/one", "client/two", "flood/", "flood/"]
    then = await store.watches.lease(10, 3, Counter(one.row.whose for one in first))
    assert sorted(one.row.whose for one in then) == ["client/one", "flood/"]
    assert await store.watches.lease(10, 3, {"flood/": 3}) == []


async def test_whose_turn_a_look_is(store: Store) -> None:
    """A domain is looked at in the turn of who claimed it first, until somebody holds it."""
    await store.claimed(tenant="team")
    claim = await store.wished(by=OTHER, token=b"other")
    assert [one.row.whose for one in await store.watches.lease(1, 1, {})] == ["client/team"]
    await store.claims.prove([claim.id], Proof.TXT, WATCH)
    await store.claims.adopt(claim.id, OTHER)
    assert (await store.row("watches"))["whose"] == "other/"


async def test_lease_one(store: Store) -> None:
    """Any domain is observed when somebody asks, also one that nobody has: it is remembered, but not due again."""
    lease = await store.watches.lease_one(DOMAIN, MINUTE)
    row = await store.row("watches")
    assert lease is not None
    assert (lease.id, row["fqdn"], row["due_at"]) == (row["lease_id"], DOMAIN, None)
    assert row["lease_until"] - row["looked_at"] == timedelta(seconds=15)


async def test_lease_one_that_somebody_observes(store: Store) -> None:
    """While a replica observes a domain it is not leased again; once that has ended it is."""
    await store.watches.lease_one(DOMAIN, timedelta())
    async with store.unchanged():
        assert await store.watches.lease_one(DOMAIN, timedelta()) is None
    await store.sql(
        "UPDATE watches SET lease_until = now() - interval '1 second', looked_at = now() - interval '1 day'"
    )
    before = await store.row("watches")
    assert await store.watches.lease_one(DOMAIN, timedelta())
    after = await store.row("watches")
    assert changed(before, after) == {"lease_id", "lease_until", "looked_at"}
    assert after["lease_until"] - after["looked_at"] == timedelta(seconds=15)


async def test_lease_one_too_soon(store: Store) -> None:
    """A domain is not observed again before some time has passed since the last observation began."""
    lease = await store.watches.lease_one(DOMAIN, MINUTE)
    assert lease is not None
    await store.watches.give_up(lease)
    async with store.unchanged():
        assert await store.watches.lease_one(DOMAIN, MINUTE) is None
    await store.sql("UPDATE watches SET looked_at = now() - interval '1 minute'")
    assert await store.watches.lease_one(DOMAIN, MINUTE)


async def test_clock_ahead(store: Store) -> None:
    """In a rehearsal delegations are judged at a moment that lies ahead of the database's clock."""
    ahead = Watches(store.database, DAY)
    lease = await ahead.lease_one(DOMAIN, MINUTE)
    assert lease is not None
    assert lease.row.at - (await store.row("watches"))["looked_at"] == DAY
    assert DAY - MINUTE < await ahead.now() - await store.now() < DAY + MINUTE
    assert await store.watches.now() - await store.now() < MINUTE


# --- record ------------------------------------------------------------------------------------------


async def test_record(store: Store) -> None:
    """What was observed is recorded and read back, the lease ends, and a claimed domain is due again."""
    await store.claimed()
    (lease,) = await store.watches.lease(10, 10, {})
    before = await store.row("watches")
    assert await store.watches.known(DOMAIN) is None
    assert await store.watches.record(lease, report(), MEMORY, HOUR)
    after = await store.row("watches")
    assert changed(before, after) == {"report", "memory", "due_at", "lease_id", "lease_until"}
    assert HOUR - MINUTE < after["due_at"] - await store.now() <= HOUR
    known = await store.watches.known(DOMAIN)
    assert known is not None
    assert (known.report, known.memory, known.due_at) == (report(), MEMORY, after["due_at"])
    again = await store.watches.lease_one(DOMAIN, timedelta())
    assert again is not None
    assert again.row.memory == MEMORY


@pytest.mark.parametrize(
    ("what", "is_due"),
    [("claimed", True), ("adopted", True), ("expired claim", False), ("pool", False), ("nobody", False)],
)
async def test_record_of_what_somebody_has(store: Store, what: str, is_due: bool) -> None:
    """A domain is due again while it is claimed or a customer's; a pool name, or what nobody has, is not."""
    if what in {"claimed", "adopted"}:
        await getattr(store, what)()
    elif what == "expired claim":
        await store.claimed(ttl=-MINUTE)
    elif what == "pool":
        await store.active(DOMAIN)
    await store.adopted("other.example", token=b"other")
    await store.claimed("another.example")
    await store.sql("DELETE FROM watches")
    lease = await store.watches.lease_one(DOMAIN, timedelta())
    assert lease is not None
    await store.watches.record(lease, report(), MEMORY, HOUR)
    assert ((await store.row("watches"))["due_at"] is not None) is is_due


async def test_record_without_the_lease(store: Store) -> None:
    """Whose lease was taken over records nothing, and does not end the other's."""
    await store.claimed()
    (lease,) = await store.watches.lease(10, 10, {})
    await store.sql("UPDATE watches SET lease_id = gen_random_uuid()")
    async with store.unchanged():
        assert not await store.watches.record(lease, report(), MEMORY, HOUR)
        await store.watches.give_up(lease)


async def test_give_up(store: Store) -> None:
    """An observation that is called off leaves the domain due, for anybody."""
    await store.claimed()
    (lease,) = await store.watches.lease(10, 10, {})
    before = await store.row("watches")
    await store.watches.give_up(lease)
    after = await store.row("watches")
    assert (changed(before, after), after["lease_id"]) == ({"lease_id", "lease_until"}, None)
    assert len(await store.watches.lease(10, 10, {})) == 1


async def test_hurry(store: Store) -> None:
    """A domain is made due now, and no other one is."""
    await store.claimed()
    await store.claimed("other.example")
    await store.sql("UPDATE watches SET due_at = now() + interval '1 hour'")
    await store.watches.hurry(DOMAIN)
    assert [one.name for one in await store.watches.lease(10, 10, {})] == [DOMAIN]


# --- what follows --------------------------------------------------------------------------------------


async def test_note(store: Store) -> None:
    """A change of phase stands in the trail of everybody who has the domain, or a live claim on it."""
    claim = await store.claimed(by=OTHER)
    await store.claimed(ttl=-MINUTE)
    held = await store.reserved(DOMAIN)
    await store.reserved()
    await store.claimed("other.example")
    await store.clear()
    await store.watches.note(DOMAIN, "partial", "live")
    assert await store.events(DOMAIN) == [Entry("delegation", "reserved", "reserved", "watch", "partial to live")] * 2
    assert {row["allocation_id"] for row in await store.rows("events")} == {held.id, claim.id}


async def live(store: Store, mode: Mode = Mode.BYO_MANUAL) -> None:
    """A customer's domain that is published and has been delegated here."""
    held = await store.adopted(mode=mode)
    assert await store.worklist.record_published(await store.leased(), ["1 13 2 ab"], HOUR, "published")
    await store.changes.keep(held, sheet(registrar="ovh"))
    await store.sql("UPDATE allocations SET needs = NULL")


async def test_announce(store: Store) -> None:
    """The zone says which DS its parent should have, from now on, as a new generation; the second time is no news."""
    await live(store)
    before, trail = await store.row("allocations"), await store.events(DOMAIN)
    assert await store.watches.announce(DOMAIN, secured=False, registrars=())
    after = await store.row("allocations")
    assert changed(before, after) == {"announce_ds", "due_at", "generation"}
    assert after["announce_ds"]
    assert after["due_at"] <= await store.now()
    assert after["generation"] > before["generation"]
    assert await store.events(DOMAIN) == trail
    async with store.unchanged():
        assert not await store.watches.announce(DOMAIN, secured=False, registrars=())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE allocations SET mode = 'pool', proof = NULL, pool_domain = 'example', subdomain = 'acme'",
        "UPDATE allocations SET state = 'releasing', dns_state = 'removing'",
        "UPDATE allocations SET dns_state = 'pending'",
    ],
)
async def test_no_announcement(store: Store, statement: str) -> None:
    """A pool name, what is leaving, and what DNS has not as wanted yet announces nothing."""
    await live(store)
    await store.database.execute(statement)
    async with store.unchanged():
        assert not await store.watches.announce(DOMAIN, secured=False, registrars=REGISTRARS)


@pytest.mark.parametrize(
    ("changes", "announces"),
    [
        ([("rollback", "done")], False), ([("ds-removal", "done")], False), ([("rollback", "failed")], True),
        ([("nameservers", "done")], True), ([("nameservers", "done"), ("rollback", "done")], False),
        ([("rollback", "done"), ("nameservers", "done")], True),
        ([("nameservers", "done"), ("ds", "done")], True),
        ([("rollback", "done"), ("nameservers", "failed")], False),
    ],
)  # fmt: skip
async def test_announcement_on_the_way_back(store: Store, changes: list[tuple[Kind, Result]], announces: bool) -> None:
    """A domain that is on its way back to where it was announces nothing, until it has come here once more."""
    await live(store)
    held = await store.allocations.find(DOMAIN)
    assert held is not None
    for kind, outcome in changes:
        await store.change(held, kind, outcome)
    other = await store.adopted("other.example", token=b"other")
    await store.change(other, "nameservers", "done")
    await store.change(other, "rollback", "done")
    assert await store.watches.announce(DOMAIN, secured=False, registrars=()) is announces


async def test_announce_needs_the_token(store: Store) -> None:
    """Where a registrar made the delegation that can set a DS, the caller's token is needed until the DS is there."""
    await live(store, Mode.BYO_API)
    assert await store.watches.announce(DOMAIN, secured=False, registrars=("ovh",))
    before = await store.row("allocations")
    assert before["needs"] == "registrar-token"
    await store.watches.announce(DOMAIN, secured=True, registrars=("ovh",))
    after = await store.row("allocations")
    assert changed(before, after) == {"needs"}
    assert after["needs"] is None


async def test_announce_that_needs_no_token(store: Store) -> None:
    """Of a registrar that sets no DS, or one whose change of the DS may still come within a day, nothing is needed."""
    await live(store, Mode.BYO_API)
    other = await store.adopted("other.example", token=b"other")
    await store.changes.keep(other, sheet(registrar="namecheap"))
    await store.watches.announce(DOMAIN, secured=False, registrars=("namecheap",))
    assert (await store.held(DOMAIN))["needs"] is None
    held = await store.allocations.find(DOMAIN)
    assert held is not None
    await store.change(held, "ds")
    await store.watches.announce(DOMAIN, secured=False, registrars=("ovh",))
    assert (await store.held(DOMAIN))["needs"] is None
    await store.sql(
        "UPDATE registrar_changes SET requested_at = now() - interval '25 hours', outcome = 'done', settled_at = now()"
    )
    # Neither a change of the nameservers, nor another domain's of its DS, is one of this DS.
    await store.change(held, "nameservers")
    await store.change(other, "ds")
    await store.watches.announce(DOMAIN, secured=False, registrars=("ovh",))
    assert (await store.held(DOMAIN))["needs"] == "registrar-token"
    await store.sql("UPDATE allocations SET needs = NULL")
    await store.sql(
        "UPDATE registrar_changes SET requested_at = now(), kind = 'ds', outcome = 'failed', settled_at = now()"
    )
    await store.watches.announce(DOMAIN, secured=False, registrars=("ovh",))
    assert (await store.held(DOMAIN))["needs"] == "registrar-token"


# --- counting and forgetting -----------------------------------------------------------------------------


async def test_phases(store: Store) -> None:
    """Domains that are due are counted by the phase that was observed last; others are not."""
    phases: list[Phase] = ["live", "live", "partial"]
    for number, phase in enumerate(phases):
        await store.claimed(f"n{number}.example")
        lease = await store.watches.lease_one(f"n{number}.example", timedelta())
        assert lease is not None
        await store.watches.record(lease, replace(report(), phase=phase), MEMORY, HOUR)
    await store.claimed()
    stranger = await store.watches.lease_one(FQDN, timedelta())
    assert stranger is not None
    await store.watches.record(stranger, report(), MEMORY, HOUR)
    assert await store.watches.phases() == {"live": 2, "partial": 1}


async def test_phase_that_the_release_before_does_not_know(store: Store) -> None:
    """Of a delegation that left as asked for is stored what the release before reads, and read what it is."""
    await store.claimed()
    lease = await store.watches.lease_one(DOMAIN, timedelta())
    assert lease is not None
    await store.watches.record(lease, report("left"), replace(MEMORY, phase="left"), HOUR)
    (row,) = await store.sql("SELECT report->>'phase' AS report, memory->>'phase' AS memory FROM watches")
    assert (row["report"], row["memory"]) == ("moved", "moved")
    known = await store.watches.known(DOMAIN)
    assert known is not None
    assert (known.report, known.memory) == (report("left"), replace(MEMORY, phase="left"))
    assert await store.watches.phases() == {"left": 1}
    again = await store.watches.lease_one(DOMAIN, timedelta())
    assert again is not None
    assert again.row.memory == replace(MEMORY, phase="left")
    # The release before has it now.
    await store.sql("UPDATE watches SET report = report - 'phase_now'")
    assert await store.watches.phases() == {"moved": 1}


async def test_when_the_proof_was_looked_for(store: Store) -> None:
    """A claim tells when its proof was looked for last, and what was seen; not what was seen before it was opened."""
    seen = (ChallengeView(name="ns1.old.test", address="192.0.2.53", state="texts", texts=("wrong",)),)
    claim = await store.claimed()

    async def looked(at: datetime, challenge: tuple[ChallengeView, ...] | None) -> list[Looked | None]:
        lease = await store.watches.lease_one(DOMAIN, timedelta())
        assert lease is not None
        await store.watches.record(lease, replace(report(), checked_at=at, challenge=challenge), MEMORY, HOUR)
        (held,) = await store.holdings.of_name(DOMAIN, None)
        (listed,) = await store.holdings.page(Filter(), "", 10)
        by_token = await store.holdings.of_token(DOMAIN, b"token", None)
        renewed = await store.claims.renew(DOMAIN, b"token", TTL, CLIENT)
        (of,) = await store.claims.of(DOMAIN)
        return [one.looked for one in (held, listed, by_token, renewed, of) if isinstance(one, Claim)]

    assert await looked(claim.reserved_at, None) == [None] * 5
    assert await looked(claim.reserved_at - timedelta(seconds=1), seen) == [None] * 5
    for challenge in ((), seen):
        at = claim.reserved_at + timedelta(seconds=1)
        assert await looked(at, challenge) == [Looked(at=at, seen=challenge)] * 5


async def test_hurried_meanwhile(store: Store) -> None:
    """A domain that is hurried while it is observed is due again at once; one that was due in time is not."""
    await store.claimed()
    lease = await store.watches.lease_one(DOMAIN, timedelta())
    assert lease is not None
    await store.watches.hurry(DOMAIN)
    await store.watches.record(lease, report(), MEMORY, HOUR)
    (again,) = await store.watches.lease(10, 10, {})
    await store.watches.record(again, report(), MEMORY, HOUR)
    assert await store.watches.lease(10, 10, {}) == []
    # A caller asks for it before it is due.
    fresh = await store.watches.lease_one(DOMAIN, timedelta())
    assert fresh is not None
    await store.watches.record(fresh, report(), MEMORY, HOUR)
    assert await store.watches.lease(10, 10, {}) == []


async def test_when_a_domain_was_taken_back(store: Store) -> None:
    """A domain was taken back by the last rollback that may have been made, and not by one before the last flip."""

    async def taken_back() -> bool:
        lease = await store.watches.lease_one(DOMAIN, timedelta())
        assert lease is not None
        await store.watches.record(lease, report(), MEMORY, HOUR)
        return lease.row.taken_back_at is not None

    held = await store.adopted(mode=Mode.BYO_API)
    other = await store.adopted("other.example", token=b"other")
    await store.change(other, "rollback", "done")
    steps: list[tuple[Kind, Result, bool]] = [
        ("nameservers", "done", False), ("rollback", "failed", False), ("ds-removal", "done", False),
        ("rollback", "done", True), ("nameservers", "failed", True), ("nameservers", "done", False), ("rollback", "pending", True),
    ]  # fmt: skip
    assert not await taken_back()
    for kind, outcome, expected in steps:
        await store.change(held, kind, outcome)
        assert await taken_back() == expected, (kind, outcome)
    (row,) = await store.sql("SELECT max(requested_at) AS at FROM registrar_changes WHERE fqdn = $1", DOMAIN)
    (lease,) = [await store.watches.lease_one(DOMAIN, timedelta())]
    assert lease is not None
    assert lease.row.taken_back_at == row["at"]


async def test_forget(store: Store) -> None:
    """A domain that nobody has is forgotten a day after its last observation."""
    await store.claimed(by=OTHER)
    for domain in ("old.example", "young.example"):
        await store.watches.lease_one(domain, timedelta())
    await store.sql("UPDATE watches SET looked_at = now() - interval '25 hours' WHERE fqdn <> 'young.example'")
    await store.watches.forget()
    assert [row["fqdn"] for row in await store.rows("watches")] == [DOMAIN, "young.example"]
