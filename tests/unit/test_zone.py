"""Zones: what is wanted of one, and the plan from what is there to what is wanted."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from pdm_service.model import zone
from pdm_service.model.allocation import Allocation, Dns, DnsState, Mode, State
from pdm_service.model.records import RRset
from pdm_service.model.tokens import Credentials
from pdm_service.model.zone import Observed, Patch, Replace

ID = UUID("11111111-2222-4333-8444-555555555555")
HOSTS = ("ns1.platform.test", "ns2.platform.test")
NAME = "acme.pool.test."
DS = ("12345 13 2 " + "ab" * 32,)
OTHER_DS = ("54321 13 2 " + "cd" * 32,)
CANONICAL = {NAME, *(f"{label}.{NAME}" for label in ("*", "console", "api", "gitea", "harbor"))}


def allocation(*addresses: str, ds: tuple[str, ...] = ()) -> Allocation:
    now = datetime.now(UTC)
    return Allocation(
        id=ID, fqdn="acme.pool.test", mode=Mode.POOL, pool_domain="pool.test", subdomain="acme", state=State.ACTIVE,
        expired=False, created_by=None, reserved_at=now, expires_at=None, committed_at=now, credentials=Credentials(token_digest=b""), sovereign_fqdn=None,
        load_balancer_ips=addresses or ("192.0.2.1",), dns=Dns(state=DnsState.PENDING, updated_at=now, ds=ds),
        generation=1,
    )  # fmt: skip


def wanted(*addresses: str, ds: tuple[str, ...] = ()) -> zone.Wanted:
    return zone.wanted(allocation(*addresses, ds=ds), HOSTS)


def observed(
    want: zone.Wanted, *more: RRset, without: set[tuple[str, str]] = frozenset(), **changes: object
) -> Observed:
    """The wanted zone as PowerDNS has it once made, with changes."""
    rrsets = [rrset for rrset in (want.soa, *want.rrsets) if (rrset.name, rrset.type) not in without]
    seen = Observed(account=want.owner, rrsets=(*rrsets, *more), ds=DS)
    return msgspec.structs.replace(seen, **changes)


def rrset(name: str, rtype: str, *contents: str, ttl: int = 300) -> RRset:
    return RRset(name=name, type=rtype, ttl=ttl, contents=contents)


def test_wanted_of_one_address() -> None:
    """The wanted zone is the platform's NS and one A RRset at each canonical name, TTL 300."""
    want = wanted("192.0.2.1")
    assert want.zone == NAME
    assert want.rrsets[0] == rrset(NAME, "NS", "ns1.platform.test.", "ns2.platform.test.")
    assert set(want.rrsets[1:]) == {rrset(name, "A", "192.0.2.1") for name in CANONICAL}
    assert len(want.rrsets) == 7
    assert (want.soa.name, want.soa.type, len(want.soa.contents)) == (NAME, "SOA", 1)
    assert int(want.soa.contents[0].split()[6]) <= 300


def test_wanted_of_both_families() -> None:
    """Addresses become A or AAAA by their kind, all of a kind in one RRset a name."""
    want = wanted("2001:db8::1", "192.0.2.1", "192.0.2.2")
    expected = {rrset(name, "A", "192.0.2.1", "192.0.2.2") for name in CANONICAL}
    expected |= {rrset(name, "AAAA", "2001:db8::1") for name in CANONICAL}
    assert set(want.rrsets[1:]) == expected


def test_wanted_owner_is_the_holding_not_the_name() -> None:
    """The mark in a zone names the holding, so that the next holder's differs."""
    assert wanted().owner == zone.OWNER_PREFIX + ID.hex


def test_delegation_of_a_signed_child() -> None:
    """NS and DS of a child go together, at the child's name."""
    assert zone.delegation("acme.pool.test", HOSTS, DS) == (
        rrset(NAME, "NS", "ns1.platform.test.", "ns2.platform.test."),
        rrset(NAME, "DS", *DS),
    )


def test_delegation_taken_away() -> None:
    """Without contents both RRsets are deleted together."""
    assert zone.delegation("acme.pool.test", (), ()) == (rrset(NAME, "NS"), rrset(NAME, "DS"))


