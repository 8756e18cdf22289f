"""What goes over the wire: the requests and replies of the HTTP API, shared with its clients.

Replies leave out what does not apply, so no reply ever holds a null.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field


class V1Request(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the bodies on /v1, where an unknown field is a mistake worth telling."""


class CompatRequest(Struct, kw_only=True, rename="camel"):
    """Base of the bodies on the compatibility routes, where unknown fields are ignored."""


class Reply(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all replies."""


Mode = Literal["pool", "byo-manual", "byo-api"]


class ReserveRequest(V1Request, kw_only=True):
    """Hold a name for a time: a label below a pool domain, or a domain of one's own."""

    mode: Mode = "pool"
    pool_domain: str | None = None
    subdomain: str | None = None
    domain: str | None = None
    created_by: str | None = None
    ttl_seconds: int | None = None
    tenant: str | None = None
    """For whom, in the client's own words: who gets the name back while it is kept, and whose quota counts."""


class NameRequest(V1Request, kw_only=True):
    """Name an allocation: by its fqdn, or by pool domain and subdomain."""

    fqdn: str | None = None
    pool_domain: str | None = None
    subdomain: str | None = None


class RenewRequest(NameRequest, kw_only=True):
    """Extend a reservation."""

    reservation_token: str
    ttl_seconds: int | None = None


class ImportedRRset(V1Request, kw_only=True):
    """An RRset to copy from the zone as its present nameservers serve it."""

    name: str
    type: str


class CommitRequest(NameRequest, kw_only=True):
    """Publish a reserved name at one or more addresses; the last four are for domains of one's own."""

    reservation_token: str
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)
    load_balancer_ips: list[str] | None = field(name="loadBalancerIPs", default=None)
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    registrar: str | None = None
    registrar_token: str | None = None
    acknowledge: list[str] = []
    imports: list[ImportedRRset] = field(name="import", default=[])


class ReleaseRequest(NameRequest, kw_only=True):
    """Give a name back; with the token, only if its holder is still the same."""

    reservation_token: str | None = None
    force: bool = False
    """Also while a domain of one's own still points here."""
    registrar: str | None = None
    registrar_token: str | None = None


class RollbackRequest(V1Request, kw_only=True):
    """Give a domain the nameservers back that it had before."""

    fqdn: str
    reservation_token: str | None = None
    registrar: str | None = None
    registrar_token: str | None = None


class DeclareRequest(V1Request, kw_only=True):
    """What a name should be; without an address it is reserved. Nothing of it is normalised."""

    pool_domain: str
    subdomain: str
    created_by: str | None = None
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)
    load_balancer_ips: list[str] | None = field(name="loadBalancerIPs", default=None)


class CompatReserveRequest(CompatRequest, kw_only=True):
    """Hold a name, as the existing provisioner asks for it."""

    subdomain: str
    created_by: str | None = None


class CompatCommitRequest(CompatRequest, kw_only=True):
    """Publish a name, as the existing provisioner asks for it."""

    subdomain: str
    reservation_token: str
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)


class CompatReleaseRequest(CompatRequest, kw_only=True):
    """Give a name back, as the existing provisioner asks for it."""

    subdomain: str | None = None


class ValidateRequest(V1Request, kw_only=True):
    """Test a registrar token; it lives no longer than the request."""

    registrar: str | None = None
    domain: str | None = None
    token: str | None = None
    zone_transfer: bool = False
    """Consent to a transfer of the zone being tried (AXFR)."""


class PreflightRequest(V1Request, kw_only=True):
    """Look at a domain before its customer changes the nameservers."""

    domain: str
    zone_transfer: bool = False
    """Consent to a transfer of the zone being tried (AXFR)."""


class CompatValidateRequest(CompatRequest, kw_only=True):
    """Test a registrar token, as the existing provisioner asks for it."""

    domain: str | None = None
    token: str | None = None


