"""Whoever fails yields, longer each time; one name alone, or one failure, is no reason."""

import pytest

from pdm_service.publisher.reach import Reach


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failing(clock: Clock) -> Reach:
    """Changes of three names have just got nowhere."""
    made = Reach(clock)
    for name in "abc":
        made.failed(name, "no answer")
    return made


def test_failing(failing: Reach) -> None:
    """Nothing is tried for a while, and it is said why."""
    assert (failing.condition, failing.room, failing.wait, failing.problem) == ("failing", 0, 5.0, "no answer")


def test_longer_each_time(failing: Reach, clock: Clock) -> None:
    """After each pause one name is tried; the pause doubles, up to half a minute."""
    waits = []
    for _ in range(4):
        clock.now += failing.wait
        assert failing.room == 1
        failing.failed("d", "no answer")
        waits.append(failing.wait)
    assert waits == [10.0, 20.0, 30.0, 30.0]


def test_those_under_way_count_once(failing: Reach) -> None:
    """Of attempts that were under way together the failures make one pause."""
    for name in "defghi":
        failing.failed(name, "no answer")
    assert failing.wait == 5.0


def test_a_change_that_gets_through(failing: Reach, clock: Clock) -> None:
    """It ends the state at once."""
    clock.now += failing.wait
    failing.worked()
    assert (failing.condition, failing.room, failing.problem) == ("ok", None, "")


def test_nothing_to_try(failing: Reach, clock: Clock) -> None:
    """Where nothing is tried any more the state lapses."""
    clock.now += failing.wait + 31
    assert (failing.condition, failing.room) == ("ok", None)


def test_one_name_alone(clock: Clock) -> None:
    """A name that fails again and again does not hold up others; neither do two failures, or some between others."""
    reach = Reach(clock)
    for _ in range(9):
        reach.failed("a", "no answer")
    assert (reach.condition, reach.room) == ("ok", None)
    reach = Reach(clock)
    for name in "ab":
        reach.failed(name, "no answer")
    reach.worked()
    for name in "cd":
        reach.failed(name, "no answer")
    assert reach.condition == "ok"


def test_away(failing: Reach, clock: Clock) -> None:
    """A server that does not answer at all is unreachable, and when it is back its changes may still fail."""
    failing.lost("refused")
    clock.now += 10
    assert (failing.condition, failing.room, failing.problem) == ("unreachable", 0, "refused")
    assert failing.back()
    assert not failing.back()
    assert (failing.condition, failing.room) == ("failing", 1)
    reach = Reach(clock)
    reach.lost("refused")
    assert reach.back()
    assert (reach.condition, reach.problem) == ("ok", "")
