"""Whether a DS stands against a change of nameservers: at the parent, at the registrar, in caches, or not known."""

from datetime import UTC, datetime, timedelta

import pytest

from pdm_service.byo import standing_ds
from pdm_service.model.observation import Observation, ParentView

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DS = f"4711 13 2 {'ab' * 32}"


def seen(*views: tuple[str, tuple[str, ...] | None]) -> Observation:
    parents = tuple(
        ParentView(name=f"ns{number}.nic.zz", address="192.0.2.1", state=state, ds=ds, ds_ttl=3600 if ds else None)  # type: ignore[arg-type]
        for number, (state, ds) in enumerate(views)
    )
    return Observation(
        domain="acme.zz", at=NOW, parent="zz", parents=parents, servers=(), others=(), queries=1, complete=True
    )


@pytest.mark.parametrize(
    ("observation", "registered", "kind", "word"),
    [
        (seen(("referral", ()), ("referral", ())), (), None, ""),
        (seen(("referral", (DS,)), ("referral", ())), (), "there", "wait 3600 s"),
        (seen(("referral", (DS,)), ("silent", None)), (), "there", "4711"),
        (seen(("referral", (DS,)), ("referral", None)), (), "there", "the parent zone has a DS"),
        (seen(("referral", ())), (DS,), "there", "the registrar has a DS"),
        (seen(("silent", None)), (DS,), "there", "the registrar has a DS"),
        (seen(("referral", ()), ("silent", None)), (), None, ""),
        (seen(("referral", ()), ("referral", None)), (), "unknown", "could not find out"),
        (seen(("silent", None), ("refused", None)), (), "unknown", "could not find out"),
        (seen(), (), "unknown", "try again"),
        (seen(("nxdomain", ())), (), None, ""),
    ],
)
def test_on_record(observation: Observation, registered: tuple[str, ...], kind: str | None, word: str) -> None:
    """A DS that any of them has counts; that there is none has to be said by all of the parent's servers that answer."""
    found = standing_ds.on_record("acme.zz", observation, registered)
    assert (found.kind if found else None) == kind
    assert found is None or word in f"{found.seen}; {found.remedy}"


@pytest.mark.parametrize(
    ("gone", "ttl", "stands"), [(None, 60, False), (5, None, False), (59, 60, True), (60, 60, False), (61, 60, False)]
)
def test_in_caches(gone: int | None, ttl: int | None, stands: bool) -> None:
    """A DS that is gone stands against the change as long as a resolver may have it."""
    at = None if gone is None else NOW - timedelta(seconds=gone)
    found = standing_ds.in_caches(at, ttl, NOW)
    assert (found is not None) == stands
    assert found is None or (found.kind, "12:00:01" in found.seen) == ("remembered", True)
