"""Whether PowerDNS can be worked with from this process, and how much is tried.

A server that cannot be reached is asked until it is back. One that answers small questions while changes get nowhere (a
path that loses large packets, a proxy) is left to the other replicas: whoever fails yields, longer each time, and then
tries one name.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Literal

from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)

Condition = Literal["ok", "unreachable", "failing"]

_IN_A_ROW, _NAMES = 3, 2
"""Changes without an answer, of how many names, and none that got through between them: one name alone may have its
own trouble."""
_YIELD = (5.0, 30.0)
"""How long is yielded at first, and at most; each time twice as long."""


class Reach:
    """What was met last."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failed = 0
        self._names: set[str] = set()
        self._yields = 0
        self._until = 0.0
        self._away = False
        self.problem = ""
        """Why changes do not get there, in words; empty: they do, as far as is known."""

    @property
    def condition(self) -> Condition:
        """Whether PowerDNS is reached, and changes get there."""
        self._lapse()
        return "unreachable" if self._away else "failing" if self._yields else "ok"

    @property
    def room(self) -> int | None:
        """How many attempts may be under way; None for as many as there is work."""
        self._lapse()
        if self._away or self._clock() < self._until:
            return 0
        return 1 if self._yields else None

    @property
    def wait(self) -> float:
        """Seconds until something may be tried again."""
        return max(0.0, self._until - self._clock())

    def lost(self, problem: str) -> None:
        """Note that PowerDNS does not answer."""
        if not self._away:
            logs.event(_log, logging.WARNING, "PowerDNS is not reached", {"error": problem})
        self._away, self.problem = True, problem

    def back(self) -> bool:
        """Note that it answers a small question; return whether it did not before."""
        was, self._away = self._away, False
        if was:
            logs.event(_log, logging.INFO, "PowerDNS is reached again", {})
        if not self._yields:
            self.problem = ""
        return was

    def failed(self, name: str, problem: str) -> None:
        """Note that an attempt to change a name got no answer."""
        self._failed += 1
        self._names.add(name)
        if (self._failed >= _IN_A_ROW and len(self._names) >= _NAMES) or self._yields:
            if self._clock() >= self._until:
                logs.event(_log, logging.WARNING, "changes of DNS get nowhere", {"error": problem})
                first, most = _YIELD
                self._until = self._clock() + min(most, first * 2**self._yields)
                self._yields += 1
            self.problem = problem

    def _lapse(self) -> None:
        """Forget what is long past: where there is no work, nothing shows that changes get there again."""
        if self._yields and self._clock() > self._until + _YIELD[1]:
            self.worked()

    def worked(self) -> None:
        """Note that a change got through."""
        self._failed = self._yields = 0
        self._names.clear()
        self._until = 0.0
        if not self._away:
            self.problem = ""
