"""Whether a name can be had, and how much one may have: the questions that the store asks before it gives a name."""

import asyncio
from datetime import timedelta

import pytest

from pdm_service.callers import Actor, Quotas
from pdm_service.errors import Conflict, QuotaExceeded
from pdm_service.model.allocation import Ages, State
from pdm_service.model.standing import Standing
from pdm_service.store.allocations import Allocations
from pdm_service.store.availability import Availability
from pdm_service.store.declarations import Declarations
from tests.store import (
    CLIENT,
    DOMAIN,
    FQDN,
    HOUR,
    MINUTE,
    OTHER,
    POOL,
    Store,
    declaration,
    digest,
    new_claim,
    question,
    reservation,
)

ALIKE = f"acrne.{POOL}"  # "rn" looks like "m"
FREE = Standing(None)

# --- standing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("reserved", Standing(State.RESERVED)), ("active", Standing(State.ACTIVE)), ("expired", FREE),
        ("releasing", Standing(State.RELEASING)), ("declared", Standing(State.RESERVED)),
        ("quarantined", Standing(None, quarantined=True)),
    ],
)  # fmt: skip
async def test_standing(store: Store, state: str, found: Standing) -> None:
    """What stands in the way of a name is its live allocation or its quarantine, and of its neighbours nothing."""
    await getattr(store, state)()
    assert await store.availability.standing(question()) == found
    assert await store.availability.standing(question(f"other.{POOL}")) == FREE


async def test_standing_for_the_last_holder(store: Store) -> None:
    """A quarantine is for everybody but its last holder: the same client for the same tenant."""
    await store.quarantined(tenant="team")
    assert await store.availability.standing(question(owner="client", tenant="team")) == FREE
    assert (await store.availability.standing(question(owner="client", tenant="rival"))).quarantined
    assert (await store.availability.standing(question(owner="other", tenant="team"))).quarantined
    await store.sql("UPDATE quarantine SET until = now()")
    assert await store.availability.standing(question()) == FREE


@pytest.mark.parametrize("state", ["reserved", "quarantined"])
async def test_standing_of_what_looks_alike(store: Store, state: str) -> None:
    """A name resembles another client's, or another tenant's, under the same pool domain; never its holder's own."""
    await getattr(store, state)(tenant="team")
    assert await store.availability.standing(question(ALIKE)) == Standing(None, resembles=True)
    assert (await store.availability.standing(question(ALIKE, "client", "rival"))).resembles
    assert await store.availability.standing(question(ALIKE, "client", "team")) == FREE
    assert await store.availability.standing(question("acrne.other.test")) == FREE


async def test_standing_of_many(store: Store) -> None:
    """Questions that are asked together are answered in their order."""
    await store.reserved()
    await store.active(f"b.{POOL}")
    fqdns = [FQDN, f"c.{POOL}", f"b.{POOL}", FQDN]
    found = await asyncio.gather(*(store.availability.standing(question(fqdn)) for fqdn in fqdns))
    assert [one.state for one in found] == ["reserved", None, "active", "reserved"]


async def test_end_quarantine(store: Store) -> None:
    """Names whose time in quarantine is over are forgotten, the others kept."""
    await store.quarantined()
    await store.quarantined(f"b.{POOL}")
    await store.sql("UPDATE quarantine SET until = now() - interval '1 second' WHERE fqdn = $1", FQDN)
    await store.availability.end_quarantine()
    assert [row["fqdn"] for row in await store.rows("quarantine")] == [f"b.{POOL}"]


# --- look-alikes refused -------------------------------------------------------------------------------


def strict(store: Store) -> Allocations:
    """The allocations where names that look like others' are refused."""
    return Allocations(store.database, Availability(store.database, "refuse"), Ages())


@pytest.mark.parametrize("state", ["reserved", "active", "quarantined"])
async def test_reserve_of_what_looks_alike(store: Store, state: str) -> None:
    """A name that is easily mistaken for another client's, or tenant's, is refused; its holder gets it."""
    await getattr(store, state)(tenant="team")
    async with store.unchanged():
        for actor, tenant in ((OTHER, None), (OTHER, "team"), (CLIENT, "rival")):
            with pytest.raises(Conflict):
                await strict(store).reserve(reservation(ALIKE, tenant=tenant), actor)
    assert await strict(store).reserve(reservation(ALIKE, tenant="team"), CLIENT)


async def test_reserve_of_what_looks_like_nothing_that_counts(store: Store) -> None:
    """An expired reservation, a quarantine that is over, another pool domain and another look keep nobody out."""
    await store.quarantined(f"vvest.{POOL}")
    await store.expired()
    await store.sql("UPDATE quarantine SET until = now()")
    await store.quarantined(f"bank.{POOL}")
    await store.reserved(f"shop.{POOL}")
    for fqdn in (ALIKE, f"west.{POOL}", "b-ank.other.test", "sh0p.other.test", f"news.{POOL}"):
        assert await strict(store).reserve(reservation(fqdn), OTHER)


@pytest.mark.parametrize("state", ["reserved", "quarantined"])
async def test_a_name_does_not_look_like_itself(store: Store, state: str) -> None:
    """Where look-alikes are refused, too, a name that somebody has is refused for that."""
    await getattr(store, state)()
    async with store.unchanged():
        assert await strict(store).reserve(reservation(), OTHER) is None


async def test_look_alikes_at_once_have_one_winner(store: Store) -> None:
    """Of two clients that reserve look-alikes at the same moment one gets its name."""
    one, other = strict(store), strict(store)
    found = await asyncio.gather(
        one.reserve(reservation(), CLIENT), other.reserve(reservation(ALIKE), OTHER), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in found) == ["Allocation", "Conflict"]


