"""What replies show of customers' domains: token tests, pre-flight, delegations, undo sheets."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from pdm_service.findings import Finding
from pdm_service.wire.base import Reply


class ZoneRRset(Struct, frozen=True, kw_only=True):
    """One RRset of the zone as its current nameservers serve it."""

    name: str
    type: str
    ttl: int
    contents: list[str]


class ValidateReply(Reply, kw_only=True):
    """A token that works; null says that there is no way to find out but to try."""

    valid: Literal[True]
    registrar: str
    domain: str
    unicode: str | None = None
    """As people read it, where it has A-labels."""
    nameservers: list[str]
    can_set_nameservers: bool | None
    warnings: list[str]
    problems: list[Finding] | None = None
    """What the pre-flight found."""
    records: list[ZoneRRset] | None = None
    """What was found of the zone, for `import`."""
    zonefile: str | None = None
    """The same as a zone file, for `importZonefile`."""


class PreflightReply(Reply, kw_only=True):
    """What was found of a domain."""

    domain: str
    unicode: str | None = None
    problems: list[Finding]
    records: list[ZoneRRset]
    """What its current nameservers have, for `import`."""
    zonefile: str | None = None
    """The same as a zone file, for `importZonefile`."""


class DelegationServer(Reply, kw_only=True):
    """What one address of one nameserver says."""

    role: Literal["parent", "ns", "other"]
    """One of the parent zone, of the platform, or another that the parent names."""
    name: str
    address: str | None = None
    state: str
    nameservers: list[str] | None = None
    missing: list[str] | None = None
    extra: list[str] | None = None
    ds: list[str] | None = None
    soa_serial: int | None = None
    udp: bool | None = None
    edns: bool | None = None
    tcp: bool | None = None
    rtt_ms: int | None = None
    error: str | None = None


class Progress(Reply, kw_only=True):
    """How many are as they should be."""

    parents_ok: int
    parents_total: int
    ns_ok: int
    ns_total: int


class DelegationReply(Reply, kw_only=True):
    """How far a delegation to the platform has come."""

    domain: str
    unicode: str | None = None
    phase: Literal[
        "awaiting-proof",
        "awaiting-customer",
        "partial",
        "delegated",
        "converging",
        "live",
        "blocked",
        "moved",
        "left",
        "stalled",
    ]
    dnssec: Literal["insecure", "secure", "bogus", "changing", "unknown"]
    ds: list[str] | None = None
    """At the parent."""
    parent: str | None = None
    nameservers: list[str]
    """What the delegation must be."""
    missing: list[str] | None = None
    extra: list[str] | None = None
    progress: Progress
    servers: list[DelegationServer]
    problems: list[Finding]
    checked_at: datetime
    next_check_at: datetime | None = None
    """Absent where nobody has the domain: it is observed when somebody asks."""
    converged_by: datetime | None = None
    """When no cache sends anybody to the former nameservers any more."""


class RegistrarChange(Reply, kw_only=True):
    """The last change that was sent to the registrar."""

    kind: Literal["nameservers", "rollback", "ds", "ds-removal"]
    outcome: Literal["requested", "pending", "done", "failed"]
    wanted: list[str]
    problem: str | None = None


class UndoReply(Reply, kw_only=True):
    """How a domain was before its nameservers were changed, and what was changed last."""

    fqdn: str
    unicode: str | None = None
    registrar: str
    nameservers: list[str]
    ds: list[str]
    acknowledged: list[str]
    records: list[ZoneRRset]
    made_at: datetime
    last_change: RegistrarChange | None = None
