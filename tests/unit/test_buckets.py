"""Token buckets: so many at once, so many a minute after that, each key for itself."""

from time import monotonic

import pytest

from pdm_service.callers import buckets
from pdm_service.callers.buckets import Buckets, sender


def used(left: float, seconds_ago: float) -> Buckets:
    """A bucket of the key "a" in which that much was left that long ago."""
    made = Buckets()
    made._left["a"] = (left, monotonic() - seconds_ago)
    return made


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:0:1:aaaa::1", "2001:db8:0:1::/64"), ("2001:DB8:0:1:bbbb::2", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("", ""), ("a socket", "a socket"),
    ],
)  # fmt: skip
def test_who_counts_as_one_sender(address: str, who: str) -> None:
    """An IPv4 address in either form is one; of IPv6 it is the network whose addresses one sender may choose from."""
    assert sender(address) == who


def test_as_many_at_once_as_its_size() -> None:
    """A new bucket is full; each take takes one, and an empty bucket gives nothing."""
    bucket = Buckets()
    assert bucket.left("a", 3, 1) == 3
    assert [bucket.take("a", 3, 1) for _ in range(5)] == [True] * 3 + [False] * 2
    assert bucket.left("a", 3, 1) == 0


def test_asking_takes_nothing() -> None:
    """What is left can be asked any number of times, and nothing is remembered of who only asks."""
    bucket = Buckets()
    assert [bucket.left("a", 2, 1) for _ in range(3)] == [2, 2, 2]
    assert not bucket._left


@pytest.mark.parametrize(
    ("left", "seconds", "now"),
    [(0, 0, 0), (0, 5, 0), (0, 6.05, 1), (0.5, 3.5, 1), (1, 6.5, 2), (0, 19, 3), (0, 3600, 3), (3, 60, 3)],
)
def test_it_fills_with_time(left: float, seconds: float, now: int) -> None:
    """A bucket fills evenly, at ten a minute by one in six seconds, up to its size and no further."""
    assert used(left, seconds).left("a", 3, 10) == now


def test_a_refusal_costs_nothing() -> None:
    """Who is refused again and again gets the next one when it is due all the same."""
    bucket = used(0, 5.9)
    assert [bucket.take("a", 3, 10) for _ in range(50)] == [False] * 50
    left, at = bucket._left["a"]
    bucket._left["a"] = (left, at - 1)
    assert bucket.take("a", 3, 10)


def test_keys_do_not_share() -> None:
    """What one has taken is not missing to another."""
    bucket = Buckets()
    assert bucket.take("a", 1, 1)
    assert not bucket.take("a", 1, 1)
    assert bucket.take("b", 1, 1)


def test_the_one_not_seen_for_longest_is_forgotten() -> None:
    """The memory has an end: of more keys than fit those are forgotten that took nothing for longest."""
    bucket = Buckets()
    for number in range(buckets._REMEMBERED):
        bucket.take(str(number), 1, 1)
    assert not bucket.take("0", 1, 1)  # seen again
    bucket.take("new", 1, 1)
    assert len(bucket._left) == buckets._REMEMBERED
    assert not bucket.take("0", 1, 1)
    assert "1" not in bucket._left