def test_plan_where_all_is_as_wanted() -> None:
    """Nothing is written where nothing differs, whatever the order and case of the records."""
    want = wanted("192.0.2.1", "2001:db8::1", "2001:db8::2")
    assert zone.plan(want, observed(want)) is None
    shuffled = tuple(msgspec.structs.replace(one, contents=one.contents[::-1]) for one in observed(want).rrsets)
    shuffled = tuple(
        msgspec.structs.replace(one, contents=tuple(map(str.upper, one.contents))) if one.type == "NS" else one
        for one in shuffled
    )
    assert zone.plan(want, observed(want, rrsets=shuffled[::-1])) is None


def test_plan_where_records_are_missing_or_wrong() -> None:
    """What is missing or differs in content or TTL is written, and no other RRset."""
    want = wanted("192.0.2.1")
    console, api, star = f"console.{NAME}", f"api.{NAME}", f"*.{NAME}"
    seen = observed(
        want, rrset(api, "A", "192.0.2.66"), rrset(star, "A", "192.0.2.1", ttl=60),
        without={(console, "A"), (api, "A"), (star, "A")},
    )  # fmt: skip
    step = zone.plan(want, seen)
    assert isinstance(step, Patch)
    assert set(step.rrsets) == {rrset(name, "A", "192.0.2.1") for name in (console, api, star)}


def test_plan_where_the_apex_ns_differs() -> None:
    """A wrong apex NS is ours to mend."""
    want = wanted()
    seen = observed(want, rrset(NAME, "NS", "ns1.platform.test."), without={(NAME, "NS")})
    assert zone.plan(want, seen) == Patch((want.rrsets[0],))


def test_plan_where_a_record_was_added_to_a_canonical_name() -> None:
    """An address that nobody asked for is removed from a canonical name's RRset."""
    want = wanted("192.0.2.1")
    seen = observed(want, rrset(NAME, "A", "192.0.2.1", "192.0.2.66"), without={(NAME, "A")})
    assert zone.plan(want, seen) == Patch((rrset(NAME, "A", "192.0.2.1"),))


def test_plan_where_surplus_aaaa_stands() -> None:
    """Addresses of a family that is not wanted are deleted from canonical names, and from no other."""
    want = wanted("192.0.2.1")
    seen = observed(want, rrset(f"api.{NAME}", "AAAA", "2001:db8::66"), rrset(f"www.{NAME}", "AAAA", "2001:db8::66"))
    assert zone.plan(want, seen) == Patch((rrset(f"api.{NAME}", "AAAA"),))


def test_plan_where_surplus_a_stands() -> None:
    """An IPv6-only name has no A records at its canonical names."""
    want = wanted("2001:db8::1")
    assert zone.plan(want, observed(want, rrset(NAME, "A", "192.0.2.66"))) == Patch((rrset(NAME, "A"),))


@pytest.mark.parametrize("name", sorted(CANONICAL))
def test_plan_where_lua_steers_a_canonical_name(name: str) -> None:
    """A canonical name with a LUA RRset belongs to its controller: its addresses are neither made nor removed."""
    want = wanted("192.0.2.1")
    lua = rrset(name, "LUA", "A \"pickrandom({'192.0.2.1'})\"")
    assert zone.plan(want, observed(want, lua, without={(name, "A")})) is None
    assert zone.plan(want, observed(want, lua, rrset(name, "AAAA", "2001:db8::66"), without={(name, "A")})) is None


def test_plan_where_lua_steers_one_name_and_another_is_wrong() -> None:
    """LUA at one name does not keep the others, nor the apex NS, from being mended."""
    want = wanted("192.0.2.1")
    lua = rrset(NAME, "LUA", "A \"ifportup(443, {'192.0.2.1'})\"")
    seen = observed(want, lua, without={(NAME, "A"), (f"api.{NAME}", "A"), (NAME, "NS")})
    step = zone.plan(want, seen)
    assert isinstance(step, Patch)
    assert set(step.rrsets) == {want.rrsets[0], rrset(f"api.{NAME}", "A", "192.0.2.1")}


