"""Whether a DS stands against a change of nameservers. Pure; this is the one place that decides it.

A DS promises that the nameservers sign with a certain key. Others do not have that key: the domain would be bogus for
every validating resolver, as long as the DS is there or in their caches (RFC 6781 section 4.3.5).
"""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from pdm_service.model.observation import Observation


class Against(Struct, frozen=True, kw_only=True):
    """What stands against the change: a DS that is there, one that caches may have, or that it is not known."""

    kind: Literal["there", "remembered", "unknown"]
    seen: str
    remedy: str


def on_record(domain: str, seen: Observation, registered: tuple[str, ...] = ()) -> Against | None:
    """Return what stands against a change by the DS at the parent, and by those that the registrar has on record."""
    answered = [view for view in seen.parents if view.usable]
    at_parent = {one for view in answered for one in view.ds or ()}
    if there := at_parent | set(registered):
        where = "the parent zone" if at_parent else "the registrar"
        tags = ", ".join(one.split()[0] for one in sorted(there))
        ttl = max((view.ds_ttl or 0 for view in answered), default=0)
        remedy = "remove the DS at the registrar" + (f" and wait {ttl} s" if at_parent else "")
        return Against(kind="there", seen=f"{where} has a DS of {domain} ({tags})", remedy=remedy)
    if not answered or any(view.ds is None for view in answered):
        seen_not = "the service could not find out whether the parent zone has a DS"
        return Against(kind="unknown", seen=seen_not, remedy="try again shortly")
    return None


def in_caches(gone_at: datetime | None, ttl: int | None, now: datetime) -> Against | None:
    """Return what stands against a change by a DS that was last seen at `gone_at`, with that TTL, and is gone."""
    if gone_at is None or ttl is None or (until := gone_at + timedelta(seconds=ttl)) <= now:
        return None
    return Against(
        kind="remembered",
        seen=f"the DS was there until recently; resolvers may have it until {until:%Y-%m-%d %H:%M:%S} UTC",
        remedy=f"wait until {until:%H:%M:%S} UTC",
    )
