"""Why nameservers are not changed, in words to act on. Pure; each sentence stands here once."""

from datetime import datetime

from pdm_service.byo.preflight import blocking
from pdm_service.errors import AlreadyActive, ChangeUnderWay, PreflightBlocked
from pdm_service.findings import Finding


def refuse(findings: tuple[Finding, ...], acknowledged: tuple[str, ...]) -> None:
    """Raise PreflightBlocked if any of the findings stands in the way."""
    if stopping := blocking(findings, acknowledged):
        raise blocked(*stopping)


def refuse_late(fqdn: str, acknowledged: tuple[str, ...], before: tuple[str, ...] | None) -> None:
    """Raise AlreadyActive for acknowledgements that come when all is done, and would change nothing.

    `before` are those that it was done with; None: not known.
    """
    if before is not None and (late := sorted(set(acknowledged) - set(before))):
        raise AlreadyActive(f"{fqdn} is active without {', '.join(late)}: to acknowledge it now changes nothing")


def blocked(*stopping: Finding) -> PreflightBlocked:
    """Return the error for what stands in the way."""
    codes = ", ".join(finding.code for finding in stopping)
    return PreflightBlocked(f"the nameservers are not changed: {codes}; the problems say what to do", stopping)


def changed_meanwhile(now: tuple[str, ...], expected: tuple[str, ...]) -> PreflightBlocked:
    """Return the error for a domain whose nameservers somebody else has changed."""
    text = f"the registrar has {', '.join(now)} on record, not {', '.join(expected)}: they were changed in the meantime"
    remedy = "find out who did, then send the request again"
    return blocked(Finding(code="BYO-REGISTRAR-DIFFERS", severity="block", seen=text, remedy=remedy))


def ds_remembered(until: datetime) -> PreflightBlocked:
    """Return the error for a DS that was removed while resolvers may still have it in their caches."""
    text = f"resolvers may still have the DS until {until:%Y-%m-%d %H:%M:%S} UTC"
    return blocked(Finding(code="BYO-DS-RECENT", severity="block", seen=text, remedy="try again then"))


def lame(nameservers: list[str], fqdn: str) -> PreflightBlocked:
    """Return the error for nameservers of before that do not serve the domain any more."""
    text = f"{', '.join(nameservers)} of before does not serve {fqdn} any more"
    remedy = "ask the former provider to serve the zone again; until then the platform keeps serving it"
    return blocked(Finding(code="BYO-OLD-LAME", severity="block", seen=text, remedy=remedy))


def under_way() -> ChangeUnderWay:
    """Return the error for a domain with a change whose outcome is not known."""
    return ChangeUnderWay(
        "a change of this domain was sent to the registrar, and is not on record yet; try again later"
    )
