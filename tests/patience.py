"""How much longer than on a quiet machine everything may take: one factor, for all deadlines of the tests.

It is measured when a run starts, or given as PDM_TEST_PATIENCE. On a quiet machine and without parallel tests it is 1.
"""

import subprocess
import sys
import time
from math import ceil

from adapters.conformance.patience import VARIABLE, patient

__all__ = ["VARIABLE", "measured", "patient", "patient_setting"]
# What the work below takes a process that has a core of a usual machine for itself, its start included.
_USUAL_SECONDS = 0.6
_WORK = "sum(number * number for number in range(15_000_000))"


def patient_setting(seconds: float) -> str:
    """Give the same as a duration in the service's settings."""
    return f"{ceil(patient(seconds))}s"


def measured(processes: int) -> float:
    """How many times longer than usual the same work takes, in as many processes at once as will run tests."""
    started = time.monotonic()
    children = [subprocess.Popen([sys.executable, "-I", "-c", _WORK]) for _ in range(processes)]
    for child in children:
        child.wait()
    return max(1.0, round((time.monotonic() - started) / _USUAL_SECONDS, 1))
