"""How the adapter of a registrar is made: what `adapters.all` lists, and what another package's entry point names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from adapters.base import Registrar
from adapters.http import Http

Options = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Option:
    """A setting that only this registrar has."""

    default: str
    parse: Callable[[str], str | None]
    """Returns the value; raises ValueError with what it takes."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How the adapter of one registrar is made."""

    make: Callable[[Http, str | None, Options], Registrar]
    """Of the way out, the address if it is not asked at its own, and the values of its options."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """By the end of the setting's name: `CLIENT_IP` for PDM_REGISTRAR_<NAME>_CLIENT_IP."""
    ipv4_only: bool = False
    """Whether it knows its callers by a list of IPv4 addresses."""


def defaults(entry: Entry) -> Options:
    """Return the values of an entry's options, unless somebody sets them."""
    return {name: option.parse(option.default) for name, option in entry.options.items()}
