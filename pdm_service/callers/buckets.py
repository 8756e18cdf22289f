"""Token buckets: how often something may be done, by whom."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic

_REMEMBERED = 10_000


def sender(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or the /64 of IPv6 that its holder may choose from."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network(f"{found}/64", strict=False))
    return str(found)


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
