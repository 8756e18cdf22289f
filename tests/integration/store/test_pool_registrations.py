"""Pool domains at their registrar, in the store: one replica at a time, and what it notes before it sends."""

from datetime import timedelta

import pytest

from pdm_service.store.pool_registrations import Outcome, Registered
from pdm_service.store.rows import Lease
from tests.store import DAY, HOUR, MINUTE, POOL, Store, changed


async def leased(store: Store) -> Lease[Registered]:
    lease = await store.registrations.lease(POOL, None, MINUTE)
    assert lease is not None
    return lease


async def test_lease_of_a_new_domain(store: Store) -> None:
    """A pool domain that was never checked is leased for a time, and nothing is known of it."""
    lease = await leased(store)
    row = await store.row("pool_registrations")
    assert (row["pool_domain"], row["lease_id"], row["state"]) == (POOL, lease.id, "unknown")
    assert row["lease_until"] - row["due_at"] == MINUTE
    assert lease.row == Registered(operation=None, since_moved=None, since_signed=None)


async def test_lease_that_somebody_has(store: Store) -> None:
    """A domain is checked by one replica at a time; a lease that has ended is taken over."""
    first = await leased(store)
    async with store.unchanged():
        assert await store.registrations.lease(POOL, timedelta(), MINUTE) is None
    await store.sql("UPDATE pool_registrations SET lease_until = now() - interval '1 second'")
    assert (await leased(store)).id != first.id
    row = await store.row("pool_registrations")
    assert timedelta() < row["lease_until"] - await store.now() <= MINUTE


async def test_lease_before_it_is_due(store: Store) -> None:
    """A domain that was checked is leased once it is due, or when it was checked longer ago than an asker accepts."""
    await store.registrations.record(await leased(store), Outcome(state="in-order", again=HOUR))
    async with store.unchanged():
        assert await store.registrations.lease(POOL, None, MINUTE) is None
        assert await store.registrations.lease(POOL, MINUTE, MINUTE) is None
    await store.sql("UPDATE pool_registrations SET checked_at = now() - interval '2 minutes'")
    assert await store.registrations.lease(POOL, MINUTE, MINUTE)


async def test_lease_when_it_is_due(store: Store) -> None:
    """A domain that is due is leased, with what was done before."""
    await store.registrations.record(await leased(store), Outcome(state="changing", operation="op", again=HOUR))
    await store.sql(
        "UPDATE pool_registrations SET due_at = now(), moved_at = now() - $1::interval, signed_at = now() - $2::interval",
        HOUR, DAY,
    )  # fmt: skip
    seen = (await leased(store)).row
    assert seen.operation == "op"
    assert seen.since_moved is not None
    assert seen.since_signed is not None
    assert (HOUR <= seen.since_moved < HOUR + MINUTE, DAY <= seen.since_signed < DAY + MINUTE) == (True, True)


@pytest.mark.parametrize(("verb", "column"), [("about_to_move", "moved_at"), ("about_to_sign", "signed_at")])
async def test_about_to_change(store: Store, verb: str, column: str) -> None:
    """A change is noted, under the lease, before it is sent; without the lease, or after its time, it is not."""
    lease = await leased(store)
    before = await store.row("pool_registrations")
    assert await getattr(store.registrations, verb)(lease)
    after = await store.row("pool_registrations")
    assert changed(before, after) == {column}
    await store.sql("UPDATE pool_registrations SET lease_until = now()")
    async with store.unchanged():
        assert not await getattr(store.registrations, verb)(lease)
    await store.sql("UPDATE pool_registrations SET lease_until = now() + $1, lease_id = gen_random_uuid()", HOUR)
    async with store.unchanged():
        assert not await getattr(store.registrations, verb)(lease)


async def test_record(store: Store) -> None:
    """What was found is recorded, the lease ends, and the domain is checked again later."""
    lease = await leased(store)
    before = await store.row("pool_registrations")
    outcome = Outcome(
        state="failed", nameservers=("a.test", "b.test"), ds=("1 13 2 ab",), problem="why", operation="op", repaired=True,
        again=HOUR,
    )  # fmt: skip
    await store.registrations.record(lease, outcome)
    after = await store.row("pool_registrations")
    assert changed(before, after) == set(before) - {"pool_domain", "moved_at", "signed_at"}
    assert (after["state"], after["problem"], after["operation"]) == ("failed", "why", "op")
    assert (after["nameservers"], after["ds"]) == (["a.test", "b.test"], ["1 13 2 ab"])
    assert after["checked_at"] == after["repaired_at"] == after["due_at"] - HOUR
    assert (after["lease_id"], after["lease_until"]) == (None, None)
    (known,) = (await store.registrations.all()).values()
    assert (known.pool_domain, known.state, known.nameservers, known.ds) == (
        POOL,
        "failed",
        ("a.test", "b.test"),
        ("1 13 2 ab",),
    )
    assert (known.problem, known.checked_at, known.repaired_at) == ("why", after["checked_at"], after["checked_at"])


async def test_record_of_what_was_not_seen(store: Store) -> None:
    """What was seen before stays where nothing was seen now; what was wrong, or awaited, does not."""
    seen = Outcome(
        state="failed", nameservers=("a.test",), ds=(), problem="why", operation="op", repaired=True, again=-HOUR
    )
    await store.registrations.record(await leased(store), seen)
    before = await store.row("pool_registrations")
    await store.registrations.record(await leased(store), Outcome(state="in-order", again=HOUR))
    after = await store.row("pool_registrations")
    assert changed(before, after) == {"state", "problem", "operation", "checked_at", "due_at"}
    assert (after["nameservers"], after["ds"], after["problem"], after["operation"]) == (["a.test"], [], None, None)


async def test_record_without_the_lease(store: Store) -> None:
    """Whose lease was taken over records nothing."""
    lease = await leased(store)
    await store.sql("UPDATE pool_registrations SET lease_id = gen_random_uuid()")
    async with store.unchanged():
        await store.registrations.record(lease, Outcome(state="failed", again=HOUR))
