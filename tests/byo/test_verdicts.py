"""Nameservers and parents of all kinds, each with its verdict, and none beyond the budget."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic

import pytest

from pdm_service.delegations import budgets
from pdm_service.delegations.observe import observe as looked
from pdm_service.delegations.prober import ROUND_QUERIES, Prober
from pdm_service.delegations.verdict import judge
from pdm_service.model.observation import Memory, Observation, Report
from pdm_service.model.records import Nameserver
from tests import faulty
from tests.faulty import Faulty
from tests.patience import patient
from tests.tree import OLD_NAMES, PLATFORM_NAMES, TLD_NAMES, Tree, Zones, rr, soa
from tests.turns import turn

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FRESH = Memory(since=NOW, changed_at=NOW)


def prober(tree: Tree, **more: object) -> Prober:
    settings: dict = {
        "hints": (Nameserver("a.rootsrv", tree.root.addresses[0], 53),),
        "port": 53,
        "addresses": tuple(
            Nameserver(name, address, 53) for name, address in zip(PLATFORM_NAMES, tree.ours.addresses, strict=True)
        ),
        "allow_private": True,
        **more,
    }
    return Prober(**settings)


async def look(
    one: Prober, domain: str, wanted: tuple[str, ...] = PLATFORM_NAMES
) -> tuple[Observation, Report, Memory]:
    start = monotonic()
    seen = await looked(one.round(), domain, wanted, NOW)
    assert monotonic() - start < budgets.ROUND + patient(1)
    assert seen.queries <= ROUND_QUERIES
    return seen, *judge(seen, wanted, FRESH)


@pytest.fixture
def served(tree: Tree, domain: str) -> str:
    """A domain that the platform serves."""
    apex = [soa(domain, PLATFORM_NAMES[0]), rr(domain, "NS", *(f"{name}." for name in PLATFORM_NAMES), ttl=2)]
    Zones(tree.ours).create(domain, apex)
    return domain


def codes(report: Report) -> list[str]:
    return [problem.code for problem in report.problems]


# --- the platform's nameservers -----------------------------------------------------------------------


@pytest.fixture
def one_of_ours(request: pytest.FixtureRequest, tree: Tree, served: str) -> Iterator[Faulty]:
    """A nameserver of the platform that misbehaves; the domain is delegated to it and a good one."""
    behave, options = request.param
    made = Faulty(tree.address(), served, PLATFORM_NAMES, behave, **options)
    tree.delegate(served, PLATFORM_NAMES)
    yield made
    made.stop()


KINDS = [
    (faulty.well, {}, "serving", ["serials-differ"]),
    (faulty.code("REFUSED"), {}, "refused", ["nameserver-lame"]),
    (faulty.code("SERVFAIL"), {}, "failed", ["nameserver-failing"]),
    (faulty.code("NXDOMAIN"), {}, "not-serving", ["nameserver-not-authoritative"]),
    (faulty.not_authoritative, {}, "not-serving", ["nameserver-not-authoritative"]),
    (faulty.silent, {}, "silent", ["nameserver-silent"]),
    (faulty.truncating, {}, "serving", ["serials-differ"]),
    (faulty.truncating, {"tcp": False}, "silent", ["nameserver-silent"]),
    (faulty.well, {"tcp": False}, "serving", ["nameserver-no-tcp", "serials-differ"]),
    (faulty.silent_udp, {}, "serving", ["nameserver-no-udp", "serials-differ"]),
    (faulty.upward, {}, "upward", ["nameserver-upward"]),
    (faulty.slow(2), {}, "serving", ["serials-differ"]),
    (faulty.garbage, {}, "silent", ["nameserver-silent"]),
    (faulty.other_question, {}, "silent", ["nameserver-silent"]),
    (faulty.no_bytes, {}, "silent", ["nameserver-silent"]),
    (faulty.no_edns, {}, "serving", ["nameserver-no-edns", "serials-differ"]),
]


@pytest.mark.parametrize(
    ("one_of_ours", "state", "found"),
    [((behave, options), state, found) for behave, options, state, found in KINDS],
    indirect=["one_of_ours"],
    ids=[f"{number}-{state}-{'-'.join(found)}" for number, (_, _, state, found) in enumerate(KINDS)],
)
async def test_nameserver(tree: Tree, served: str, one_of_ours: Faulty, state: str, found: list[str]) -> None:
    """Each misbehaviour of a nameserver of ours is told for what it is; the good one is not blamed."""
    addresses = (
        Nameserver(PLATFORM_NAMES[0], tree.ours.addresses[0], 53),
        Nameserver(PLATFORM_NAMES[1], one_of_ours.address, 53),
    )
    seen, report, _ = await look(prober(tree, addresses=addresses), served)
    states = {view.address: view.state for view in seen.servers}
    assert states == {tree.ours.addresses[0]: "serving", one_of_ours.address: state}
    assert codes(report) == found
    assert report.phase == ("converging" if state == "serving" else "delegated")
    assert one_of_ours.seen


async def test_ipv6(tree: Tree, served: str) -> None:
    """An IPv6 address of a nameserver is asked as well as its IPv4 address."""
    tree.delegate(served, PLATFORM_NAMES)
    addresses = (*trusted(tree), Nameserver(PLATFORM_NAMES[0], "::1", 53))
    with turn("port 53 of ::1"):
        six = Faulty("::1", served, PLATFORM_NAMES, faulty.code("REFUSED"))
        try:
            seen, report, _ = await look(prober(tree, addresses=addresses), served)
        finally:
            six.stop()
    assert {view.address: view.state for view in seen.servers if view.name == PLATFORM_NAMES[0]} == {
        tree.ours.addresses[0]: "serving", "::1": "refused",
    }  # fmt: skip
    assert codes(report) == ["nameserver-lame"]


async def test_budget_of_questions(tree: Tree, served: str) -> None:
    """A domain with more nameservers and addresses than there are questions ends the round, and that is told."""
    hosts = [f"ns{number}.{served[:6]}.zz" for number in range(13)]
    addresses = [f"{tree.prefix}.{200 + number}" for number in range(4)]
    silent = [Faulty(address, served, OLD_NAMES, faulty.code("SERVFAIL")) for address in addresses]
    for server in tree.tlds:
        Zones(server).patch("zz", [rr(host, "A", *addresses) for host in hosts])
    tree.delegate(served, hosts)
    try:
        seen, report, _ = await look(prober(tree), served)
    finally:
        for one in silent:
            one.stop()
    assert (seen.queries, seen.complete) == (ROUND_QUERIES, False)
    assert report.phase == "awaiting-customer"


async def test_alias(tree: Tree, served: str) -> None:
    """A nameserver whose name is an alias, or has no address, is told."""
    tree.host(f"ns.{served[:6]}.zz", f"{PLATFORM_NAMES[0]}.", "CNAME")
    wanted = tuple(sorted((f"ns.{served[:6]}.zz", f"no.{served[:6]}.zz")))
    tree.delegate(served, wanted)
    seen, report, _ = await look(prober(tree, addresses=()), served, wanted)
    assert {view.state for view in seen.servers} == {"alias", "unresolved"}
    assert set(codes(report)) == {"nameserver-alias", "nameserver-unresolved"}


async def test_resolved_through_the_tree(tree: Tree, served: str) -> None:
    """Nameservers without a configured address are found through the tree itself."""
    tree.delegate(served, PLATFORM_NAMES)
    seen, report, _ = await look(prober(tree, addresses=()), served)
    assert {view.address for view in seen.servers} == set(tree.ours.addresses)
    assert report.phase == "converging"


# --- parents ------------------------------------------------------------------------------------------


async def test_partial(tree: Tree, served: str) -> None:
    """While the parent's servers disagree the progress is told, server by server."""
    tree.delegate(served, OLD_NAMES)
    tree.delegate(served, PLATFORM_NAMES, only=0)
    seen, report, _ = await look(prober(tree), served)
    assert report.phase == "partial"
    assert (report.parents_ok, report.parents_total) == (1, 2)
    assert {view.name: view.nameservers for view in seen.parents} == dict(
        zip(TLD_NAMES, (PLATFORM_NAMES, OLD_NAMES), strict=True)
    )
    assert "parent-servers-differ" in codes(report)


