"""A caller's program, as a type checker sees it; it is never run."""

import asyncio
from datetime import datetime

from pdm_service.client import Client, Unreachable
from pdm_service.errors import Conflict, PdmError, PreflightBlocked, QuotaExceeded
from pdm_service.findings import Finding
from pdm_service.wire import AllocationReply, DelegationReply, EventReply


async def main() -> None:
    async with Client("https://pdm.example", key="k") as pdm:
        free: bool = (await pdm.check("omani.works", "omantel")).available
        held: AllocationReply = await pdm.reserve("omani.works", "omantel", ttl_seconds=600)
        token: str | None = held.reservation_token
        until: datetime | None = held.expires_at
        if free and token is not None and until is not None:
            made = await pdm.commit(held.fqdn, token, ["192.0.2.7"], sovereign_fqdn="omantel.omani.works")
            ds: list[str] = made.dnssec.ds if made.dnssec else []
            state: str = made.dns.state
            print(ds, state)
        claim = await pdm.reserve_domain("acme.com")
        if claim.challenge is not None:
            print(claim.challenge.name, claim.challenge.value)
        seen: DelegationReply = await pdm.delegation("acme.com", fresh=True)
        problems: list[Finding] = seen.problems
        print([problem.remedy for problem in problems], seen.progress.parents_ok)
        async for one in pdm.allocations(state="active"):
            print(one.load_balancer_ips)
        async for event in pdm.events(held.fqdn):
            entry: EventReply = event
            print(entry.action)


def told(error: PdmError) -> str:
    """Tell what went wrong, and what to do."""
    if isinstance(error, PreflightBlocked):
        return ", ".join(finding.code for finding in error.problems)
    if isinstance(error, QuotaExceeded):
        return f"again in {error.retry_after_seconds} s"
    if isinstance(error, Conflict | Unreachable):
        return error.detail
    return error.code


asyncio.run(main())
