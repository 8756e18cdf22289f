"""The verbs: check, reserve, renew, commit, release. Decides; stores what is wanted; writes no DNS."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta
from time import monotonic

import msgspec

from pdm_service import names
from pdm_service.allocator.refusals import refused_commit, refused_hold
from pdm_service.callers import Actor
from pdm_service.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidFormat,
    InvalidTtl,
    NotFound,
    OverlapsAllocation,
    PdmError,
    PoolNotAllowed,
    QuotaExceeded,
    ReservedName,
    StoreUnavailable,
    TokenMismatch,
    UnsupportedPool,
)
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, DnsState, Mode, State
from pdm_service.names.policy import Confusables, Policy
from pdm_service.store.allocations import Filter, Question, Reservation, Store
from pdm_service.store.signals import Signals, until

OUTCOME_SECONDS = 8.0
"""How long a commit or release waits for DNS before it answers 202."""
_LOOK_AGAIN_SECONDS = 1.0
_MAX_TTL = timedelta(days=7)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Is a name free, and if not, why (a word of the contract) and in a sentence."""

    fqdn: str | None = None
    reason: str | None = None
    detail: str | None = None
    warning: str | None = None
    """Of a name that is free, but easily taken for another one."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation and its token, which is told only here."""

    allocation: Allocation
    token: str
    warning: str | None = None


