"""Every measurement of the benchmark works; what the numbers are is not asked here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import MEASUREMENTS
from tests.patience import patient

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_gives_its_lines(name: str) -> None:
    """The smallest run of it ends well and prints a table whose values are numbers."""
    if name in {"watch", "fairness"} and os.geteuid() != 0:
        pytest.skip("a DNS tree needs port 53 of loopback addresses, which only root may bind here")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--smoke", name],
        cwd=ROOT, capture_output=True, text=True, timeout=patient(60), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = done.stdout.partition("---\n")[2].partition("\n\n")[0].splitlines()
    values = [re.split(r" {2,}", row.strip())[1].split()[0] for row in rows]
    assert values
    assert all(float(value.replace(",", "")) >= 0 for value in values), done.stdout
