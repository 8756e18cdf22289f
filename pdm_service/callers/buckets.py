"""Token buckets: how often something may be done, by whom."""

from collections import OrderedDict
from time import monotonic

_REMEMBERED = 10_000


class Buckets:
    """Token buckets, one for each key: `size` at once, `per_minute` after that. In this process alone."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, key: str, size: int, per_minute: int) -> int:
        """Return how many are left."""
        return int(self._now(key, size, per_minute)[0])

    def take(self, key: str, size: int, per_minute: int) -> bool:
        """Take one; return whether there was one."""
        left, now = self._now(key, size, per_minute)
        self._left[key] = (left - 1 if left >= 1 else left), now
        self._left.move_to_end(key)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return left >= 1

    def _now(self, key: str, size: int, per_minute: int) -> tuple[float, float]:
        now = monotonic()
        left, at = self._left.get(key, (float(size), now))
        return min(size, left + (now - at) * per_minute / 60), now
