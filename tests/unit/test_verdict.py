"""The verdict on a delegation: a function of what was seen, of what was remembered, and of the moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pdm_service.delegations.verdict import judge, outdated, pause, secure_from
from pdm_service.model.observation import Memory, Observation, ParentView, Phase, Report, ServerView

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
OLD, OURS = ("ns1.old.net", "ns2.old.net"), ("ns1.platform.net", "ns2.platform.net")
KEY, FOREIGN = "1 13 2 ab", "2 13 2 cd"
FRESH = Memory(since=T0, changed_at=T0)


def after(**more: float) -> datetime:
    return T0 + timedelta(**more)


def round_(
    at: datetime, *parents: tuple[str, ...] | None, ds: tuple[str, ...] = (), old_ttl: int = 7200, **more: Any
) -> Observation:
    """What was seen: the delegation at each server of the parent (None: silent)."""
    views = tuple(
        ParentView(name=f"{number}.gtld.net", address=f"192.0.2.{number}", state="referral", nameservers=names, ns_ttl=3600, ds=ds, ds_ttl=600)
        if names is not None
        else ParentView(name=f"{number}.gtld.net", address=f"192.0.2.{number}", state="silent")
        for number, names in enumerate(parents)
    )  # fmt: skip
    view: dict[str, Any] = {"state": "serving", "serial": 1, "udp": True, "edns": True, "tcp": True}
    others = tuple(ServerView(name=name, address="192.0.2.99", ns_ttl=old_ttl, nameservers=OLD, **view) for name in OLD)
    ours = tuple(
        ServerView(name=name, address="192.0.2.98", ns_ttl=300, nameservers=OURS, signing_ds=(KEY,), **view)
        for name in OURS
    )
    values = {
        "domain": "acme.com", "at": at, "parent": "com", "parents": views, "servers": ours,
        "others": others if any(set(OLD) & set(names or ()) for names in parents) else (), "queries": 9, "complete": True,
    }  # fmt: skip
    return Observation(**{**values, **more})


def story(*rounds: Observation, taken_back_at: datetime | None = None) -> tuple[list[Phase], Report, Memory]:
    memory, phases = FRESH, []
    for one in rounds:
        report, memory = judge(one, OURS, memory, taken_back_at)
        phases.append(report.phase)
    return phases, report, memory


def test_the_whole_way() -> None:
    """From the customer's change to live: the time is the longest that a cache may keep the old delegation."""
    phases, report, memory = story(
        round_(T0, OLD, OLD),
        round_(after(minutes=1), OLD, OURS),
        round_(after(minutes=2), OURS, OURS),
        round_(after(minutes=121), OURS, OURS),
        round_(after(minutes=122), OURS, OURS),
    )
    assert phases == ["awaiting-customer", "partial", "converging", "converging", "live"]
    assert report.converged_by == after(minutes=122)
    assert memory.changed_at == after(minutes=122)
    assert secure_from(memory) == after(minutes=182)


@pytest.mark.parametrize(("old_ttl", "seconds"), [(60, 3600), (7200, 7200), (10**6, 48 * 3600)])
def test_time_of_convergence(old_ttl: int, seconds: int) -> None:
    """It is the longer TTL of the parent's and the old zone's NS, and no longer than two days."""
    _, report, _ = story(round_(T0, OLD, OLD, old_ttl=old_ttl), round_(after(minutes=1), OURS, OURS))
    assert report.converged_by == after(minutes=1, seconds=seconds)


def test_failures_are_cached_too() -> None:
    """While resolvers get failures, the time moves on: a failure is remembered for up to five minutes."""
    dead = tuple(ServerView(name=name, address="192.0.2.98", state="silent") for name in OURS)
    _, report, _ = story(round_(T0, OLD, OLD, old_ttl=1), round_(after(hours=2), OURS, OURS, servers=dead))
    assert report.phase == "delegated"
    _, report, _ = story(
        round_(T0, OLD, OLD, old_ttl=1), round_(after(minutes=1), OURS, OURS), round_(after(hours=2), OURS, OURS, servers=dead),
        round_(after(hours=2, minutes=1), OURS, OURS),
    )  # fmt: skip
    assert (report.phase, report.converged_by) == ("converging", after(hours=2, minutes=5))


def test_moved_away_and_drained() -> None:
    """A delegation that was here and is not any more has moved; the zone is wanted until the caches are empty."""
    phases, _, memory = story(
        round_(T0, OURS, OURS), round_(after(hours=2), OURS, OURS), round_(after(hours=3), OLD, OURS),
        round_(after(hours=4), OLD, OLD), round_(after(hours=5), OLD, OLD),
    )  # fmt: skip
    assert phases == ["converging", "live", "partial", "moved", "moved"]
    assert (memory.left_at, memory.drained_by) == (after(hours=4), after(hours=5))