class Allocator:
    """What callers may do with names."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        pool_domains: tuple[str, ...],
        hold: timedelta,
        policy: Callable[[], Policy] = Policy,
        confusables: Confusables = "off",
        on_commit: Callable[[str], None] | None = None,
        on_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_commit` is told the pool domain of each commit, `on_refusal` why a name was not given."""
        self._policy = policy
        self._confusables = confusables
        self._on_commit = on_commit
        self._on_refusal = on_refusal
        self._store = store
        self._signals = signals
        self.pools = frozenset(pool_domains)
        self._hold = hold

    # --- names -----------------------------------------------------------------------------------

    def pool_name(self, pool_domain: str, subdomain: str) -> tuple[str, str, str]:
        """Return (fqdn, pool domain, label), normalised; raises InvalidFormat or UnsupportedPool."""
        pool = self.pool(pool_domain)
        label = names.label(subdomain)
        return f"{label}.{pool}", pool, label

    def pool(self, pool_domain: str) -> str:
        """Return a pool domain, normalised; raises UnsupportedPool."""
        if pool_domain in self.pools:
            return pool_domain
        try:
            pool = names.domain(pool_domain)
        except InvalidFormat:
            pool = ""
        if pool not in self.pools:
            msg = f"that is not a pool domain; the pool domains are {', '.join(sorted(self.pools))}"
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

    def usable(self, label: str, fqdn: str, actor: Actor, key: str | None) -> str | None:
        """Raise ReservedName or OverlapsAllocation for what nobody gets, or this client does not.

        `key` opens a brand to the client that it was made for. Returns a warning for what resembles a reserved word.
        """
        policy = self._policy()
        if refusal := policy.refuses(label, actor.name, key):
            if refusal.rule == "brand":
                self._on_refusal("brand")
            raise ReservedName(refusal.detail)
        # A pool domain below another one's: its zone is not ours to hand out.
        if any(names.covers(fqdn, pool) for pool in self.pools):
            raise OverlapsAllocation(f"{fqdn} is a pool domain itself, or lies above one")
        if self._confusables == "off" or (word := policy.resembles(label)) is None:
            return None
        text = f"{label!r} is easily taken for {word!r}"
        if self._confusables == "refuse":
            self._on_refusal("confusable")
            raise ReservedName(f"{text}; choose another")
        return text

    # --- verbs -----------------------------------------------------------------------------------

    async def check(
        self, pool_domain: str, subdomain: str, actor: Actor, *, tenant: str | None = None, key: str | None = None
    ) -> Verdict:
        """Tell whether a client could have a name; raises only StoreUnavailable."""
        try:
            fqdn, pool, label = self.pool_name(pool_domain, subdomain)
            actor.require_pool(pool)
            names.text("tenant", tenant or "")
            warning = self.usable(label, fqdn, actor, key)
        except PoolNotAllowed as error:
            return Verdict(reason="unsupported-pool", detail=error.detail)
        except PdmError as error:
            reason = "reserved" if isinstance(error, ReservedName) else error.code
            return Verdict(reason=reason, detail=error.detail)
        standing = await self._store.standing(Question(fqdn, pool, label, actor.name, tenant))
        if standing.state is not None:
            reason = "reserved-state" if standing.state is State.RESERVED else "active-state"
            return Verdict(fqdn=fqdn, reason=reason, detail=_taken(fqdn, standing.state))
        if standing.quarantined:
            return Verdict(fqdn=fqdn, reason="quarantined", detail=_kept(fqdn))
        if standing.resembles and self._confusables == "refuse":
            return Verdict(fqdn=fqdn, reason="confusable", detail=_ALIKE)
        alike = standing.resembles and self._confusables == "warn"
        return Verdict(fqdn=fqdn, warning=_ALIKE if alike else warning)

    async def reserve(
        self,
        pool_domain: str,
        subdomain: str,
        *,
        created_by: str | None,
        ttl_seconds: int | None,
        key: str | None,
        actor: Actor,
        tenant: str | None = None,
        allocation_key: str | None = None,
    ) -> Held:
        """Hold a name for a time; the same `key` (Idempotency-Key) and request get the same reservation again.

        `allocation_key` opens a brand. Raises Conflict, PoolNotAllowed, QuotaExceeded and what makes a name unusable.
        """
        fqdn, pool, label = self.pool_name(pool_domain, subdomain)
        actor.require_pool(pool)
        warning = self.usable(label, fqdn, actor, allocation_key)
        for field, text in (("createdBy", created_by), ("tenant", tenant)):
            if text is not None:
                names.text(field, text)
        tokens.checked_key(key)
        nonce = secrets.token_bytes(16)
        token = tokens.made(nonce, key)
        request = msgspec.json.encode([fqdn, created_by, ttl_seconds, *([tenant] if tenant else [])])
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
            tenant=tenant,
        )
        try:
            allocation = await self._store.reserve(new, actor)
        except (QuotaExceeded, Conflict) as error:
            if key and (again := repeated(await self._store.find(fqdn, actor.name), key, new.request_digest)):
                return again
            self._on_refusal("quota" if isinstance(error, QuotaExceeded) else "confusable")
            raise
        if allocation:
            return Held(allocation=allocation, token=token, warning=warning or await self._resembling(new, actor))
        if key and (again := repeated(await self._store.find(fqdn, actor.name), key, new.request_digest)):
            return again
        raise await self.taken(Question(fqdn, pool, label, actor.name, tenant))

    async def _resembling(self, new: Reservation, actor: Actor) -> str | None:
        """Return a warning for a name that is easily taken for somebody else's."""
        if self._confusables != "warn":
            return None
        question = Question(new.fqdn, new.pool_domain, new.subdomain, actor.name, new.tenant)
        return _ALIKE if (await self._store.standing(question)).resembles else None

    async def taken(self, question: Question) -> Conflict:
        """Return why a name could not be had a moment ago."""
        standing = await self._store.standing(question)
        if standing.state is None and standing.quarantined:
            self._on_refusal("quarantined")
            return Conflict(_kept(question.fqdn))
        return Conflict(_taken(question.fqdn, standing.state or State.RESERVED))

    async def renew(self, fqdn: str, token: str, ttl_seconds: int | None, actor: Actor) -> Allocation:
        """Extend a reservation; raises what `model.refused_hold` names."""
        token_digest = tokens.digest(token)
        ttl = self.hold_time(ttl_seconds)
        if allocation := await self._store.renew(fqdn, token_digest, ttl, actor):
            return allocation
        found = await self._store.find(fqdn, actor.only)
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
            found = await self._store.find(fqdn, actor.only)
            matches = tokens.matches(found, token_digest)
            refusal = refused_commit(found, token_matches=matches, addresses=wanted, sovereign_fqdn=sovereign)
            if refusal or found is None:
                raise refusal or NotFound(f"there is no allocation of {fqdn}")
            allocation = found
        if self._on_commit is not None and allocation.pool_domain is not None:
            self._on_commit(allocation.pool_domain)
        outcome = await self.outcome(allocation)
        return outcome if outcome and outcome.id == allocation.id else allocation

    async def release(
        self, fqdn: str, token: str | None, actor: Actor, declared_for: str | None = None
    ) -> tuple[Allocation, bool]:
        """Give a name back; return the allocation and whether the name is free already.

        With a token, or as a declared resource, only if its holder is still the same. Raises NotFound, TokenMismatch.
        """
        token_digest = tokens.digest(token) if token else None
        if freed := await self._store.release_reserved(fqdn, token_digest, actor, declared_for):
            return freed, True
        leaving = await self._store.release_active(fqdn, token_digest, actor, declared_for)
        if leaving is None:
            leaving = await self._store.find(fqdn, actor.only)
            if leaving is None or leaving.expired or (declared_for and not leaving.is_declared_for(declared_for)):
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

    async def find(self, fqdn: str, actor: Actor, declared_for: str | None = None) -> Allocation:
        """Return a live allocation of this client's (and of a declared resource); raises NotFound."""
        found = await self._store.find(names.domain(fqdn), actor.only)
        if found is None or found.expired or (declared_for and not found.is_declared_for(declared_for)):
            msg = "there is no such allocation"
            raise NotFound(msg)
        return found

    async def page(self, wanted: Filter, after: str, limit: int) -> list[Allocation]:
        """Return live allocations behind the name `after`, by name."""
        return await self._store.page(wanted, after, limit)

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


_ALIKE = "this is easily taken for a name that somebody else holds"


def _kept(fqdn: str) -> str:
    return f"{fqdn} was released lately and is kept for its last holder; choose another"


def _taken(fqdn: str, state: State) -> str:
    words = {
        State.RESERVED: "is reserved by another caller until it expires",
        State.ACTIVE: "is in use",
        State.RELEASING: "is being released, and is free once its DNS is gone",
    }
    return f"{fqdn} {words[state]}"
