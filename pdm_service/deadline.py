"""The one deadline of a request, set where it comes in: each step that waits takes at most what is left of it.

Work in the background has none.
"""

from contextvars import ContextVar
from time import monotonic

ANSWER_SECONDS = 14.0
"""Existing clients give up after 15."""
REFUSE_SECONDS = 4.5
"""By then a request is refused for a database that does not answer, unless something was stored already."""

_started: ContextVar[float | None] = ContextVar("started", default=None)


def begin() -> float:
    """Have what the running task does from now on be one request; return the time, of the monotonic clock."""
    now = monotonic()
    _started.set(now)
    return now


def left(most: float, of: float = ANSWER_SECONDS) -> float:
    """Return the seconds that a step may take: `most`, or what is left of the first `of` seconds of the request.

    Zero or less once they have passed.
    """
    started = _started.get()
    return most if started is None else min(most, of - (monotonic() - started))
