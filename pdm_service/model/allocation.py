"""What an allocation is: its states, and who acts next."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from pdm_service.model.observation import Looked
from pdm_service.model.records import RRset
from pdm_service.model.tokens import Credentials

CHALLENGE_LABEL = "_openova-challenge"
"""Where the TXT record stands that proves a claim."""


class Mode(StrEnum):
    """How a name came to us."""

    POOL = "pool"
    """A label directly under a pool domain."""
    BYO_MANUAL = "byo-manual"
    """The customer's own domain; they change its nameservers themselves."""
    BYO_API = "byo-api"
    """The customer's own domain; the service changes its nameservers with a token of their registrar."""


class Proof(StrEnum):
    """What showed that a customer's domain is its holder's, the weakest first."""

    TRANSITION = "transition"
    """The delegation came to the platform after the claim was opened, and nobody else had claimed it."""
    TXT = "txt"
    """The zone's nameservers of the time answered with the claim's challenge."""
    REGISTRAR = "registrar"
    """A token of the registrar showed the domain in the account, with the nameservers that the parent zone has."""

    @property
    def strong(self) -> bool:
        """Whether nobody else can bring it about by waiting."""
        return self is not Proof.TRANSITION


class Needs(StrEnum):
    """What the next step wants of the caller."""

    PROOF = "proof"
    REGISTRAR_TOKEN = "registrar-token"  # noqa: S105 - a word of the contract


class State(StrEnum):
    """Where an allocation is in its life; a free name has no row."""

    RESERVED = "reserved"
    """Held for one caller until it expires: the caller acts next, or the clock. Not in DNS."""
    ACTIVE = "active"
    """The caller's for good: the publisher acts until DNS is published, then nobody."""
    RELEASING = "releasing"
    """On its way out of DNS: the publisher acts next."""


class DnsState(StrEnum):
    """What DNS has of an allocation."""

    NONE = "none"
    PENDING = "pending"
    PUBLISHED = "published"
    REMOVING = "removing"


class Dns(msgspec.Struct, frozen=True, kw_only=True):
    """What DNS has of an allocation, as the publisher recorded it last."""

    state: DnsState = DnsState.NONE
    error: str | None = None
    """Why the last attempt failed, in words for the caller."""
    updated_at: datetime | None = None
    ds: tuple[str, ...] = ()
    """DS of the child zone as last published, in presentation form: "tag algorithm digest-type digest"."""
    attempts: int = 0
    """Failed attempts to make DNS equal to the present generation."""


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """One DNS name handed out, as the store has it."""

    id: UUID
    """This holding of the name; another holder, or the same one later, has another id."""
    fqdn: str
    """Lower case, no trailing dot."""
    mode: Mode
    pool_domain: str | None = None
    """Only in pool mode, as the label."""
    subdomain: str | None = None
    state: State
    expired: bool = False
    """A reservation that had expired when the row was read, by the database's clock."""
    created_by: str | None = None
    reserved_at: datetime
    expires_at: datetime | None = None
    committed_at: datetime | None = None
    credentials: Credentials
    sovereign_fqdn: str | None = None
    load_balancer_ips: tuple[str, ...] = ()
    dns: Dns = Dns()
    generation: int = 0
    """Grows with every change of the wanted state, and is never used twice for a name."""
    owner: str = "local"
    """The client that made it."""
    tenant: str | None = None
    """For whom, in that client's words; of a declared one the `owner` of its resource."""
    declared: bool = False
    """Held by PUT: it has no token and does not expire."""
    proof: Proof | None = None
    """Only of a customer's domain."""
    imports: tuple[RRset, ...] = ()
    """RRsets copied from the zone before, to be served beside the canonical ones."""
    acknowledged: tuple[str, ...] | None = None
    """The findings that its commit acknowledged; None: not known, or no customer's domain."""
    announce_ds: bool = False
    """Whether the zone says with CDS and CDNSKEY which DS its parent should have (RFC 7344)."""
    needs: Needs | None = None
    not_before: datetime | None = None
    """While it is released: when the caches have forgotten it, and its zone may go."""

    def is_declared_for(self, tenant: str) -> bool:
        """Whether it is held by PUT, for this owner of a resource."""
        return self.declared and self.tenant == tenant

    @property
    def reached(self) -> bool:
        """Whether DNS has what the holder wants, and the way to it needs nothing more of them."""
        return self.dns.state is DnsState.PUBLISHED and (self.needs is None or self.announce_ds)

    @property
    def settled(self) -> bool:
        """DNS has what the state wants."""
        return self.dns.state in {DnsState.NONE, DnsState.PUBLISHED}

    @property
    def place(self) -> str:
        """The place behind it in the list of all holdings, which is ordered by name and id."""
        return f"{self.fqdn} {self.id}"


class Claim(Allocation, frozen=True, kw_only=True):
    """Somebody's word that a domain is theirs: nothing is served for it, and others may say the same."""

    challenge: str
    """What the TXT record has to say that proves it."""
    registered_at: datetime | None = None
    """When the domain was registered, as its registry says; asked only where somebody held it already."""
    looked: Looked | None = None
    """The last look for the challenge since the claim was opened."""


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """How old things may become."""

    proof: timedelta = timedelta(hours=24)
    """A claim's proof that was not seen for this long is none."""
    reservation: timedelta = timedelta(days=30)
    """Nothing renews a reservation or a claim beyond this age."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which allocations and claims to list; None admits all."""

    pool_domain: str | None = None
    mode: str | None = None
    state: str | None = None
    created_by: str | None = None
    owner: str | None = None
    tenant: str | None = None
