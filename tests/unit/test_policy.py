"""Look-alikes, callers and quotas: the rules."""

from datetime import timedelta

import pytest

from pdm_service import callers
from pdm_service.callers import Quotas
from pdm_service.names import policy
from pdm_service.store import quotas
from pdm_service.store.quotas import Usage


@pytest.mark.parametrize(
    ("one", "two"),
    [("omantel", "omante1"), ("omantel", "0mantel"), ("omantel", "ornantel"), ("oman-tel", "omantel"), ("west", "vvest"),
     ("cloud", "doud"), ("il", "1l"), ("api", "a-p-1")],
)  # fmt: skip
def test_labels_that_look_alike(one: str, two: str) -> None:
    """Labels that are easily taken for each other have one skeleton."""
    assert policy.skeleton(one) == policy.skeleton(two)


@pytest.mark.parametrize(("one", "two"), [("omantel", "omantels"), ("bank", "bunk"), ("a", "b"), ("www1", "www2")])
def test_labels_that_do_not(one: str, two: str) -> None:
    """Labels that differ at a glance have two."""
    assert policy.skeleton(one) != policy.skeleton(two)


@pytest.mark.parametrize(
    "text",
    ["platform = 'x'", "unknown = []", "platform = ['A b']", "[[brand]]\nword = 'x y'", "[[brand]]\nword = 'x'\nclient = 'c'",
     "[[brand]]\nword = 'x'\nclient = 'c'\nkey = 'short'", "not toml"],
)  # fmt: skip
def test_policy_that_makes_no_sense(text: str) -> None:
    """A file with a mistake is refused as a whole."""
    with pytest.raises(ValueError, match=r"."):
        policy.read(text)


@pytest.mark.parametrize(
    "line",
    [
        "", "# nothing", "{}", '{"id": "a"}', '{"id": "a", "sha256": "x", "scopes": ["check"]}',
        '{"id": "a", "sha256": "%s", "scopes": []}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["all"]}' % ("0" * 64),
        '{"id": "a b", "sha256": "%s", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "anonymous", "sha256": "%s", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "more": 1}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "serviceAccount": "a:b", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "a", "serviceAccount": "b", "scopes": ["check"]}',
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "quotas": {"names": -1}}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "expires": "2027-01-01T00:00:00"}' % ("0" * 64),
    ],
)  # fmt: skip
def test_callers_that_make_no_sense(line: str) -> None:
    """A wrong line is refused, and told by its number, without what stands in it."""
    with pytest.raises(ValueError, match=r"line 1|no client"):
        callers.read(line)


USAGE = Usage(
    names=5, reservations=2, first_ends=timedelta(seconds=90), day=8, day_ends=timedelta(hours=3), hour=4,
    hour_ends=timedelta(minutes=10),
)  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "what", "wait"),
    [
        (Quotas(), None, 0), (Quotas(names=6, reservations=3, reservations_per_hour=5, reservations_per_day=9), None, 0),
        (Quotas(names=5), "names held at a time", 3601), (Quotas(reservations=2), "open reservations", 91),
        (Quotas(reservations_per_hour=4), "reservations an hour", 601),
        (Quotas(reservations_per_day=8), "reservations a day", 3 * 3600 + 1), (Quotas(names=0), "names held at a time", 3601),
    ],
)  # fmt: skip
def test_quota(limits: Quotas, what: str | None, wait: int) -> None:
    """A quota is exceeded by one more than it allows, for as long as nothing ends."""
    found = quotas.exceeded(USAGE, limits)
    assert (found.what, found.retry_after_seconds) == (what, wait) if found and what else found is what
