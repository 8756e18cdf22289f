"""Memory of an idle process, and how long a start takes."""

import uvloop

from bench.measure import Effort, Line, progress
from bench.publish import Caller
from bench.stack import Stack

_POOL = "process.test"
_LIVES = 25
_LIFE = f"{_LIVES} names: check, reserve, commit, release"


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return the lines of memory and start."""
    fresh, used, ready, ready_empty = [], [], [], []
    database_url = stack.database()
    for run in range(effort.runs):
        progress(f"process: run {run + 1} of {effort.runs}")
        service = stack.service(database_url, _POOL)
        try:
            ready.append(service.start())
            fresh.append(service.resident_megabytes())
            uvloop.run(_requests(service.url, run))
            used.append(service.resident_megabytes())
        finally:
            service.stop()
        service = stack.service(stack.database(migrated=False), _POOL)
        try:
            ready_empty.append(service.start())
        finally:
            service.stop()
    return [
        Line(what="memory, after start", unit="MB", ours=fresh, bound=120, note="VmRSS of the one process"),
        Line(what="memory, after 100 requests", unit="MB", ours=used, bound=120, note=_LIFE),
        Line(what="ready, migrated database", unit="s", ours=ready, bound=3, note="from exec to 200 at /readyz"),
        Line(what="ready, empty database", unit="s", ours=ready_empty, bound=3),
    ]  # fmt: skip


async def _requests(url: str, run: int) -> None:
    caller = Caller(url)
    for number in range(_LIVES):
        fqdn = f"p{run}-{number}.{_POOL}"
        label, _, pool = fqdn.partition(".")
        reply = await caller.client.get("/v1/check", params={"poolDomain": pool, "subdomain": label})
        reply.raise_for_status()
        tokens = await caller.reserve([fqdn])
        await caller.commit(fqdn, tokens[fqdn])
        await caller.release(fqdn)
