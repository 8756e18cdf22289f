"""What was collected about a domain by asking servers; nothing is judged here.

`prober` collects, `delegation` and `preflight` judge: both are functions of these values alone, so that a
verdict can be tested, and explained afterwards, without any server.

Host names are lower case without a trailing dot; sets of them are tuples, sorted, without repeats. DS are in
presentation form, "tag algorithm digest-type digest", the digest in lower case.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from pdm_service.findings import Finding
from pdm_service.model.records import RRset

ParentState = Literal[
    "referral",  # not authoritative, with the domain's NS in the authority section
    "answer",  # authoritative for the domain itself: parent and child are on one server
    "nodata",  # the name exists in the parent zone, without a delegation
    "nxdomain",
    "failed",  # REFUSED, SERVFAIL and the like
    "upward",  # a referral to the root or to a zone above the parent: it does not serve the parent zone
    "silent",  # no answer, or none that can be understood, in time
    "unasked",  # not contacted: a private address, a family without a route, or the budget was used up
]

ServerState = Literal[
    "serving",  # authoritative, with the zone's SOA
    "refused",
    "not-serving",  # an answer that is not authoritative, of another zone, or without an SOA (lame)
    "upward",  # a referral upwards instead of an answer (lame)
    "failed",  # SERVFAIL and the like
    "silent",
    "alias",  # the nameserver's name is a CNAME (RFC 2181 section 10.3)
    "unresolved",  # the nameserver's name has no address
    "unasked",
]


class ParentView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one address of one nameserver of the parent zone says of the domain."""

    name: str
    address: str
    state: ParentState
    nameservers: tuple[str, ...] = ()
    """The NS RRset of the delegation; of a co-hosted child it is the child's."""
    ns_ttl: int | None = None
    ds: tuple[str, ...] | None = None
    """None: not found out."""
    ds_ttl: int | None = None
    rtt_ms: int | None = None
    error: str | None = None

    @property
    def usable(self) -> bool:
        """Whether it says how the domain is delegated, or that it is not."""
        return self.state in {"referral", "answer", "nodata", "nxdomain"}


class ServerView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one address of one nameserver says of the zone itself."""

    name: str
    address: str
    """Empty where the name has none."""
    state: ServerState
    serial: int | None = None
    nameservers: tuple[str, ...] = ()
    """The NS RRset at the zone's apex."""
    ns_ttl: int | None = None
    udp: bool | None = None
    edns: bool | None = None
    tcp: bool | None = None
    """Whether it answers so; None: not asked."""
    signing_ds: tuple[str, ...] = ()
    """DS (all digest types) of the keys that validly sign its DNSKEY RRset now."""
    cds: tuple[str, ...] = ()
    """CDS in the form of DS; "0 0 0 00" asks for removal (RFC 8078)."""
    rtt_ms: int | None = None
    error: str | None = None


ChallengeState = Literal[
    "texts",  # TXT records stand there
    "everywhere",  # TXT records that stand at every name, by a wildcard: they prove nothing
    "alias",  # a CNAME, which is not followed
    "nodata",
    "nxdomain",
    "failed",  # an answer that says nothing: a failure, or not authoritative
    "silent",
    "not-serving",  # not asked, since it does not serve the domain
    "unasked",  # a private address, or the budget was used up
]


class ChallengeView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one address of one nameserver has at the name where a challenge has to stand."""

    name: str
    """Of the nameserver."""
    address: str
    state: ChallengeState
    texts: tuple[str, ...] = ()
    """For people to read: cut, and without what cannot be printed."""
    alias: str | None = None
    """The target of a CNAME that stands there."""
    doubled: str | None = None
    """The name with the zone's appended twice, where TXT records stand at that one instead; `texts` are theirs."""
    error: str | None = None


class Looked(Struct, frozen=True, kw_only=True):
    """When a claim's challenge was looked for last, and what was seen."""

    at: datetime
    seen: tuple[ChallengeView, ...]
    """Empty where nobody could be asked."""


