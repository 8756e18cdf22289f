"""The verbs: check, reserve, renew, commit, release. Decides; stores what is wanted; writes no DNS."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta
from time import monotonic

import msgspec

from pdm_service import names, reserved, tokens
from pdm_service.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidFormat,
    InvalidTtl,
    NotFound,
    OverlapsAllocation,
    PdmError,
    ReservedName,
    StoreUnavailable,
    TokenMismatch,
    UnsupportedPool,
)
from pdm_service.model import (
    Allocation,
    DnsState,
    Mode,
    State,
    refused_commit,
    refused_hold,
)
from pdm_service.signals import Signals, until
from pdm_service.store import Actor, Event, Filter, Reservation, Store

OUTCOME_SECONDS = 8.0
"""How long a commit or release waits for DNS before it answers 202."""
_LOOK_AGAIN_SECONDS = 1.0
_MAX_TTL = timedelta(days=7)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Is a name free, and if not, why (a word of the contract) and in a sentence."""

    fqdn: str | None = None
    reason: str | None = None
    detail: str | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation and its token, which is told only here."""

    allocation: Allocation
    token: str


class Allocator:
    """What callers may do with names."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        pool_domains: tuple[str, ...],
        hold: timedelta,
        on_commit: Callable[[str], None] | None = None,
    ) -> None:
        """`on_commit` is told the pool domain of each commit."""
        self._on_commit = on_commit
        self._store = store
        self._signals = signals
        self._pools = frozenset(pool_domains)
        self._hold = hold

    # --- names -----------------------------------------------------------------------------------

    def pool_name(self, pool_domain: str, subdomain: str) -> tuple[str, str, str]:
        """Return (fqdn, pool domain, label), normalised; raises InvalidFormat or UnsupportedPool."""
        pool = self.pool(pool_domain)
        label = names.label(subdomain)
        return f"{label}.{pool}", pool, label

    def pool(self, pool_domain: str) -> str:
        """Return a pool domain, normalised; raises UnsupportedPool."""
        if pool_domain in self._pools:
            return pool_domain
        try:
            pool = names.domain(pool_domain)
        except InvalidFormat:
            pool = ""
        if pool not in self._pools:
            msg = f"that is not a pool domain; the pool domains are {', '.join(sorted(self._pools))}"
            raise UnsupportedPool(msg)
        return pool

    def fqdn(self, fqdn: str | None, pool_domain: str | None, subdomain: str | None) -> str:
        """Return the name that a request means by its fqdn, or by pool domain and subdomain."""
        if fqdn is not None and pool_domain is None and subdomain is None:
            return names.domain(fqdn)
        if fqdn is None and pool_domain is not None and subdomain is not None:
            return self.pool_name(pool_domain, subdomain)[0]
        msg = "name the allocation either by fqdn, or by poolDomain and subdomain"
        raise InvalidFormat(msg)

    def _refuse_reserved(self, label: str, fqdn: str) -> None:
        if reason := reserved.why(label):
            msg = f"{label!r} is a reserved name ({reason}); choose another"
            raise ReservedName(msg)
        # A pool domain below another one's: its zone is not ours to hand out.
        if any(names.covers(fqdn, pool) for pool in self._pools):
            msg = f"{fqdn} is a pool domain itself, or lies above one"
            raise OverlapsAllocation(msg)

    # --- verbs -----------------------------------------------------------------------------------

    async def check(self, pool_domain: str, subdomain: str) -> Verdict:
        """Tell whether a name is free; raises only StoreUnavailable."""
        try:
            fqdn, _, label = self.pool_name(pool_domain, subdomain)
            self._refuse_reserved(label, fqdn)
        except PdmError as error:
            reason = "reserved" if isinstance(error, ReservedName) else error.code
            return Verdict(reason=reason, detail=error.detail)
        state = await self._store.standing(fqdn)
        if state is None:
            return Verdict(fqdn=fqdn)
        reason = "reserved-state" if state is State.RESERVED else "active-state"
        return Verdict(fqdn=fqdn, reason=reason, detail=_taken(fqdn, state))

    async def reserve(
        self,
        pool_domain: str,
        subdomain: str,
        *,
        created_by: str | None,
        ttl_seconds: int | None,
        key: str | None,
        actor: Actor,
    ) -> Held:
        """Hold a name for a time; the same `key` (Idempotency-Key) and request get the same reservation again.

        Raises Conflict and what makes a name unusable.
        """
        fqdn, pool, label = self.pool_name(pool_domain, subdomain)
        self._refuse_reserved(label, fqdn)
        if created_by is not None:
            names.text("createdBy", created_by)
        tokens.checked_key(key)
        nonce = secrets.token_bytes(16)
        token = tokens.made(nonce, key)
        request = msgspec.json.encode([fqdn, created_by, ttl_seconds])
        new = Reservation(
            fqdn=fqdn,
            mode=Mode.POOL,
            pool_domain=pool,
            subdomain=label,
            created_by=created_by,
            ttl=self.hold_time(ttl_seconds),
            token_digest=tokens.digest(token),
            token_nonce=nonce if key else None,
            idempotency_digest=tokens.digest(key) if key else None,
            request_digest=hashlib.sha256(request).digest(),
        )
        if allocation := await self._store.reserve(new, actor):
            return Held(allocation=allocation, token=token)
        return self._again(new, key, await self._store.find(fqdn))

    def _again(self, new: Reservation, key: str | None, found: Allocation | None) -> Held:
        """Return the reservation that the same request made before; raises Conflict if another made it."""
        if key and (again := repeated(found, key, new.request_digest)):
            return again
        raise Conflict(_taken(new.fqdn, found.state if found else State.RESERVED))

    async def renew(self, fqdn: str, token: str, ttl_seconds: int | None, actor: Actor) -> Allocation:
        """Extend a reservation; raises what `model.refused_hold` names."""
        token_digest = tokens.digest(token)
        ttl = self.hold_time(ttl_seconds)
        if allocation := await self._store.renew(fqdn, token_digest, ttl, actor):
            return allocation
        found = await self._store.find(fqdn)
        raise refused_hold(found, token_matches=tokens.matches(found, token_digest))

    async def commit(
        self, fqdn: str, token: str, addresses: list[str], sovereign_fqdn: str | None, actor: Actor
    ) -> Allocation:
        """Make a reserved name active and wait a while for DNS; the same commit may be repeated for ever.

        Raises what `model.refused_commit` names, and what is wrong with the values.
        """
        wanted = names.addresses(addresses)
        sovereign = names.domain(sovereign_fqdn) if sovereign_fqdn else None
        token_digest = tokens.digest(token)
        allocation = await self._store.commit(fqdn, token_digest, wanted, sovereign, actor)
        if allocation is None:
            found = await self._store.find(fqdn)
            matches = tokens.matches(found, token_digest)
            refusal = refused_commit(found, token_matches=matches, addresses=wanted, sovereign_fqdn=sovereign)
            if refusal or found is None:
                raise refusal or NotFound(f"there is no allocation of {fqdn}")
            allocation = found
        if self._on_commit is not None and allocation.pool_domain is not None:
            self._on_commit(allocation.pool_domain)
        outcome = await self.outcome(allocation)
        return outcome if outcome and outcome.id == allocation.id else allocation

    async def release(self, fqdn: str, token: str | None, actor: Actor) -> tuple[Allocation, bool]:
        """Give a name back; return the allocation and whether the name is free already.

        With a token only if its holder is still the same. Raises NotFound, TokenMismatch.
        """
        token_digest = tokens.digest(token) if token else None
        if freed := await self._store.release_reserved(fqdn, token_digest, actor):
            return freed, True
        leaving = await self._store.release_active(fqdn, token_digest, actor)
        if leaving is None:
            leaving = await self._store.find(fqdn)
            if leaving is None or leaving.expired:
                msg = f"there is no allocation of {fqdn}"
                raise NotFound(msg)
            if token_digest and not tokens.matches(leaving, token_digest):
                msg = f"the reservation token is not that of the present holder of {fqdn}"
                raise TokenMismatch(msg)
            if leaving.state is not State.RELEASING:
                msg = f"{fqdn} has just changed hands; look at it again"
                raise Conflict(msg)
            return leaving, False
        outcome = await self.outcome(leaving)
        if outcome and outcome.id == leaving.id:
            return outcome, False
        return msgspec.structs.replace(leaving, dns_state=DnsState.NONE, ds=()), True

    async def outcome(self, allocation: Allocation, seconds: float = OUTCOME_SECONDS) -> Allocation | None:
        """Return the allocation as it is once DNS has it, or after `seconds`; None if it is gone."""
        found: Allocation | None = allocation
        end = monotonic() + seconds
        with self._signals.awaiting(allocation.fqdn) as event:
            self._signals.work.set()
            while found and found.id == allocation.id and not found.settled and (left := end - monotonic()) > 0:
                await until(event, min(left, _LOOK_AGAIN_SECONDS))
                event.clear()
                try:
                    found = await self._store.find(allocation.fqdn)
                except StoreUnavailable:
                    break  # what the caller asked for is stored, which is what 202 says
        return found

    # --- looking -----------------------------------------------------------------------------------

    async def find(self, fqdn: str) -> Allocation:
        """Return a live allocation; raises NotFound."""
        found = await self._store.find(names.domain(fqdn))
        if found is None or found.expired:
            msg = "there is no such allocation"
            raise NotFound(msg)
        return found

    async def page(self, wanted: Filter, after: str, limit: int) -> list[Allocation]:
        """Return live allocations behind the name `after`, by name."""
        return await self._store.page(wanted, after, limit)

    async def events(self, fqdn: str, after: int, limit: int) -> list[Event]:
        """Return the audit trail of a name, oldest first; raises NotFound if nothing ever happened to it."""
        name = names.domain(fqdn)
        found = await self._store.events(name, after, limit)
        if not found and after == 0:
            msg = "nothing has ever happened to that name"
            raise NotFound(msg)
        return found

    def hold_time(self, seconds: int | None) -> timedelta:
        """Return how long to hold a name; raises InvalidTtl."""
        if seconds is None:
            return self._hold
        if not 1 <= seconds <= _MAX_TTL.total_seconds():
            msg = f"ttlSeconds takes 1 to {int(_MAX_TTL.total_seconds())}"
            raise InvalidTtl(msg)
        return timedelta(seconds=seconds)


def repeated(found: Allocation | None, key: str, request_digest: bytes) -> Held | None:
    """Return what a reserve with this Idempotency-Key made before, None if `found` is not that.

    Raises IdempotencyKeyReused where it asked for something else.
    """
    if found is None or not found.token_nonce or found.idempotency_digest != tokens.digest(key):
        return None
    if found.request_digest != request_digest:
        msg = "this Idempotency-Key belongs to another request; use a fresh key for each"
        raise IdempotencyKeyReused(msg)
    return Held(allocation=found, token=tokens.made(found.token_nonce, key))


def _taken(fqdn: str, state: State) -> str:
    words = {
        State.RESERVED: "is reserved by another caller until it expires",
        State.ACTIVE: "is in use",
        State.RELEASING: "is being released, and is free once its DNS is gone",
    }
    return f"{fqdn} {words[state]}"
