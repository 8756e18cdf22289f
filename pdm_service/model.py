"""What an allocation is: its states, who acts next, and why a verb may be refused."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from pdm_service.errors import (
    AlreadyActive,
    Conflict,
    NotFound,
    PdmError,
    ReservationExpired,
    TokenMismatch,
)


class Mode(StrEnum):
    """How a name came to us."""

    POOL = "pool"
    """A label directly under a pool domain."""


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


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """One DNS name handed out, as the store has it."""

    id: UUID
    """This holding of the name; another holder, or the same one later, has another id."""
    fqdn: str
    """Lower case, no trailing dot."""
    mode: Mode
    pool_domain: str
    subdomain: str
    state: State
    expired: bool
    """A reservation whose time was over when the row was read, by the database's clock."""
    created_by: str | None
    reserved_at: datetime
    expires_at: datetime | None
    committed_at: datetime | None
    token_digest: bytes
    """SHA-256 of the reservation token."""
    token_nonce: bytes | None
    """What the token is derived from, together with the caller's Idempotency-Key."""
    idempotency_digest: bytes | None
    """SHA-256 of the Idempotency-Key of the reserve."""
    request_digest: bytes | None
    """SHA-256 of what that reserve asked for."""
    sovereign_fqdn: str | None
    load_balancer_ips: tuple[str, ...]
    ds: tuple[str, ...]
    """DS of the child zone as last published, in presentation form: "tag algorithm digest-type digest"."""
    dns_state: DnsState
    dns_error: str | None
    dns_updated_at: datetime | None
    generation: int
    """Grows with every change of the wanted state, and is never used twice for a name."""
    attempts: int
    """Failed attempts to make DNS equal to the present generation."""

    @property
    def settled(self) -> bool:
        """DNS has what the state wants."""
        return self.dns_state in {DnsState.NONE, DnsState.PUBLISHED}


def refused_commit(
    found: Allocation | None, *, token_matches: bool, addresses: tuple[str, ...], sovereign_fqdn: str | None
) -> PdmError | None:
    """Return why a commit changed nothing, or None if `found` is what the same commit made before."""
    if found is None or not token_matches or found.state is not State.ACTIVE:
        return refused_hold(found, token_matches=token_matches)
    if set(found.load_balancer_ips) != set(addresses) or found.sovereign_fqdn != sovereign_fqdn:
        return AlreadyActive(f"{found.fqdn} is active with other values; release it first to change them")
    return None


def refused_hold(found: Allocation | None, *, token_matches: bool) -> PdmError:
    """Return why the holder of a reservation token could not act on its reservation."""
    if found is None:
        return NotFound("there is no such reservation; reserve the name first")
    if not token_matches:
        return TokenMismatch(f"the reservation token is not that of the present holder of {found.fqdn}")
    if found.state is State.RESERVED:
        return ReservationExpired(f"the reservation of {found.fqdn} is over; reserve it again")
    if found.state is State.ACTIVE:
        return AlreadyActive(f"{found.fqdn} is active already")
    return Conflict(f"{found.fqdn} is being released")