class CompatSetNsRequest(CompatRequest, kw_only=True):
    """Change a domain's nameservers, as the existing provisioner asks for it."""

    domain: str | None = None
    token: str | None = None
    nameservers: list[str] | None = None


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was found about a domain, and what to do about it."""

    code: str
    """Stable: `BYO-…` of the pre-flight, kebab-case of a delegation."""
    severity: Literal["block", "acknowledge", "warn", "info"]
    seen: str
    remedy: str


class ZoneRRset(Struct, frozen=True, kw_only=True):
    """One RRset of the zone as its present nameservers serve it."""

    name: str
    type: str
    ttl: int
    contents: list[str]


class Dnssec(Reply, kw_only=True):
    """The DS RRset of the child zone, in presentation form."""

    ds: list[str]
    publish: bool | None = None
    """Of a domain of one's own: whether it is time to have the DS in the parent zone."""


class DnsStatus(Reply, kw_only=True):
    """What DNS has of an allocation."""

    state: Literal["none", "pending", "published", "removing"]
    needs: Literal["proof", "registrar-token"] | None = None
    """What the next step wants of the caller: the TXT record, or the same commit with the registrar's token."""
    last_error: str | None = None
    updated_at: datetime | None = None


class Challenge(Reply, kw_only=True):
    """The record that proves a claim, at the domain's present nameservers."""

    name: str
    type: Literal["TXT"]
    value: str


class AllocationReply(Reply, kw_only=True):
    """One allocation."""

    fqdn: str
    mode: Mode
    pool_domain: str | None = None
    subdomain: str | None = None
    state: Literal["reserved", "active", "releasing"]
    created_by: str | None = None
    reserved_at: datetime
    expires_at: datetime | None = None
    committed_at: datetime | None = None
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    load_balancer_ips: list[str] | None = field(name="loadBalancerIPs", default=None)
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)
    nameservers: list[str]
    dnssec: Dnssec | None = None
    dns: DnsStatus
    proof: Literal["txt", "registrar", "transition"] | None = None
    """What showed that a domain of one's own is its holder's."""
    challenge: Challenge | None = None
    keep_until: datetime | None = None
    """While it is released: until when its zone is kept for caches that still send queries here."""
    reservation_token: str | None = None
    tenant: str | None = None
    warning: str | None = None
    """Only in the reply to the reserve: the name is easily taken for another one."""


class AllocationPage(Reply, kw_only=True):
    """One page of allocations; the cursor is absent on the last."""

    allocations: list[AllocationReply]
    next_cursor: str | None = None


class EventReply(Reply, kw_only=True):
    """One transition of an allocation."""

    at: datetime
    action: str
    actor: str
    """The client, or the part of the service that acted."""
    tenant: str | None = None
    request_id: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    outcome: str | None = None


class EventPage(Reply, kw_only=True):
    """The audit trail of a name, oldest first; the cursor is absent on the last page."""

    fqdn: str
    events: list[EventReply]
    next_cursor: str | None = None


class ExportedEvent(EventReply, kw_only=True):
    """One line of the export."""

    cursor: str
    """The place behind it, to go on from."""
    fqdn: str
    allocation_id: str


class CheckReply(Reply, kw_only=True):
    """Is a name free, and if not, why."""

    available: bool
    reason: str | None = None
    detail: str | None = None
    fqdn: str | None = None
    warning: str | None = None
    """Of a free name that is easily taken for another one."""


class PoolRegistration(Reply, kw_only=True):
    """What a pool domain's registrar has on record, and whether that is as it should be."""

    registrar: str
    state: Literal["unknown", "in-order", "changing", "failed"]
    nameservers: list[str] | None = None
    ds: list[str] | None = None
    """Absent where the registrar does not tell."""
    problem: str | None = None
    checked_at: datetime | None = None
    repaired_at: datetime | None = None


class PoolReply(Reply, kw_only=True):
    """A pool domain and the condition of its zone."""

    pool_domain: str
    state: Literal["ready", "pending"]
    nameservers: list[str]
    dnssec: Dnssec | None = None
    problems: list[str] | None = None
    last_error: str | None = None
    checked_at: datetime | None = None
    registration: PoolRegistration | None = None
    """Only with a pool registrar."""


