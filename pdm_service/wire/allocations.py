"""What replies show of allocations: one, a page of them, their audit trail, and whether a name is free."""

from datetime import datetime
from typing import Literal

from msgspec import field

from pdm_service.findings import Finding
from pdm_service.wire.base import Mode, Reply


class Dnssec(Reply, kw_only=True):
    """The DS RRset of the child zone, in presentation form."""

    ds: list[str]
    publish: bool | None = None
    """Of a customer's own domain: whether it is time to have the DS in the parent zone."""


class DnsStatus(Reply, kw_only=True):
    """What DNS has of an allocation."""

    state: Literal["none", "pending", "published", "removing"]
    needs: Literal["proof", "registrar-token"] | None = None
    """What the next step wants of the caller: the TXT record, or the same commit with the registrar's token."""
    last_error: str | None = None
    updated_at: datetime | None = None


class ChallengeSeen(Reply, kw_only=True):
    """What one address of one of the domain's present nameservers has where the record has to stand."""

    name: str
    """Of the nameserver."""
    address: str | None = None
    state: Literal[
        "texts", "everywhere", "alias", "nodata", "nxdomain", "failed", "silent", "not-serving", "unasked"
    ]  # fmt: skip
    texts: list[str] | None = None
    """TXT values, cut."""
    alias: str | None = None
    """The target of a CNAME, which is not followed."""
    doubled: str | None = None
    """The name with the zone's appended twice, where `texts` stand at that one."""
    error: str | None = None


class Challenge(Reply, kw_only=True):
    """The record that proves a claim, at the domain's present nameservers."""

    name: str
    type: Literal["TXT"]
    value: str
    looked_at: datetime | None = None
    """When it was looked for last; absent until then."""
    seen: list[ChallengeSeen] | None = None
    """What was there, server by server; empty where there was nobody to ask."""


class AllocationReply(Reply, kw_only=True):
    """One allocation."""

    fqdn: str
    unicode: str | None = None
    """As people read it, where it has A-labels (IDNA 2008) and reading it cannot mislead."""
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
    """What showed that a customer's own domain is its holder's."""
    challenge: Challenge | None = None
    keep_until: datetime | None = None
    """While it is released: until when its zone is kept for caches that still send queries here."""
    reservation_token: str | None = None
    tenant: str | None = None
    warning: str | None = None
    """Only in the reply to the reserve: the name is easily mistaken for another one."""
    problems: list[Finding] | None = None
    """Only in the reply to a commit of a customer's domain: what its zone has now, and would not have."""


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
    unicode: str | None = None
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
    unicode: str | None = None
    suggestion: str | None = None
    """Of what is no name: the one that was probably meant."""
    warning: str | None = None
    """Of a free name that is easily mistaken for another one."""