@pytest.mark.parametrize(
    ("delegation", "phase", "missing", "extra"),
    [
        ((), "blocked", PLATFORM_NAMES, ()),
        (OLD_NAMES, "awaiting-customer", PLATFORM_NAMES, OLD_NAMES),
        (PLATFORM_NAMES[:1], "partial", PLATFORM_NAMES[1:], ()),
        ((*PLATFORM_NAMES, OLD_NAMES[0]), "partial", (), OLD_NAMES[:1]),
        (PLATFORM_NAMES, "converging", (), ()),
    ],
)
async def test_delegation(
    tree: Tree, served: str, delegation: tuple[str, ...], phase: str, missing: tuple[str, ...], extra: tuple[str, ...]
) -> None:
    """What the parent has is compared with what it should have, as sets."""
    tree.delegate(served, delegation)
    _, report, memory = await look(prober(tree), served)
    assert (report.phase, report.missing, report.extra) == (phase, missing, extra)
    assert memory.phase == phase


async def test_unregistered(tree: Tree, domain: str) -> None:
    """A name that its parent zone does not know is not registered."""
    _, report, _ = await look(prober(tree), domain)
    assert (report.phase, codes(report)[0]) == ("blocked", "not-registered")


async def test_ds_of_another_operator(tree: Tree, served: str) -> None:
    """A DS that matches no key of ours blocks, before the flip and after it; ours is secure."""
    (ours,) = Zones(tree.ours).ds(served)
    foreign = "4711 13 2 " + "ab" * 32
    for nameservers, ds, dnssec, code in [
        (OLD_NAMES, [foreign], "unknown", "ds-present"),
        (PLATFORM_NAMES, [foreign], "bogus", "ds-mismatch"),
        (PLATFORM_NAMES, [foreign, ours], "secure", None),
        (PLATFORM_NAMES, [ours], "secure", None),
    ]:
        tree.delegate(served, nameservers, ds)
        _, report, _ = await look(prober(tree), served)
        assert report.dnssec == dnssec
        assert (report.phase == "blocked", code in codes(report)) == (code is not None, code is not None)