class PoolsReply(Reply, kw_only=True):
    """All pool domains, sorted."""

    pools: list[PoolReply]


class NameserversReply(Reply, kw_only=True):
    """The platform's nameservers, to delegate to."""

    nameservers: list[str]


class ReservedReply(Reply, kw_only=True):
    """The reserved labels, sorted, and by reason; `word*` and `word#` are patterns."""

    reserved: list[str]
    by_reason: dict[str, list[str]]


class CompatReservedReply(Reply, kw_only=True):
    """The reserved labels, sorted."""

    reserved: list[str]


class CompatReservation(Reply, kw_only=True):
    """A fresh reservation, as the existing provisioner reads it."""

    pool_domain: str
    subdomain: str
    state: Literal["reserved", "active"]
    reserved_at: datetime
    expires_at: datetime | None = None
    reservation_token: str
    created_by: str


class CompatFreed(Reply, kw_only=True):
    """A released allocation; the warning says that DNS is still being removed."""

    freed: AllocationReply
    warning: str | None = None


class CompatList(Reply, kw_only=True):
    """All allocations of a pool domain."""

    pool_domain: str
    allocations: list[AllocationReply]


class ValidateReply(Reply, kw_only=True):
    """A token that works; null says that there is no way to find out but to try."""

    valid: Literal[True]
    registrar: str
    domain: str
    nameservers: list[str]
    can_set_nameservers: bool | None
    warnings: list[str]
    problems: list[Finding] | None = None
    """What the pre-flight found."""
    records: list[ZoneRRset] | None = None
    """What was found of the zone, for `import`."""


class PreflightReply(Reply, kw_only=True):
    """What was found of a domain."""

    domain: str
    problems: list[Finding]
    records: list[ZoneRRset]
    """What its present nameservers have, for `import`."""


class SetNsReply(Reply, kw_only=True):
    """Nameservers that are on record, or a change that the registrar has taken and carries out by itself."""

    success: Literal[True]
    registrar: str
    domain: str
    nameservers: list[str]
    """As the registrar told them last; while `pending`, still the old ones."""
    propagation: str
    pending: bool


class Abilities(Reply, kw_only=True):
    """What can be done with a domain at a registrar."""

    set_nameservers: bool
    tells_permission: bool
    read_ds: bool
    set_ds: bool
    asynchronous: bool


class RegistrarReply(Reply, kw_only=True):
    """A registrar, for those who choose one."""

    name: str
    title: str
    token_form: str
    token_url: str
    abilities: Abilities
    propagation: str
    notes: list[str]


class RegistrarsReply(Reply, kw_only=True):
    """All registrars with an adapter, by name."""

    registrars: list[RegistrarReply]


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
    phase: Literal["awaiting-customer", "partial", "delegated", "converging", "live", "blocked", "moved", "stalled"]
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
    """Absent where nobody has the domain: it is looked at when somebody asks."""
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
    registrar: str
    nameservers: list[str]
    ds: list[str]
    acknowledged: list[str]
    records: list[ZoneRRset]
    made_at: datetime
    last_change: RegistrarChange | None = None


class Health(Reply, kw_only=True):
    """Is the service able to work, in the words that the existing provisioner reads."""

    status: Literal["ok", "unhealthy"]
    managed_domains: list[str]
    registrars: list[str]


class Readiness(Reply, kw_only=True):
    """What the service depends on, and how that is."""

    ready: bool
    database: Literal["ok", "unreachable"]
    powerdns: Literal["ok", "unreachable"]


class Problem(Reply, kw_only=True):
    """An error, as RFC 9457 has it, with this API's stable code in `error`."""

    error: str
    detail: str
    type: str
    title: str
    status: int
    supported: list[str] | None = None
    """The registrars that there are, where another one was asked for."""
    problems: list[Finding] | None = None
    """What stands in the way, where the pre-flight found something."""
