"""Why nameservers are not changed: each refusal has a finding with its code, and what to do."""

from datetime import UTC, datetime

import pytest

from pdm_service.byo import refusals
from pdm_service.errors import ChangeUnderWay, PreflightBlocked
from pdm_service.findings import Finding

BLOCK, ACKNOWLEDGE, WARN = (
    Finding(code=f"BYO-{severity.upper()}", severity=severity, seen="seen", remedy="do this")
    for severity in ("block", "acknowledge", "warn")
)


@pytest.mark.parametrize(
    ("findings", "acknowledged", "told"),
    [
        ((), (), ()), ((WARN,), (), ()), ((ACKNOWLEDGE, WARN), ("BYO-ACKNOWLEDGE",), ()),
        ((ACKNOWLEDGE, WARN), (), (ACKNOWLEDGE,)), ((BLOCK,), ("BYO-BLOCK",), (BLOCK,)),
        ((BLOCK, WARN, ACKNOWLEDGE), (), (BLOCK, ACKNOWLEDGE)),
    ],
)  # fmt: skip
def test_refuse(findings: tuple[Finding, ...], acknowledged: tuple[str, ...], told: tuple[Finding, ...]) -> None:
    """What stands in the way is told, in the sentence and one by one; what is acknowledged, or only warns, is not."""
    if not told:
        refusals.refuse(findings, acknowledged)
        return
    with pytest.raises(PreflightBlocked) as refused:
        refusals.refuse(findings, acknowledged)
    assert refused.value.problems == told
    assert all(finding.code in refused.value.detail for finding in told)


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        (refusals.changed_meanwhile(("a.test", "b.test"), ("c.test",)), "BYO-REGISTRAR-DIFFERS", ["a.test, b.test", "c.test"]),
        (refusals.ds_remembered(datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)), "BYO-DS-RECENT", ["2026-11-23 12:34:56 UTC"]),
        (refusals.lame(["a.test", "b.test"], "acme.example"), "BYO-OLD-LAME", ["a.test, b.test", "acme.example"]),
    ],
)  # fmt: skip
def test_each_has_its_finding(refusal: PreflightBlocked, code: str, words: list[str]) -> None:
    """A refusal blocks with one finding, which names what was seen, and says what to do."""
    (finding,) = refusal.problems
    assert (finding.code, finding.severity) == (code, "block")
    assert all(word in finding.seen for word in words)
    assert finding.remedy
    assert code in refusal.detail


def test_a_change_under_way() -> None:
    """A change whose outcome is not known is a conflict of its own kind: the caller asks again later."""
    assert type(refusals.under_way()) is ChangeUnderWay
