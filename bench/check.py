"""Throughput of check against an empty Litestar handler on the same server, both as one worker process under one load.

Credentials, limits, logging and metrics are on. What is asked for is taken, free, or a reserved word, at random.
"""

import hashlib
from statistics import mean, median

from bench.measure import Effort, Line, progress
from bench.stack import Load, Program, Stack, execute

_POOL = "check.test"
_KEY = "pdm_bench"
_CALLER = f'{{"id": "bench", "sha256": "{hashlib.sha256(_KEY.encode()).hexdigest()}", "scopes": ["check"], '
_CALLER += '"checksPerMinute": 1000000}\n'
_PREFIXES = {"taken": "n", "free": "f", "reserved word": "ns"}
"""Of the labels that are asked for: `n` and a number is held, `ns` and a number is a reserved word."""
_CONNECTIONS = {1: 1.3, 16: 1.8, 64: 1.8}
"""Connections, and how many times the empty handler's throughput is to be reached."""
_TAIL = 3.0
"""How many times the median the 99th percentile may be, at the most connections."""


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return one line for each kind of name and number of connections, and one for the tail of each kind."""
    database_url = stack.database()
    progress(f"check: storing {effort.filled} allocations")
    execute(database_url, _filling(effort.filled))
    callers = stack.directory / "callers"
    callers.write_text(_CALLER)
    service = stack.service(database_url, _POOL, PDM_AUTH_TOKENS_FILE=str(callers))
    lines = []
    with service.running(), stack.empty().running() as empty:
        for program in (service, empty):
            program.load("check", _POOL, effort.filled, max(_CONNECTIONS), 1, "n", _KEY)
        for connections, bound in _CONNECTIONS.items():
            for kind, prefix in _PREFIXES.items():
                lines += _compare(service, empty, effort, kind, prefix, connections, bound)
    return lines


def _compare(
    service: Program, empty: Program, effort: Effort, kind: str, prefix: str, connections: int, bound: float
) -> list[Line]:
    rates: dict[Program, list[float]] = {service: [], empty: []}
    cost: dict[Program, list[float]] = {service: [], empty: []}
    tail: list[Load] = []
    for run in range(effort.runs):
        progress(f"check: {kind}, {connections} connections, run {run + 1} of {effort.runs}, service {service.pid}")
        loads: dict[Program, list[Load]] = {service: [], empty: []}
        for _ in range(effort.slices):
            for program, found in loads.items():
                before = program.cpu_seconds()
                found.append(program.load("check", _POOL, effort.filled, connections, 1, prefix, _KEY))
                found[-1].refuse_errors()
                cost[program].append((program.cpu_seconds() - before) / found[-1].answered * 1e6)
        for program, found in loads.items():
            rates[program].append(mean(load.rate for load in found))
        tail += loads[service]
    what = f"check, {kind}, {connections} connection{'s' * (connections > 1)}"
    note = (
        f"1 worker each; p50 and p99 of ours {median(one.p50 for one in tail):.1f} and"
        f" {median(one.p99 for one in tail):.1f} ms; processor time a request {median(cost[service]):.0f} and"
        f" {median(cost[empty]):.0f} µs; {effort.filled:,} names taken"
    )
    lines = [
        Line(what=what, unit="/s", ours=rates[service], bare=rates[empty], bound=bound, at_least=True, note=note),
    ]  # fmt: skip
    if connections == max(_CONNECTIONS):
        ours, bare = [load.p99 for load in tail], [load.p50 for load in tail]
        lines.append(Line(what=f"{what}, p99 to p50", unit="ms", ours=ours, bare=bare, bound=_TAIL))
    return lines


def _filling(count: int) -> str:
    # In no order; reservations, since delegations that DNS lacks would be repaired.
    reverse = ".".join(reversed(_POOL.split(".")))
    return f"""
        INSERT INTO allocations
            (fqdn, span, mode, pool_domain, subdomain, state, reserved_at, expires_at, token_digest)
        SELECT label || '.{_POOL}', name_span('{reverse}.' || label || '.', '{reverse}.' || label || '/'),
               'pool', '{_POOL}', label, 'reserved', now(), now() + interval '1 day', sha256(label::bytea)
          FROM (SELECT 'n' || lpad(i::text, 12, '0') AS label
                  FROM generate_series(0, {count - 1}) i ORDER BY random()) AS l;
        ANALYZE allocations
        """
