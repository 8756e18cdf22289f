"""Throughput of reserve against its own statement, run by pgbench, both at 16 connections."""

import re
from statistics import mean, median

from bench.measure import Effort, Line, progress
from bench.stack import Load, Stack, pgbench_program
from pdm_service import names
from pdm_service.store.allocations import RESERVE

_POOL = "reserve.test"
_CONNECTIONS = 16
_NAMES = 10**12
"""So many that none comes twice."""


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return one line, none where there is no pgbench."""
    if pgbench_program() is None:
        progress("reserve: skipped, there is no pgbench beside initdb")
        return []
    database_url = stack.database()
    ours: list[float] = []
    bare: list[float] = []
    p99 = []
    with stack.service(database_url, _POOL).running() as service:
        for run in range(-1, effort.runs):
            progress(f"reserve: run {run + 1} of {effort.runs}, service {service.pid}")
            loads: list[Load] = []
            rates: list[float] = []
            for _ in range(effort.slices if run >= 0 else 1):
                loads.append(service.load("reserve", _POOL, _NAMES, _CONNECTIONS, 1))
                loads[-1].refuse_errors()
                rates.append(stack.pgbench(database_url, script(), _CONNECTIONS, 1))
            if run >= 0:
                ours.append(mean(load.rate for load in loads))
                bare.append(mean(rates))
                p99 += [load.p99 for load in loads]
    note = f"1 worker, 12 database connections; fsync on; p99 of ours {median(p99):.0f} ms"
    return [
        Line(
            what=f"reserve, {_CONNECTIONS} connections",
            unit="/s",
            ours=ours,
            bare=bare,
            bound=0.4,
            at_least=True,
            note=note,
        )
    ]


def script() -> str:
    """Return the service's statement as a script of pgbench, its parameters replaced by values."""
    label = "('m' || lpad(:n::text, 12, '0'))"
    # As `names.span` has it: the labels of a reversed name, each as a hash.
    above = names.span(_POOL)[0]
    low, high = (f"('{above}' || md5({label}) || '{end}')" for end in "./")
    digest = r"'\x" + "5a" * 32 + "'"
    values = {
        1: f"({label} || '.{_POOL}')", 2: low, 3: high, 4: "'pool'", 5: f"'{_POOL}'", 6: label, 7: "NULL",
        8: "'30 minutes'", 9: digest, 10: "NULL", 11: "NULL", 12: digest, 13: "'api'",
        14: "'0123456789abcdef0123456789abcdef'", 15: "'local'", 16: "NULL",
    }  # fmt: skip

    def value(found: re.Match[str]) -> str:
        return f"ARRAY[{values[int(found[1])]}]{found[2]}" if found[2] else values[int(found[1])]

    # The service holds several names with one statement; a transaction of pgbench holds one.
    statement = re.sub(r"\$(\d+)(::\w+\[\])?", value, RESERVE)
    return f"\\set n random(0, {_NAMES - 1})\n{statement.strip()};\n"
