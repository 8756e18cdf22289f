"""What is held, allocations and claims read as one; and the audit trail, read and forgotten."""

import asyncio
from datetime import timedelta

import pytest

from pdm_service.model.allocation import Allocation, Claim, Filter
from tests.store import CLIENT, DAY, DOMAIN, FQDN, HOUR, MINUTE, OTHER, POOL, Store, digest, ids, reservation

ALL = Filter()

# --- holdings ----------------------------------------------------------------------------------------


async def test_of_token(store: Store) -> None:
    """A token finds its allocation or its claim, an expired one included; with a client's name only theirs."""
    name, claim = await store.expired(), await store.claimed(ttl=-MINUTE)
    for fqdn, token, held in ((FQDN, digest(FQDN), name), (DOMAIN, b"token", claim)):
        assert await store.holdings.of_token(fqdn, token, None) == held
        assert await store.holdings.of_token(fqdn, token, "client") == held
        assert await store.holdings.of_token(fqdn, token, "other") is None
        assert await store.holdings.of_token(fqdn, b"another", None) is None
    assert await store.holdings.of_token(DOMAIN, digest(FQDN), None) is None


async def test_of_token_while_a_claim_becomes_an_allocation(store: Store) -> None:
    """A token finds what it has at any moment: also while its claim is made an allocation."""
    await store.adopted()
    found = await store.holdings.of_token(DOMAIN, b"token", None)
    assert type(found) is Allocation


async def test_of_name(store: Store) -> None:
    """Of a name come its allocation, also an expired one, then its live claims, the oldest first."""
    first, second = await store.claimed(), await store.claimed(by=OTHER)
    await store.claimed(ttl=-MINUTE)
    name = await store.expired(DOMAIN)
    await store.reserved()
    await store.claimed("other.example", by=OTHER)
    assert ids(await store.holdings.of_name(DOMAIN, None)) == [name.id, first.id, second.id]
    assert ids(await store.holdings.of_name(DOMAIN, "other")) == [second.id]
    assert [type(one) for one in await store.holdings.of_name(DOMAIN, None)] == [Allocation, Claim, Claim]


async def test_page(store: Store) -> None:
    """Live allocations and claims come by name, some at a time; each page begins behind the place of the one before."""
    await store.expired(f"expired.{POOL}")
    await store.claimed("late.example", ttl=-MINUTE)
    await store.claimed()
    await store.claimed(by=OTHER)
    for fqdn in (f"a.{POOL}", f"b.{POOL}"):
        await store.reserved(fqdn)
    everything = await store.holdings.page(ALL, "", 10)
    assert [one.fqdn for one in everything] == sorted([DOMAIN, DOMAIN, f"a.{POOL}", f"b.{POOL}"])
    found: list[Allocation] = []
    while page := await store.holdings.page(ALL, found[-1].place if found else "", 1):
        assert len(page) == 1
        found += page
    assert found == everything
    # A name is a place behind all that has it.
    assert [one.fqdn for one in await store.holdings.page(ALL, DOMAIN, 10)] == [
        one.fqdn for one in everything if one.fqdn > DOMAIN
    ]


@pytest.mark.parametrize(
    ("wanted", "fqdns"),
    [
        (Filter(pool_domain=POOL), [f"a.{POOL}", f"b.{POOL}"]),
        (Filter(mode="pool"), [f"a.{POOL}", f"b.{POOL}"]),
        (Filter(mode="byo-manual"), [DOMAIN]),
        (Filter(state="active"), [f"b.{POOL}"]),
        (Filter(state="reserved"), [f"a.{POOL}", DOMAIN]),
        (Filter(created_by="ann"), [f"a.{POOL}", DOMAIN, f"b.{POOL}"]),
        (Filter(created_by="bob"), []),
        (Filter(owner="other"), [f"b.{POOL}"]),
        (Filter(tenant="team"), [f"a.{POOL}", DOMAIN]),
        (Filter(tenant="team", mode="pool"), [f"a.{POOL}"]),
    ],
)
async def test_page_filtered(store: Store, wanted: Filter, fqdns: list[str]) -> None:
    """A page has what all of its filters admit."""
    await store.reserved(f"a.{POOL}", tenant="team")
    await store.active(f"b.{POOL}", by=OTHER)
    await store.claimed(tenant="team")
    assert [one.fqdn for one in await store.holdings.page(wanted, "", 10)] == fqdns


