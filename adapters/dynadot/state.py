"""What either of Dynadot's APIs says of a domain; they spell the same fields in two ways."""

import re
import time
from dataclasses import dataclass

from adapters.base import Locked, known
from adapters.dynadot.words import misunderstood, plain

_OBSTACLES = (
    ("udrplocked", "the domain is locked by a dispute; Dynadot lifts the lock when that has ended"),
    ("hold", "the domain is on hold at Dynadot; its page there says why"),
    ("disabled", "the domain is disabled at Dynadot; ask their support"),
)
_EXPIRED = "the domain has expired; renew it at Dynadot first"
_UNVERIFIED = "the registrant's address is not verified; verify it at Dynadot, or the registry may suspend the domain"


@dataclass(frozen=True)
class State:
    """A domain of the account."""

    nameservers: tuple[str, ...]
    obstacle: Locked | None
    warnings: tuple[str, ...]


def state_of(info: object, settings: object) -> State:
    """Return the state that the fields of a domain and of its nameservers give; raises Unavailable."""
    fields = plain(info)
    return State(hosts_of(settings), _obstacle(fields), (_UNVERIFIED,) if _yes(fields, "registrantunverified") else ())


def hosts_of(settings: object) -> tuple[str, ...]:
    """Return the nameservers in their settings; raises Unavailable.

    None where Dynadot's own DNS, parking or forwarding is set: no list comes with those.
    """
    fields = plain(settings)
    kind = fields.get("type", fields.get("gluetype"))
    listed = fields.get("nameservers", fields.get("nameserverlist"))
    if listed is None and isinstance(kind, str) and kind and re.sub("[^a-z]", "", kind.lower()) != "nameservers":
        return ()
    if not isinstance(listed, list):
        raise misunderstood()
    return known(_host(one) for one in listed)


def _host(one: object) -> str:
    name = one if isinstance(one, str) else plain(one).get("servername")
    if not isinstance(name, str):
        raise misunderstood()
    return name


def _obstacle(fields: dict[str, object]) -> Locked | None:
    for name, detail in _OBSTACLES:
        if _yes(fields, name):
            return Locked(detail)
    milliseconds = str(fields.get("expiration", fields.get("expirationdate", "")))
    if milliseconds.isascii() and milliseconds.isdecimal() and int(milliseconds[:18]) < time.time() * 1000:
        return Locked(_EXPIRED)
    return None


def _yes(fields: dict[str, object], name: str) -> bool:
    return str(fields.get(name)).lower() in {"yes", "true"}
