"""What a delegation's report says to those who have only claimed the domain."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from pdm_service.delegations.unserved import unserved
from pdm_service.findings import Finding
from pdm_service.model.allocation import Claim, Dns, Mode, Proof, State
from pdm_service.model.observation import ChallengeView, ParentView, Phase, Report
from pdm_service.model.tokens import Credentials

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
OURS = ("ns1.platform.net", "ns2.platform.net")
NAME = "_openova-challenge.acme.com"
REPORT = Report(
    domain="acme.com", phase="awaiting-customer", dnssec="insecure", ds=(), parent="com", nameservers=OURS, missing=OURS,
    extra=(), parents_ok=0, parents_total=1, servers_ok=0, servers_total=2, parents=(), servers=(), others=(), problems=(),
    checked_at=T0, converged_by=None, complete=True, queries=9,
)  # fmt: skip
CLAIM = Claim(
    id=UUID(int=1), fqdn="acme.com", mode=Mode.BYO_MANUAL, state=State.RESERVED, reserved_at=T0, challenge="abc",
    credentials=Credentials(token_digest=b"", token_nonce=None, idempotency_digest=None, request_digest=b""),
)  # fmt: skip


def finding(code: str, severity: Any = "warn") -> Finding:
    return Finding(code=code, severity=severity, seen="seen", remedy="remedy")


def codes(report: Report) -> list[str]:
    return [one.code for one in report.problems]


@pytest.mark.parametrize(
    ("phase", "problems", "expected", "told"),
    [
        ("awaiting-customer", ["nameserver-lame", "nameserver-lame"], "awaiting-proof", ["awaiting-proof"]),
        ("delegated", ["nameserver-not-authoritative", "nameserver-failing"], "awaiting-proof", ["awaiting-proof"]),
        ("partial", ["nameservers-missing", "nameserver-lame"], "awaiting-proof", ["awaiting-proof", "nameservers-missing"]),
        ("moved", [], "awaiting-proof", ["awaiting-proof"]),
        ("stalled", [], "awaiting-proof", ["awaiting-proof"]),
        ("blocked", ["ds-present", "nameserver-lame"], "blocked", ["ds-present", "awaiting-proof"]),
        ("awaiting-customer", ["parent-unreachable"], "awaiting-proof", ["parent-unreachable", "awaiting-proof"]),
        # That a nameserver of ours is silent has nothing to do with the proof.
        ("delegated", ["nameserver-silent", "nameserver-no-tcp"], "awaiting-proof", ["awaiting-proof", "nameserver-silent", "nameserver-no-tcp"]),
    ],
)  # fmt: skip
def test_unproven(phase: Phase, problems: list[str], expected: Phase, told: list[str]) -> None:
    """Of an unproven domain the missing proof is told, last where something else comes first, and no lame nameserver."""
    report = replace(REPORT, phase=phase, problems=tuple(finding(code) for code in problems))
    found = unserved(report, [CLAIM, CLAIM])
    assert (found.phase, codes(found)) == (expected, told)
    assert replace(found, phase=phase, problems=report.problems) == report


def test_proven() -> None:
    """Of a proven domain is told what its zone waits for: the commit, or what holds it up."""
    report = replace(REPORT, problems=(finding("nameserver-lame"),))
    proven = replace(CLAIM, proof=Proof.TXT)
    found = unserved(report, [CLAIM, proven])
    assert (found.phase, codes(found)) == ("awaiting-customer", ["awaiting-commit"])
    for dns, seen in (
        (Dns(), "about to be served"),
        (Dns(error="team.acme.com goes first"), "team.acme.com goes first"),
    ):
        found = unserved(report, [replace(proven, committed_at=T0, dns=dns)])
        assert (found.phase, codes(found)) == ("awaiting-customer", ["awaiting-zone"])
        assert seen in found.problems[0].seen


def view(state: Any, number: int = 1, **more: Any) -> ChallengeView:
    return ChallengeView(name=f"ns{number}.old.net", address=f"192.0.2.{number}", state=state, **more)


@pytest.mark.parametrize(
    ("seen", "sentence", "remedy"),
    [
        (None, "not been looked for yet", f"set the TXT record of the claim's challenge at {NAME}"),
        ((), "no nameserver to ask", f"set the TXT record of the claim's challenge at {NAME}"),
        ((view("nxdomain"), view("nxdomain", 2)), f"ns1.old.net, ns2.old.net has nothing at {NAME}", "set the TXT record of"),
        ((view("texts", texts=("abc",)), view("nodata", 2)), f"ns2.old.net has no TXT record at {NAME}", "set the TXT record of"),
        ((view("texts", texts=("xyz",)),), f"ns1.old.net has another TXT record at {NAME}", "compare it with"),
        ((view("everywhere"),), "only by a wildcard", "at the name itself"),
        ((view("alias", alias="x.net"),), f"a CNAME at {NAME}, to x.net", "in place of the CNAME"),
        ((view("nxdomain", doubled=f"{NAME}.acme.com"),), f"stands at {NAME}.acme.com", "enter _openova-challenge as"),
        ((view("silent"), view("not-serving", 2)), "none of its nameservers answers", "nameservers answer"),
    ],
)  # fmt: skip
def test_what_to_do_about_it(seen: tuple[ChallengeView, ...] | None, sentence: str, remedy: str) -> None:
    """What was seen is told in one sentence, and what the customer does about it in another."""
    (problem,) = unserved(replace(REPORT, challenge=seen), [CLAIM]).problems
    assert sentence in problem.seen
    assert remedy in problem.remedy
    assert "registrar" not in problem.remedy
    (problem,) = unserved(replace(REPORT, challenge=seen), [replace(CLAIM, mode=Mode.BYO_API)]).problems
    assert problem.remedy.endswith("or commit with the registrar's token")


def test_pointing_here() -> None:
    """Where all nameservers are the platform's the record can be set nowhere: the former ones have to come back."""
    here = (ParentView(name="a.gtld.net", address="192.0.2.3", state="referral", nameservers=OURS),)
    (problem,) = unserved(replace(REPORT, phase="delegated", parents=here, challenge=()), [CLAIM]).problems
    assert "where nobody can set" in problem.seen
    assert problem.remedy.startswith("set the former nameservers again")
