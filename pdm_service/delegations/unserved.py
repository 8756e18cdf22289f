"""What a report says while a domain is only claimed: its zone is not served yet, and our nameservers are not to blame.

Pure. Who has claimed a domain is told to the claimants alone, so this is done to what a caller gets, not to what is
stored.
"""

from collections.abc import Sequence

import msgspec

from pdm_service.findings import Finding
from pdm_service.model.allocation import CHALLENGE_LABEL, Claim, Mode
from pdm_service.model.observation import Phase, Report

_SAYS_NOT_SERVED = frozenset(
    {"nameserver-lame", "nameserver-not-authoritative", "nameserver-upward", "nameserver-failing"}
)
"""Findings about ours that only say that the zone is not there."""


def unserved(report: Report, claims: Sequence[Claim]) -> Report:
    """Return the report as those who have claimed the domain, and do not hold it, are to read it.

    Its phase is `awaiting-proof` while none of the claims is proven, unless something else has to be fixed before.
    """
    rest = tuple(one for one in report.problems if one.code not in _SAYS_NOT_SERVED)
    proven = [claim for claim in claims if claim.proof]
    blocked = report.phase == "blocked"
    phase: Phase = report.phase if proven or blocked else "awaiting-proof"
    waits = (
        _for_zone(proven) if proven else _for_proof(report, by_token=any(one.mode is Mode.BYO_API for one in claims))
    )
    # What keeps the record from being seen comes first.
    last = blocked or any(one.code == "parent-unreachable" for one in rest)
    return msgspec.structs.replace(report, phase=phase, problems=(*rest, waits) if last else (waits, *rest))


def _for_proof(report: Report, *, by_token: bool) -> Finding:
    seen, remedy = _record(report)
    return Finding(
        code="awaiting-proof",
        severity="warn",
        seen=f"the zone of {report.domain} is served once the domain is proven: {seen}",
        remedy=f"{remedy}, or commit with the registrar's token" if by_token else remedy,
    )


def _for_zone(proven: Sequence[Claim]) -> Finding:
    committed = [claim for claim in proven if claim.committed_at]
    if not committed:
        return Finding(
            code="awaiting-commit",
            severity="warn",
            seen="the domain is proven, and its zone is served once a commit says what to serve",
            remedy="commit the reservation before the nameservers change",
        )
    problem = next((claim.dns.error for claim in committed if claim.dns.error), "the zone is about to be served")
    remedy = "wait; dns.lastError of the allocation tells what holds it up"
    return Finding(code="awaiting-zone", severity="warn", seen=problem, remedy=remedy)


def _record(report: Report) -> tuple[str, str]:
    """Return what was seen where the TXT record has to stand, and what to do about it."""
    name = f"{CHALLENGE_LABEL}.{report.domain}"
    there = f"set the TXT record of the claim's challenge at {name}, at the domain's present nameservers"
    views = report.challenge
    if views is None:
        return "its TXT record has not been looked for yet", there
    if not views and report.points_here:
        return (
            "all its nameservers are the platform's, where nobody can set the TXT record",
            f"set the former nameservers again, and the TXT record at {name} there; change them once it is seen",
        )
    if not views:
        return "there was no nameserver to ask for its TXT record", there
    if doubled := next((view.doubled for view in views if view.doubled), None):
        short = name.removesuffix(doubled.removeprefix(name))
        return (
            f"a TXT record stands at {doubled}: the provider has appended the zone's name to one that has it already",
            f"enter {short} as the record's name at the provider",
        )
    for state, seen, remedy in _SEEN:
        if found := [view for view in views if view.state == state]:
            servers = ", ".join(dict.fromkeys(view.name for view in found))
            return f"{servers} {seen.format(name=name, alias=found[0].alias)}", remedy or there
    return "none of its nameservers answers with it", "see to it that the domain's present nameservers answer"


_SEEN = (
    ("alias", "has a CNAME at {name}, to {alias}, which is not followed", "set a TXT record in place of the CNAME"),
    ("everywhere", "has a TXT record at {name} only by a wildcard", "set the TXT record at the name itself"),
    ("nxdomain", "has nothing at {name}", ""),
    ("nodata", "has no TXT record at {name}", ""),
    ("texts", "has another TXT record at {name}", "compare it with the claim's challenge, at each nameserver"),
)
"""By how much it keeps the proof away: what was seen at a server, and what to do about it if not to set the record."""
