"""How much longer than on a quiet machine a test may wait."""

import os

VARIABLE = "PDM_TEST_PATIENCE"
"""The factor, 1 unless it is set."""


def patient(seconds: float) -> float:
    """Return the deadline of what takes that long on a quiet machine."""
    return seconds * float(os.environ.get(VARIABLE) or 1)
