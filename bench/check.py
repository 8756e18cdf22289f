"""Throughput of check against an empty handler on the same server.

Both are one worker process under the same load: names at random, of which about half are taken.
"""

from statistics import mean, median

from bench.measure import Effort, Line, progress
from bench.stack import Load, Program, Stack, execute

_POOL = "check.test"


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return one line for each number of connections."""
    database_url = stack.database()
    progress(f"check: storing {effort.filled} allocations")
    execute(database_url, _filling(effort.filled))
    lines = []
    with stack.service(database_url, _POOL).running() as service, stack.empty().running() as empty:
        for connections in (16, 64):
            ours: list[float] = []
            bare: list[float] = []
            p99 = []
            cost: dict[Program, list[float]] = {service: [], empty: []}
            for run in range(-1, effort.runs):
                progress(f"check: {connections} connections, run {run + 1} of {effort.runs}, service {service.pid}")
                loads: dict[Program, list[Load]] = {service: [], empty: []}
                for _ in range(effort.slices if run >= 0 else 1):
                    for program, found in loads.items():
                        before = program.cpu_seconds()
                        found.append(program.load("check", _POOL, 2 * effort.filled, connections, 1))
                        found[-1].refuse_errors()
                        cost[program].append((program.cpu_seconds() - before) / found[-1].answered * 1e6)
                if run >= 0:
                    ours.append(mean(load.rate for load in loads[service]))
                    bare.append(mean(load.rate for load in loads[empty]))
                    p99 += [load.p99 for load in loads[service]]
            note = (
                f"1 worker each; p99 of ours {median(p99):.0f} ms; processor time a request"
                f" {median(cost[service]):.0f} and {median(cost[empty]):.0f} µs; {effort.filled:,} names taken of"
                f" {2 * effort.filled:,}"
            )
            lines.append(
                Line(
                    what=f"check, {connections} connections",
                    unit="/s",
                    ours=ours,
                    bare=bare,
                    bound=0.5,
                    at_least=True,
                    note=note,
                )
            )
    return lines


def _filling(count: int) -> str:
    # Every other name, in no order; reservations, since delegations that DNS lacks would be repaired.
    reverse = ".".join(reversed(_POOL.split(".")))
    return f"""
        INSERT INTO allocations
            (fqdn, span, mode, pool_domain, subdomain, state, reserved_at, expires_at, token_digest)
        SELECT label || '.{_POOL}', name_span('{reverse}.' || label || '.', '{reverse}.' || label || '/'),
               'pool', '{_POOL}', label, 'reserved', now(), now() + interval '1 day', sha256(label::bytea)
          FROM (SELECT 'n' || lpad((2 * i)::text, 12, '0') AS label
                  FROM generate_series(0, {count - 1}) i ORDER BY random()) AS l;
        ANALYZE allocations
        """
