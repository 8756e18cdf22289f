"""Quotas: which one stands in the way, and for how long."""

from datetime import timedelta

import pytest

from pdm_service.callers import Quotas
from pdm_service.store import quotas
from pdm_service.store.quotas import Usage

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