class Observation(Struct, frozen=True, kw_only=True):
    """One round of questions about one domain."""

    domain: str
    at: datetime
    parent: str | None
    """The parent zone, "" for the root; None where the walk from the root did not get there."""
    parents: tuple[ParentView, ...]
    servers: tuple[ServerView, ...]
    """The platform's nameservers."""
    others: tuple[ServerView, ...]
    """The other nameservers that the parent names."""
    queries: int
    complete: bool
    """False where the budget of time or queries was used up before all was asked."""
    error: str | None = None
    """Why the parent zone was not found."""


class Unseen(Struct, frozen=True, kw_only=True):
    """A question about a zone that nobody has answered: what stands there is not known."""

    name: str
    """With the trailing dot."""
    type: str
    tries: tuple[str, ...]
    """Which address did not answer, and what it did; nothing: it was not asked yet."""


class OldZone(Struct, frozen=True, kw_only=True):
    """What was found of a zone at its current nameservers by asking for usual names; never all there is."""

    domain: str
    asked: tuple[str, ...]
    """The addresses that answered."""
    rrsets: tuple[RRset, ...]
    wildcard: bool
    """Whether a random name has an answer."""
    unanswered: tuple[Unseen, ...]


def mail_questions(domain: str) -> tuple[tuple[str, str], ...]:
    """Return the questions whose answers a domain's mail hangs on: where it goes, who may send it, what is refused."""
    return (domain, "MX"), (domain, "TXT"), (f"_dmarc.{domain}", "TXT")


class Registry(Struct, frozen=True, kw_only=True):
    """What the registry says of a domain by RDAP (RFC 9083)."""

    statuses: tuple[str, ...] = ()
    """RDAP status values, lower case: "client hold", "server update prohibited", "redemption period"."""
    expires_at: datetime | None = None
    registered_at: datetime | None = None
    """Another moment than before means another registration, and mostly another registrant."""


Phase = Literal[
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
Dnssec = Literal["insecure", "secure", "bogus", "changing", "unknown"]


class Memory(Struct, frozen=True, kw_only=True):
    """What earlier rounds left for the next one."""

    since: datetime
    """When watching began."""
    changed_at: datetime
    """When the phase changed last."""
    phase: Phase = "awaiting-customer"
    old_ttl: int = 0
    """The longest that a cache may keep the former delegation, in seconds."""
    delegated_at: datetime | None = None
    """The first of the rounds since it came here in which all parent servers had the platform's nameservers."""
    converged_by: datetime | None = None
    elsewhere_at: datetime | None = None
    """The last round in which no parent server had any of the platform's."""
    here_at: datetime | None = None
    """The last round in which a parent server had any of the platform's."""
    back_at: datetime | None = None
    """The last round that showed it here again after it had left."""
    left_at: datetime | None = None
    """The first round after that in which none had."""
    drained_by: datetime | None = None
    """When no cache sends anybody to the platform any more."""
    ds_seen_at: datetime | None = None
    """The last round in which a parent server had a DS."""
    ds_ttl: int = 0
    our_ds_at: datetime | None = None
    """The first of the rounds since in which every parent server has had a DS of ours."""
    parent_ttl: int = 0


class Report(Struct, frozen=True, kw_only=True):
    """How far a delegation has come."""

    domain: str
    phase: Phase
    dnssec: Dnssec
    ds: tuple[str, ...]
    """At the parent."""
    parent: str | None
    nameservers: tuple[str, ...]
    """What the delegation must be."""
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    parents_ok: int
    parents_total: int
    servers_ok: int
    servers_total: int
    parents: tuple[ParentView, ...]
    servers: tuple[ServerView, ...]
    others: tuple[ServerView, ...]
    problems: tuple[Finding, ...]
    checked_at: datetime
    converged_by: datetime | None
    complete: bool
    queries: int
    challenge: tuple[ChallengeView, ...] | None = None
    """What stands where claims prove the domain; None: it was not looked for, since nobody claims it."""

    @property
    def points_here(self) -> bool:
        """Whether any server of the parent names any of the platform's nameservers."""
        return any(set(view.nameservers) & set(self.nameservers) for view in self.parents)


class Known(Struct, frozen=True, kw_only=True):
    """What the last observation of a domain found."""

    report: Report
    memory: Memory
    due_at: datetime | None
