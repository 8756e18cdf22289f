"""`python -m bench [name ...]`: run the measurements and print one table."""

import argparse
import os
import sys
from time import monotonic

import msgspec

from bench import check, fairness, growth, process, publish, reserve, standby, watch
from bench.measure import QUICK, SMOKE, Effort, progress, table
from bench.stack import started

MEASUREMENTS = {
    "check": check.measure,
    "reserve": reserve.measure,
    "publish": publish.measure,
    "growth": growth.measure,
    "process": process.measure,
    "watch": watch.measure,
    "fairness": fairness.measure,
    "standby": standby.measure,
}


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(MEASUREMENTS)}; all by default")
    parser.add_argument("--runs", type=int, help="how often each measurement is repeated")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs, for a first look")
    parser.add_argument("--smoke", action="store_true", help="as little as can be, to see that it works")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bound is missed")
    asked = parser.parse_args()
    if unknown := set(asked.names) - MEASUREMENTS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    effort = SMOKE if asked.smoke else QUICK if asked.quick else Effort()
    if asked.runs:
        effort = msgspec.structs.replace(effort, runs=asked.runs)
    start = monotonic()
    lines = []
    with started() as stack:
        for name in asked.names or MEASUREMENTS:
            lines += MEASUREMENTS[name](stack, effort)
    print(
        f"Medians of {effort.runs} runs; a ratio is the median of the runs' own ratios. {os.cpu_count()} cores for"
        " everything; PostgreSQL with fsync, PowerDNS on gpgsql with caches off.\n"
    )
    print(table(lines))
    progress(f"took {monotonic() - start:.0f} s")
    return int(asked.strict and not all(line.passed for line in lines))


if __name__ == "__main__":
    sys.exit(main())