async def test_census(store: Store) -> None:
    """What is live is counted by pool domain and state, customers' domains as one pool; what has expired is not."""
    assert await store.holdings.census() == {}
    await store.reserved(f"a.{POOL}")
    await store.declared(fqdn=f"b.{POOL}")
    await store.active("a.other.test")
    await store.expired(f"c.{POOL}")
    await store.adopted()
    assert await store.holdings.census() == {
        (POOL, "reserved"): 2, ("other.test", "active"): 1, ("byo", "active"): 1,
    }  # fmt: skip
    await store.claimed("b.example")
    await store.claimed("late.example", ttl=-MINUTE)
    assert (await store.holdings.census())["byo", "reserved"] == 1


# --- the audit trail -----------------------------------------------------------------------------------


async def test_trail_of_a_name(store: Store) -> None:
    """The trail of a name comes oldest first, some entries at a time, each page behind the entry that is named."""
    await store.releasing()
    await store.reserved(f"b.{POOL}")
    found = await store.trail.of(FQDN, None, 0, 10)
    assert [one.action for one in found] == ["reserved", "committed", "released"]
    assert await store.trail.of(FQDN, None, 0, 2) == found[:2]
    assert await store.trail.of(FQDN, None, found[0].id, 10) == found[1:]
    first = found[0]
    assert (first.fqdn, first.actor, first.request_id, first.to_state) == (FQDN, "client", "r-1", "reserved")


async def test_trail_of_ones_own(store: Store) -> None:
    """A client sees what happened to what it made itself: a later holder learns nothing of an earlier one."""
    held = await store.reserved()
    await store.allocations.release_reserved(held, CLIENT)
    await store.active(by=OTHER)
    assert [one.action for one in await store.trail.of(FQDN, "client", 0, 10)] == ["reserved", "released"]
    assert [one.action for one in await store.trail.of(FQDN, "other", 0, 10)] == ["reserved", "committed"]
    # Who only had a hand in it did not make it.
    await store.sql("UPDATE events SET actor = 'third' WHERE action = 'committed'")
    assert await store.trail.of(FQDN, "third", 0, 10) == []


@pytest.mark.parametrize("what", ["active", "claimed"])
async def test_trail_of_what_was_reserved_long_ago(store: Store, what: str) -> None:
    """A client sees what happens to what it has, also once the entry of its reserve has been forgotten."""
    held = await getattr(store, what)()
    await store.sql(
        "INSERT INTO events (fqdn, allocation_id, action, actor) VALUES ($1, $2, 'x', 'y')", held.fqdn, held.id
    )
    await store.sql("DELETE FROM events WHERE action = 'reserved'")
    assert (await store.trail.of(held.fqdn, "client", 0, 10))[-1].action == "x"
    assert await store.trail.of(held.fqdn, "other", 0, 10) == []


async def test_export(store: Store) -> None:
    """The export has all names in the order of transactions, each page behind the place of the one before."""
    await store.active()
    await store.reserved(f"b.{POOL}")
    found = await store.trail.export((0, 0), None, 10)
    assert [(one.fqdn, one.action) for one in found] == [
        (FQDN, "reserved"), (FQDN, "committed"), (f"b.{POOL}", "reserved"),
    ]  # fmt: skip
    assert await store.trail.export((0, 0), None, 2) == found[:2]
    assert await store.trail.export((found[0].xid, found[0].id), None, 10) == found[1:]
    await store.sql("UPDATE events SET at = now() - interval '1 hour' WHERE fqdn = $1", FQDN)
    since = await store.now() - timedelta(minutes=30)
    assert [one.fqdn for one in await store.trail.export((0, 0), since, 10)] == [f"b.{POOL}"]


async def test_export_waits_for_transactions_under_way(store: Store) -> None:
    """What is committed is told only once no earlier transaction can still slip in front of it."""
    async with store.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO events (fqdn, allocation_id, action, actor) VALUES ('slow', gen_random_uuid(), 'x', 'y')"
        )
        await store.reserved()
        assert await store.trail.export((0, 0), None, 10) == []
    assert [one.fqdn for one in await store.trail.export((0, 0), None, 10)] == ["slow", FQDN]


async def test_forget(store: Store) -> None:
    """Entries that are older than they are kept are deleted and counted, younger ones stay."""
    await asyncio.gather(*(store.allocations.reserve(reservation(f"n{number}.{POOL}"), CLIENT) for number in range(3)))
    await store.reserved()
    await store.sql("UPDATE events SET at = now() - interval '2 days' WHERE fqdn <> $1", FQDN)
    assert await store.trail.forget(DAY) == 3
    assert (await store.row("events"))["fqdn"] == FQDN
    assert await store.trail.forget(HOUR) == 0
