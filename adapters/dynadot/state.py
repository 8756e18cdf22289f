"""What either of Dynadot's APIs tells of a domain."""

from dataclasses import dataclass

from adapters.base import Locked


@dataclass(frozen=True)
class State:
    """A domain of the account."""

    nameservers: tuple[str, ...]
    obstacle: Locked | None = None
    warnings: tuple[str, ...] = ()