async def test_declaration_of_what_looks_alike(store: Store) -> None:
    """A declared name is compared with others' as a reserved one is."""
    await store.reserved()
    availability = Availability(store.database, "refuse")
    declarations = Declarations(store.database, Allocations(store.database, availability, Ages()), availability)
    async with store.unchanged():
        with pytest.raises(Conflict):
            await declarations.make(declaration(fqdn=ALIKE), OTHER)
    assert await declarations.make(declaration(fqdn=f"b.{POOL}"), OTHER)


# --- quotas ------------------------------------------------------------------------------------------


def limited(**limits: int) -> Actor:
    return Actor("client", "r-1", quotas=Quotas(**limits))


@pytest.mark.parametrize(
    "limits", [{"reservations": 2}, {"names": 2}, {"reservations_per_hour": 2}, {"reservations_per_day": 2}]
)
async def test_quota(store: Store, limits: dict[str, int]) -> None:
    """A client gets as much as its quota says and not more, by whatever verb; other clients don't count."""
    actor = limited(**limits)
    for number in range(3):
        await store.reserved(f"n{number}.{POOL}", by=OTHER)
        await store.claimed(by=OTHER, token=bytes([number]))
    await store.reserved(by=actor)
    await store.allocations.renew(FQDN, digest(FQDN), HOUR, actor)
    await store.claimed(by=actor)
    async with store.unchanged():
        with pytest.raises(QuotaExceeded):
            await store.allocations.reserve(reservation(f"c.{POOL}"), actor)
        with pytest.raises(QuotaExceeded):
            await store.claims.open(new_claim("other.example"), actor)
        with pytest.raises(QuotaExceeded):
            await store.declarations.make(declaration(fqdn=f"c.{POOL}"), actor)


@pytest.mark.parametrize(
    ("limits", "relief"),
    [
        ({"reservations": 1}, "UPDATE allocations SET expires_at = now()"),
        ({"names": 1}, "UPDATE allocations SET expires_at = now()"),
        ({"reservations_per_hour": 1}, "UPDATE events SET at = now() - interval '1 hour'"),
        ({"reservations_per_day": 1}, "UPDATE events SET at = now() - interval '1 day'"),
    ],
)
async def test_quota_that_has_room_again(store: Store, limits: dict[str, int], relief: str) -> None:
    """What has expired, or is long enough ago, counts no more."""
    await store.reserved(by=limited(**limits))
    await store.database.execute(relief)
    assert await store.allocations.reserve(reservation(f"b.{POOL}"), limited(**limits))


async def test_quota_of_expired_claims(store: Store) -> None:
    """A claim counts while it is live."""
    await store.claimed(by=limited(names=1), ttl=-MINUTE)
    assert await store.claims.open(new_claim(DOMAIN, token=b"second"), limited(names=1))


async def test_quota_of_reservations_leaves_active_names(store: Store) -> None:
    """An active name is none of the open reservations, but one of the names."""
    await store.active()
    assert await store.allocations.reserve(reservation(f"b.{POOL}"), limited(reservations=1))
    with pytest.raises(QuotaExceeded):
        await store.allocations.reserve(reservation(f"c.{POOL}"), limited(names=2))


async def test_quota_tells_when_to_ask_again(store: Store) -> None:
    """A client hears when its first open reservation expires, or the first of the last hour, or day, is that old."""
    await store.reserved(f"old.{POOL}", by=CLIENT)
    await store.sql("UPDATE events SET at = now() - interval '90 minutes'")
    await store.reserved()
    await store.sql("UPDATE events SET at = now() - interval '10 minutes' WHERE fqdn = $1", FQDN)
    for limits, minutes in (
        ({"reservations": 2}, 10), ({"reservations_per_hour": 1}, 50), ({"reservations_per_day": 2}, 24 * 60 - 90),
    ):  # fmt: skip
        with pytest.raises(QuotaExceeded) as refused:
            await store.allocations.reserve(reservation(f"b.{POOL}"), limited(**limits))
        wait = timedelta(seconds=refused.value.retry_after_seconds or 0)
        assert timedelta(minutes=minutes - 1) < wait <= timedelta(minutes=minutes, seconds=1)


async def test_quota_of_a_tenant(store: Store) -> None:
    """Each of a client's tenants has its own room, and what is for no tenant is not counted."""
    actor = Actor("client", "r-1", tenant_quotas=Quotas(names=1, reservations_per_day=1))
    await store.claimed(by=actor, tenant="another")
    await store.reserved(by=actor, tenant="team")
    async with store.unchanged():
        with pytest.raises(QuotaExceeded):
            await store.allocations.reserve(reservation(f"b.{POOL}", tenant="team"), actor)
    assert await store.allocations.reserve(reservation(f"b.{POOL}", tenant="rival"), actor)
    assert await store.allocations.reserve(reservation(f"c.{POOL}"), actor)
    assert await store.allocations.reserve(reservation(f"d.{POOL}"), actor)


async def test_quota_by_many_at_once(store: Store) -> None:
    """Of many simultaneous reservations of a client as many win as it may have."""
    wanted = [reservation(f"n{number}.{POOL}") for number in range(6)]
    found = await asyncio.gather(
        *(store.allocations.reserve(one, limited(names=2)) for one in wanted), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in found) == ["Allocation"] * 2 + ["QuotaExceeded"] * 4
    assert len(await store.rows("allocations")) == 2
