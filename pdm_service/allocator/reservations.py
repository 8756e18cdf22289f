"""What a reservation is in every mode: its token, its time, its repetition, and what its holder may do with it."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from pdm_service.allocator.orders import Release, Terms
from pdm_service.allocator.refusals import no_allocation, refused_hold, several_claims, wrong_token
from pdm_service.callers import Actor
from pdm_service.errors import IdempotencyKeyReused, InvalidTtl, NotFound
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, Claim
from pdm_service.model.tokens import Credentials
from pdm_service.store.holdings import Holdings

_MAX_TTL = timedelta(days=7)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation and its token, which is shown only here."""

    allocation: Allocation
    token: str
    warning: str | None = None

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Held({self.allocation.fqdn})"


def prepared(request: Sequence[object], terms: Terms) -> tuple[str, Credentials]:
    """Return the token of a new reservation, and what is stored of it; `request` is what was asked for."""
    nonce = secrets.token_bytes(16)
    token = tokens.made(nonce, terms.key)
    asked = msgspec.json.encode(
        [*request, terms.created_by, terms.ttl_seconds, *([terms.tenant] if terms.tenant else [])]
    )
    return token, Credentials(
        token_digest=tokens.digest(token),
        token_nonce=nonce if terms.key else None,
        idempotency_digest=tokens.digest(terms.key) if terms.key else None,
        request_digest=hashlib.sha256(asked).digest(),
    )


def repeated(found: Allocation | None, terms: Terms, wanted: Credentials) -> Held | None:
    """Return what a reserve with this Idempotency-Key made before, None if `found` is not that.

    Raises IdempotencyKeyReused where it asked for something else.
    """
    if found is None or terms.key is None:
        return None
    known = found.credentials
    if not known.token_nonce or known.idempotency_digest != wanted.idempotency_digest:
        return None
    if known.request_digest != wanted.request_digest:
        raise IdempotencyKeyReused("this Idempotency-Key belongs to another request; use a new key for each request")
    return Held(allocation=found, token=tokens.made(known.token_nonce, terms.key))


class Reservations:
    """What holders have, by their token or by the name."""

    def __init__(self, holdings: Holdings, hold: timedelta) -> None:
        """`hold` is how long a name is held unless a caller says otherwise."""
        self._holdings = holdings
        self._hold = hold

    def hold_time(self, seconds: int | None) -> timedelta:
        """Return how long to hold a name; raises InvalidTtl."""
        if seconds is None:
            return self._hold
        if not 1 <= seconds <= _MAX_TTL.total_seconds():
            raise InvalidTtl(f"ttlSeconds takes 1 to {int(_MAX_TTL.total_seconds())}")
        return timedelta(seconds=seconds)

    async def of_token(self, fqdn: str, token_digest: bytes, actor: Actor) -> Allocation:
        """Return what a token holds, also when it has expired; raises NotFound, TokenMismatch."""
        if (held := await self._holdings.of_token(fqdn, token_digest, actor.only)) is not None:
            return held
        others = await self._holdings.of_name(fqdn, actor.only)
        raise refused_hold(others[0] if others else None, token_matches=False)

    async def still(self, held: Allocation) -> Allocation | None:
        """Return what the token of a holding has by now, None if nothing: a claim may have become an allocation."""
        return await self._holdings.of_token(held.fqdn, held.credentials.token_digest, None)

    async def of_name(self, fqdn: str, actor: Actor) -> Allocation:
        """Return what a client has of a name: the allocation, else its oldest live claim; raises NotFound."""
        found = await self._holdings.of_name(fqdn, actor.only)
        if not found or (found[0].expired and len(found) == 1):
            raise NotFound("there is no such allocation")
        return found[1] if found[0].expired else found[0]

    async def to_release(self, order: Release, actor: Actor) -> Allocation:
        """Return what a release means; raises NotFound, TokenMismatch, ReservationExpired, Conflict."""
        if order.token is not None:
            return await self._of_token_to_release(order.fqdn, tokens.digest(order.token), actor)
        found = [one for one in await self._holdings.of_name(order.fqdn, actor.only) if not one.expired]
        if order.declared_for is not None:
            found = [one for one in found if one.is_declared_for(order.declared_for)]
        if not found:
            raise no_allocation(order.fqdn)
        if isinstance(found[0], Claim) and len(found) > 1:
            raise several_claims(order.fqdn, len(found))
        return found[0]

    async def _of_token_to_release(self, fqdn: str, token_digest: bytes, actor: Actor) -> Allocation:
        held = await self._holdings.of_token(fqdn, token_digest, actor.only)
        if held is None:
            others = [one for one in await self._holdings.of_name(fqdn, actor.only) if not one.expired]
            # The token of a claim that is gone gives nothing back, whoever else claims the domain.
            raise wrong_token(fqdn) if others and not isinstance(others[0], Claim) else no_allocation(fqdn)
        if held.expired:
            raise refused_hold(held, token_matches=True) if isinstance(held, Claim) else no_allocation(fqdn)
        return held