@pytest.fixture
def parents(tree: Tree) -> Iterator[list[Faulty]]:
    """Two servers of a zone `<label>.zz` of its own, in which customers' domains are delegated."""
    made: list[Faulty] = []
    yield made
    for server in made:
        server.stop()


def a_parent(tree: Tree, made: list[Faulty], zone: str, behave: faulty.Behaviour) -> Faulty:
    """One more server of the parent zone."""
    name = f"p{len(made)}.{zone}"
    made.append(Faulty(tree.address(), zone, (name,), behave))
    return made[-1]


@pytest.mark.parametrize(
    ("behave", "state"),
    [
        (faulty.code("REFUSED"), "failed"), (faulty.code("SERVFAIL"), "failed"), (faulty.silent, "silent"),
        (faulty.upward, "upward"), (faulty.slow(2), "nodata"), (faulty.well, "nodata"),
    ],
)  # fmt: skip
async def test_parent(tree: Tree, parents: list[Faulty], domain: str, behave: faulty.Behaviour, state: str) -> None:
    """A parent's server that is of no use is told, and the others decide."""
    good = a_parent(tree, parents, domain, faulty.well)
    bad = a_parent(tree, parents, domain, behave)
    names = [f"p0.{domain}", f"p1.{domain}"]
    for server in tree.tlds:
        glue = [rr(name, "A", one.address) for name, one in zip(names, (good, bad), strict=True)]
        Zones(server).patch("zz", [*glue, rr(domain, "NS", *(f"{name}." for name in names))])
    seen, report, _ = await look(prober(tree), f"sub.{domain}")
    assert seen.parent == domain
    assert {view.address: view.state for view in seen.parents} == {good.address: "nodata", bad.address: state}
    assert ("parent-server-silent" in codes(report)) == (state != "nodata")
    assert report.phase == "awaiting-customer"


async def test_all_parents_dead(tree: Tree, parents: list[Faulty], domain: str) -> None:
    """Where no server of the parent answers, the phase of before stays, and that is told within the budget."""
    dead = a_parent(tree, parents, domain, faulty.silent)
    name = f"p0.{domain}"
    for server in tree.tlds:
        Zones(server).patch("zz", [rr(name, "A", dead.address), rr(domain, "NS", f"{name}.")])
    _, report, _ = await look(prober(tree), f"sub.{domain}")
    assert (report.phase, codes(report)[0]) == ("awaiting-customer", "parent-unreachable")


async def test_private_address(tree: Tree, served: str, parents: list[Faulty]) -> None:
    """In production a customer's nameserver at a private address is not contacted."""
    inside = Faulty(tree.address(), served, OLD_NAMES, faulty.well)
    parents.append(inside)
    tree.host(f"ns.in{served}", inside.address)
    tree.delegate(served, [f"ns.in{served}", OLD_NAMES[0]])
    seen, _, _ = await look(prober(tree, allow_private=False, addresses=trusted(tree)), served)
    assert {view.state for view in seen.others} == {"unasked"}
    assert inside.seen == 0
    seen, _, _ = await look(prober(tree), served)
    assert inside.seen


def trusted(tree: Tree) -> tuple[Nameserver, ...]:
    """The servers that a setting names, which may be at any address."""
    tlds = [Nameserver(name, server.addresses[0], 53) for name, server in zip(TLD_NAMES, tree.tlds, strict=True)]
    ours = [Nameserver(name, address, 53) for name, address in zip(PLATFORM_NAMES, tree.ours.addresses, strict=True)]
    return (*tlds, *ours)


async def test_child_beside_its_parent(tree: Tree, domain: str) -> None:
    """Where parent and child are on one server, only the DS tells whether there is a delegation."""
    zones, child = Zones(tree.ours), f"child.{domain}"
    apex = [rr(domain, "NS", *(f"{name}." for name in PLATFORM_NAMES))]
    zones.create(domain, [soa(domain, PLATFORM_NAMES[0]), *apex])
    tree.delegate(domain, PLATFORM_NAMES)
    zones.create(child, [soa(child, PLATFORM_NAMES[0]), rr(child, "NS", *(f"{name}." for name in PLATFORM_NAMES))])
    _, report, _ = await look(prober(tree), child)
    assert report.phase == "blocked"
    assert codes(report)[0] == "not-registered"
    zones.patch(domain, [rr(child, "NS", *(f"{name}." for name in PLATFORM_NAMES)), rr(child, "DS", *zones.ds(child))])
    _, report, _ = await look(prober(tree), child)
    assert (report.phase, report.dnssec) == ("converging", "secure")
