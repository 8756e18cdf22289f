"""Wait for a condition with a deadline, which is as long as the machine is slow."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.patience import patient

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 10.0, what: str = "") -> T:
    """Return the first true value of `condition`; an AssertionError in it means "not yet"."""
    seconds = patient(seconds)
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
            last = value
        except AssertionError as error:
            last = error
        time.sleep(0.02)
    msg = f"not within {seconds} s: {what or condition}; last: {last!r}"
    raise AssertionError(msg)
