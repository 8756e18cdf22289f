"""The lifecycle as data: what may happen to a name, by which word the audit trail has it, and who acts next.

The statements of the store make the transitions; tests hold this table against them, against the schema's CHECKs, and
against docs/api.md, which says what the words mean.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

from pdm_service.model.allocation import State

Next = Literal["caller", "clock", "publisher", "watch", "registrar", "nobody"]
"""Who acts next. A free name has nobody; a reservation that its caller leaves alone is ended by the clock."""


class Action(StrEnum):
    """The words of the audit trail."""

    RESERVED = "reserved"
    RENEWED = "renewed"
    COMMITTED = "committed"
    CHANGED = "changed"
    PROVEN = "proven"
    LAPSED = "lapsed"
    PUBLISHED = "published"
    DRIFTED = "drifted"
    RELEASED = "released"
    REMOVED = "removed"
    EXPIRED = "expired"
    EVICTED = "evicted"
    CONDEMNED = "condemned"
    DISCARDED = "discarded"
    ADOPTED = "adopted"
    DELEGATION = "delegation"
    NAMESERVERS_REQUESTED = "nameservers-requested"
    NAMESERVERS_PENDING = "nameservers-pending"
    NAMESERVERS_DONE = "nameservers-done"
    NAMESERVERS_FAILED = "nameservers-failed"
    ROLLBACK_REQUESTED = "rollback-requested"
    ROLLBACK_PENDING = "rollback-pending"
    ROLLBACK_DONE = "rollback-done"
    ROLLBACK_FAILED = "rollback-failed"
    DS_REQUESTED = "ds-requested"
    DS_PENDING = "ds-pending"
    DS_DONE = "ds-done"
    DS_FAILED = "ds-failed"
    DS_REMOVAL_REQUESTED = "ds-removal-requested"
    DS_REMOVAL_PENDING = "ds-removal-pending"
    DS_REMOVAL_DONE = "ds-removal-done"
    DS_REMOVAL_FAILED = "ds-removal-failed"


class Transition(msgspec.Struct, frozen=True):
    """One thing that may happen to an allocation or a claim."""

    action: Action
    before: State | None
    """None: the name had no row."""
    after: State | None
    """None: it has none any more."""
    next: Next


_FREE = None
_RESERVED, _ACTIVE, _RELEASING = State.RESERVED, State.ACTIVE, State.RELEASING

TRANSITIONS: tuple[Transition, ...] = (
    Transition(Action.RESERVED, _FREE, _RESERVED, "caller"),
    Transition(Action.RENEWED, _RESERVED, _RESERVED, "caller"),
    Transition(Action.COMMITTED, _RESERVED, _ACTIVE, "publisher"),
    Transition(Action.COMMITTED, _RESERVED, _RESERVED, "watch"),  # a claim that is not proven yet
    Transition(Action.CHANGED, _RESERVED, _RESERVED, "caller"),
    Transition(Action.CHANGED, _ACTIVE, _ACTIVE, "publisher"),
    Transition(Action.PROVEN, _RESERVED, _RESERVED, "caller"),
    Transition(Action.LAPSED, _RESERVED, _RESERVED, "caller"),
    Transition(Action.PUBLISHED, _ACTIVE, _ACTIVE, "nobody"),
    Transition(Action.DRIFTED, _ACTIVE, _ACTIVE, "publisher"),
    Transition(Action.RELEASED, _RESERVED, _FREE, "nobody"),
    Transition(Action.RELEASED, _ACTIVE, _RELEASING, "publisher"),
    Transition(Action.REMOVED, _RELEASING, _FREE, "nobody"),
    Transition(Action.EXPIRED, _RESERVED, _FREE, "nobody"),
    Transition(Action.EVICTED, _RESERVED, _FREE, "nobody"),
    Transition(Action.EVICTED, _ACTIVE, _FREE, "nobody"),
    Transition(Action.EVICTED, _ACTIVE, _RELEASING, "publisher"),  # below a domain that somebody else proved
    Transition(Action.CONDEMNED, _FREE, _RELEASING, "publisher"),
    Transition(Action.ADOPTED, _FREE, _ACTIVE, "publisher"),
    Transition(Action.DISCARDED, _FREE, _FREE, "nobody"),
    Transition(Action.DELEGATION, _RESERVED, _RESERVED, "watch"),
    Transition(Action.DELEGATION, _ACTIVE, _ACTIVE, "watch"),
    Transition(Action.DELEGATION, _RELEASING, _RELEASING, "watch"),
    Transition(Action.NAMESERVERS_REQUESTED, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.NAMESERVERS_PENDING, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.NAMESERVERS_DONE, _ACTIVE, _ACTIVE, "watch"),
    Transition(Action.NAMESERVERS_FAILED, _ACTIVE, _ACTIVE, "caller"),
    Transition(Action.ROLLBACK_REQUESTED, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.ROLLBACK_PENDING, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.ROLLBACK_DONE, _ACTIVE, _ACTIVE, "watch"),
    Transition(Action.ROLLBACK_FAILED, _ACTIVE, _ACTIVE, "caller"),
    Transition(Action.DS_REQUESTED, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.DS_PENDING, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.DS_DONE, _ACTIVE, _ACTIVE, "watch"),
    Transition(Action.DS_FAILED, _ACTIVE, _ACTIVE, "caller"),
    Transition(Action.DS_REMOVAL_REQUESTED, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.DS_REMOVAL_PENDING, _ACTIVE, _ACTIVE, "registrar"),
    Transition(Action.DS_REMOVAL_DONE, _ACTIVE, _ACTIVE, "caller"),
    Transition(Action.DS_REMOVAL_FAILED, _ACTIVE, _ACTIVE, "caller"),
)


ENDS = (Action.RELEASED, Action.REMOVED, Action.EXPIRED, Action.EVICTED, Action.DISCARDED)
"""What ends a holding, where it leaves no row: what DNS has of it afterwards is a leftover."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit trail."""

    id: int
    xid: int
    """The transaction that wrote it."""
    at: datetime
    fqdn: str
    allocation_id: UUID
    action: str
    actor: str
    tenant: str | None
    request_id: str | None
    from_state: str | None
    to_state: str | None
    outcome: str | None
