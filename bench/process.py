"""Memory of an idle process, and how long a start takes, beside a program that only loads the libraries."""

import resource
import subprocess
import sys
from time import monotonic
from typing import Any

import msgspec
import uvloop

from bench.measure import Effort, Line, progress
from bench.publish import Caller
from bench.stack import Stack, resident_megabytes

_POOL = "process.test"
_LIVES = 25
_LIFE = f"{_LIVES} names: check, reserve, commit, release"


_BARE = "import litestar, asyncpg, httpx, dns"


class _Start(msgspec.Struct, frozen=True):
    """What a start took."""

    wall: float
    processor: float
    memory: float


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return the lines of memory and start."""
    starts: list[_Start] = []
    bare: list[_Start] = []
    used: list[float] = []
    ready_empty: list[float] = []
    database_url = stack.database()
    for run in range(effort.runs):
        progress(f"process: run {run + 1} of {effort.runs}")
        bare.append(_bare())
        service = stack.service(database_url, _POOL)
        try:
            starts.append(_Start(service.start(), service.cpu_seconds(), service.resident_megabytes()))
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
        _line(starts, bare, "memory", what="memory, after start", unit="MB", bound=95, note=f"VmRSS; bare: {_BARE}"),
        Line(what="memory, after 100 requests", unit="MB", ours=used, bound=100, note=_LIFE),
        _line(starts, bare, "wall", what="ready, migrated database", unit="s", bound=0.8,
              note="from exec to 200 at /readyz; bare: to the end"),
        _line(starts, bare, "processor", what="processor until ready, migrated", unit="s", bound=1.1,
              note="user and system"),
        Line(what="ready, empty database", unit="s", ours=ready_empty, bound=3),
    ]  # fmt: skip


def _line(starts: list[_Start], bare: list[_Start], field: str, **more: Any) -> Line:
    ours, theirs = ([float(getattr(one, field)) for one in some] for some in (starts, bare))
    return Line(ours=ours, bare=theirs, of_ratio=False, **more)


def _bare() -> _Start:
    """Run a program that loads the libraries, tells its memory, and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = monotonic()
    command = [sys.executable, "-c", f"{_BARE}; print(open('/proc/self/status').read())"]
    status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wall = monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _Start(wall, processor, resident_megabytes(status))


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