def test_left_as_asked_for() -> None:
    """After a rollback a delegation has left; its zone is wanted as long as of one that has moved."""
    rounds = (
        round_(T0, OURS, OURS), round_(after(hours=2), OURS, OURS), round_(after(hours=3), OURS, OLD),
        round_(after(hours=4), OLD, OLD), round_(after(hours=5), OLD, OLD),
    )  # fmt: skip
    phases, _, memory = story(*rounds, taken_back_at=after(hours=2.5))
    assert phases == ["converging", "live", "partial", "left", "left"]
    assert (memory.left_at, memory.drained_by, memory.changed_at) == (after(hours=4), after(hours=5), after(hours=4))
    assert outdated(story(*rounds, taken_back_at=after(hours=2.5))[1], memory) == after(hours=4)


def test_left_for_a_signed_zone() -> None:
    """Where a domain went back to, its former DS is no obstacle; that it is not registered any more is one."""
    phases, report, _ = story(
        round_(T0, OURS, OURS), round_(after(hours=4), OLD, OLD, ds=(FOREIGN,)), taken_back_at=after(hours=3)
    )
    assert (phases[-1], report.problems) == ("left", ())
    gone = tuple(ParentView(name="0.gtld.net", address="192.0.2.0", state="nxdomain", ds=()) for _ in range(2))
    phases, _, _ = story(
        round_(T0, OURS, OURS), round_(after(hours=4), OLD, OLD, parents=gone), taken_back_at=after(hours=3)
    )
    assert phases[-1] == "blocked"


def test_moved_after_a_rollback() -> None:
    """A rollback is the reason of the leaving that follows it, and not of the next one."""
    phases, _, memory = story(
        round_(T0, OURS, OURS), round_(after(hours=4), OLD, OLD), round_(after(hours=9), OURS, OLD),
        round_(after(hours=10), OURS, OURS), round_(after(hours=20), OLD, OLD), taken_back_at=after(hours=3),
    )  # fmt: skip
    assert phases == ["converging", "left", "partial", "converging", "moved"]
    assert memory.back_at == after(hours=9)


def test_pause_after_a_rollback() -> None:
    """A rollback begins the pauses anew, also of a delegation that was looked at daily."""
    first = timedelta(seconds=15)
    done = replace(FRESH, phase="live", our_ds_at=T0)
    for memory, before in ((done, timedelta(days=1)), (replace(done, our_ds_at=None), timedelta(hours=1))):
        now = after(days=9)
        assert pause(memory, now, first) == before
        assert pause(memory, now, first, now - timedelta(seconds=10)) == first
        assert first < pause(memory, now, first, now - timedelta(minutes=30)) <= 20 * first
    left = replace(FRESH, phase="left", changed_at=after(days=9))
    assert pause(left, after(days=9, seconds=1), first, after(days=8)) == first


def test_back_again() -> None:
    """A delegation that comes back after it had left converges anew: caches were told something else meanwhile."""
    phases, report, _ = story(
        round_(T0, OURS, OURS), round_(after(hours=2), OURS, OURS), round_(after(hours=4), OLD, OLD),
        round_(after(hours=9), OURS, OURS), round_(after(hours=11), OURS, OURS),
    )  # fmt: skip
    assert phases == ["converging", "live", "moved", "converging", "live"]
    assert report.converged_by == after(hours=11)


def test_left_before_it_was_all_here() -> None:
    """Also of a delegation that some of the parent's servers had for a while, caches have to be waited for."""
    phases, _, memory = story(round_(T0, OURS, OLD), round_(after(hours=1), OLD, OLD))
    assert phases == ["partial", "awaiting-customer"]
    assert memory.drained_by == after(hours=2)


def test_silence_changes_nothing() -> None:
    """While no server of the parent answers the phase stays, and nothing is remembered of it."""
    phases, report, memory = story(round_(T0, OURS, OURS), round_(after(hours=9), None, None))
    assert phases == ["converging", "converging"]
    assert [one.code for one in report.problems] == ["parent-unreachable"]
    assert memory.converged_by == after(hours=1)


