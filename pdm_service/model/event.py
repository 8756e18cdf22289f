"""The audit trail: what happened to a name."""

from datetime import datetime
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

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