def test_plan_with_foreign_rrsets() -> None:
    """What others write into the zone is left alone, also at a canonical name."""
    want = wanted()
    foreign = (
        rrset(f"_acme-challenge.{NAME}", "TXT", '"token"'),
        rrset(NAME, "TXT", '"v=spf1 -all"'),
        rrset(NAME, "MX", "10 mail.example."),
        rrset(NAME, "CAA", '0 issue "ca.example"'),
        rrset(f"console.{NAME}", "TXT", '"x"'),
        rrset(f"shop.{NAME}", "A", "198.51.100.1"),
        rrset(f"sub.{NAME}", "NS", "ns.elsewhere.example."),
    )
    assert zone.plan(want, observed(want, *foreign)) is None
    step = zone.plan(want, observed(want, *foreign, without={(NAME, "A")}))
    assert step == Patch((rrset(NAME, "A", "192.0.2.1"),))


@pytest.mark.parametrize("account", ["", "pdm-" + "0" * 32, "somebody", ID.hex])
def test_plan_with_a_zone_of_somebody_elses(account: str) -> None:
    """A zone without our mark and without keys that we published is replaced, however well its records fit."""
    want = wanted()
    assert zone.plan(want, observed(want, account=account)) == Replace()


@pytest.mark.parametrize("account", ["", "pdm-" + "0" * 32])
def test_plan_where_known_ds_makes_the_zone_ours(account: str) -> None:
    """A zone that lost its mark but carries the keys that we published is kept and mended."""
    want = wanted(ds=DS)
    assert zone.plan(want, observed(want, account=account)) is None
    assert zone.plan(want, observed(want, account=account, without={(NAME, "A")})) == Patch(
        (rrset(NAME, "A", "192.0.2.1"),)
    )
    assert zone.plan(want, observed(want, account=account, ds=OTHER_DS)) == Replace()


def test_plan_where_keys_were_rolled() -> None:
    """Our zone with other keys than those published stays ours: a roll-over is no reason to lose records."""
    want = wanted(ds=DS)
    assert zone.plan(want, observed(want, ds=OTHER_DS)) is None
    assert zone.plan(want, observed(want, account="", ds=DS + OTHER_DS)) is None


def test_plan_with_a_half_made_zone() -> None:
    """A zone without SOA, or without a key, was never whole and is made anew, also if it is ours."""
    want = wanted(ds=DS)
    assert zone.plan(want, observed(want, without={(NAME, "SOA")})) == Replace()
    assert zone.plan(want, observed(want, ds=())) == Replace()
    assert zone.plan(want, observed(want, rrsets=())) == Replace()


def test_plan_never_touches_soa() -> None:
    """The SOA is PowerDNS's to count: another serial is no difference."""
    want = wanted()
    soa = rrset(NAME, "SOA", "ns9.example. admin.example. 7 1 1 1 60")
    assert zone.plan(want, observed(want, soa, without={(NAME, "SOA")})) is None


def test_plan_applied_is_final() -> None:
    """Once a plan is applied there is nothing left to plan."""
    want = wanted("192.0.2.1", "2001:db8::1")
    seen = observed(want, rrset(NAME, "A", "192.0.2.66"), without={(NAME, "A"), (f"api.{NAME}", "AAAA"), (NAME, "NS")})
    step = zone.plan(want, seen)
    assert isinstance(step, Patch)
    present = {(one.name, one.type): one for one in seen.rrsets}
    for one in step.rrsets:
        present[one.name, one.type] = one
    after = observed(want, rrsets=tuple(one for one in present.values() if one.contents))
    assert zone.plan(want, after) is None


def test_rrset_same_tells_name_type_and_ttl_apart() -> None:
    """Two RRsets are one if name, type, TTL and the set of records are."""
    one = rrset(NAME, "A", "192.0.2.1", "192.0.2.2")
    assert one.same(rrset(NAME, "A", "192.0.2.2", "192.0.2.1"))
    assert not one.same(None)
    for other in (
        rrset(f"x.{NAME}", "A", *one.contents),
        rrset(NAME, "AAAA", *one.contents),
        rrset(NAME, "A", *one.contents, ttl=60),
        rrset(NAME, "A", "192.0.2.1"),
    ):
        assert not one.same(other)