@pytest.mark.parametrize(
    ("rounds", "before"),
    [
        ([round_(T0, OURS, OURS)], None),
        ([round_(T0, OLD, OURS)], None),
        ([round_(T0, None, None)], None),
        ([round_(T0, OURS, OURS), round_(after(hours=1), None, None)], None),
        ([round_(T0, OLD, OLD)], after(days=-28)),
        ([round_(T0, OURS, OURS), round_(after(hours=1), OLD, OLD), round_(after(hours=2), OLD, OLD)], after(hours=1)),
        ([round_(T0, OURS, OURS), round_(after(hours=1), OLD, OLD), round_(after(days=40), OLD, OLD)], after(days=12)),
        ([round_(T0, OURS), round_(after(hours=1), OLD), round_(after(hours=2), OURS)], None),
        ([round_(T0, OURS), round_(after(hours=1), OLD), round_(after(hours=2), OURS), round_(after(hours=3), OLD)], after(hours=3)),
    ],
)  # fmt: skip
def test_outdated(rounds: list[Observation], before: datetime | None) -> None:
    """A holder's proof is outdated once the delegation left, or if it has not come in 28 days; never while it is here."""
    _, report, memory = story(*rounds)
    assert outdated(report, memory) == before


def test_stalled() -> None:
    """After 28 days without any change nobody is expected to come."""
    phases, _, memory = story(round_(T0, OLD), round_(after(days=27), OLD), round_(after(days=28), OLD))
    assert phases == ["awaiting-customer", "awaiting-customer", "stalled"]
    assert pause(memory, after(days=28), timedelta(seconds=15)) == timedelta(days=1)


def test_one_silent_server_of_the_parent() -> None:
    """It does not hold the verdict up, and is told."""
    phases, report, _ = story(round_(T0, OURS, None))
    assert phases == ["converging"]
    assert (report.parents_ok, report.parents_total) == (1, 2)
    assert [one.code for one in report.problems] == ["parent-server-silent"]


@pytest.mark.parametrize(
    ("delegation", "ds", "dnssec", "code"),
    [
        (OLD, (), "insecure", None), (OLD, (FOREIGN,), "unknown", "ds-present"), (OURS, (), "insecure", None),
        (OURS, (KEY,), "secure", None), (OURS, (FOREIGN,), "bogus", "ds-mismatch"), (OURS, (KEY, FOREIGN), "secure", None),
    ],
)  # fmt: skip
def test_dnssec(delegation: tuple[str, ...], ds: tuple[str, ...], dnssec: str, code: str | None) -> None:
    """A DS must match a key that signs now; one that does not blocks, before the flip too."""
    _, report, _ = story(round_(T0, delegation, delegation, ds=ds))
    assert report.dnssec == dnssec
    assert [one.code for one in report.problems if one.severity == "block"] == ([code] if code else [])
    assert (report.phase == "blocked") == (code is not None)


def test_ds_is_remembered() -> None:
    """When a DS was seen last, and its TTL, are kept: a flip has to wait that long."""
    _, _, memory = story(round_(T0, OLD, ds=(FOREIGN,)), round_(after(minutes=1), OLD))
    assert (memory.ds_seen_at, memory.ds_ttl) == (T0, 600)


def test_order_and_repeats_mean_nothing() -> None:
    """Sets of nameservers are compared as sets; the reports of a round asked twice are equal."""
    one, _ = judge(round_(T0, OURS, OURS), OURS, FRESH)
    again, _ = judge(round_(T0, OURS, OURS), OURS, FRESH)
    assert one == again
    assert msgspec.json.decode(msgspec.json.encode(one), type=Report) == one


FIRST = timedelta(seconds=15)


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (0, 15),
        (45, 15),
        (60, 24),
        (84, 38.4),
        (600, 300),
        (3599, 300),
        (3700, 900),
        (86000, 900),
        (90000, 3600),
        (10**6, 3600),
    ],
)
def test_pause(age: int, seconds: float) -> None:
    """Four times 15 s, then 1.6 times as long each time up to 5 min; 15 min after an hour, an hour after a day."""
    assert pause(FRESH, after(seconds=age), FIRST).total_seconds() == pytest.approx(seconds)


def test_pause_when_all_is_done() -> None:
    """What is live and secured is looked at daily; a moment that is known before is not slept through."""
    live = replace(FRESH, phase="live", converged_by=T0, our_ds_at=T0)
    assert pause(live, after(days=3), FIRST) == timedelta(days=1)
    converging = replace(FRESH, phase="converging", converged_by=after(seconds=4000))
    assert pause(converging, after(seconds=3990), FIRST) == timedelta(seconds=10)
    assert pause(replace(live, our_ds_at=None), after(days=3), FIRST) == timedelta(hours=1)
