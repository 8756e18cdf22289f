"""Names below pool domains: checked, reserved, committed, released. Decides; stores what is wanted; writes no DNS."""

from collections.abc import Callable

import msgspec

from pdm_service import names
from pdm_service.allocator import budgets
from pdm_service.allocator.orders import Commit, Release, Terms
from pdm_service.allocator.refusals import ALIKE, changed_hands, kept, refused_commit, taken
from pdm_service.allocator.reservations import Held, Reservations, prepared, repeated
from pdm_service.callers import Actor
from pdm_service.errors import (
    Conflict,
    InvalidFormat,
    OverlapsAllocation,
    PdmError,
    PoolNotAllowed,
    QuotaExceeded,
    ReservedName,
    UnsupportedPool,
)
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, Dns, Mode, State
from pdm_service.model.standing import Question, Standing
from pdm_service.names.policy import Confusables, Policy
from pdm_service.publisher.outcome import Outcomes
from pdm_service.store.allocations import Allocations, Reservation
from pdm_service.store.availability import Availability

_TRIES = 3
"""How often a row that changes between question and statement is asked for again."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Is a name free, and if not, why (a word of the contract) and in a sentence."""

    fqdn: str | None = None
    reason: str | None = None
    detail: str | None = None
    suggestion: str | None = None
    """What was probably meant, where the text was no name."""
    warning: str | None = None
    """Of a name that is free, but easily taken for another one."""


class PoolNames:
    """What callers may do with names below pool domains."""

    def __init__(
        self,
        *,
        allocations: Allocations,
        availability: Availability,
        reservations: Reservations,
        outcomes: Outcomes,
        pool_domains: tuple[str, ...],
        policy: Callable[[], Policy],
        confusables: Confusables,
        on_commit: Callable[[str], None],
        on_refusal: Callable[[str], None],
    ) -> None:
        """`on_commit` gets the pool domain of each commit, `on_refusal` the reason why a name was refused."""
        self._allocations = allocations
        self._availability = availability
        self._reservations = reservations
        self._outcomes = outcomes
        self.pools = frozenset(pool_domains)
        # A pool domain below another one's: its zone, and those above it, are not ours to hand out.
        self._zones = frozenset(above for pool in pool_domains for above in names.above(pool))
        self._policy = policy
        self._confusables = confusables
        self._on_commit = on_commit
        self._on_refusal = on_refusal

    # --- names -----------------------------------------------------------------------------------

    def name(self, pool_domain: str, subdomain: str) -> tuple[str, str, str]:
        """Return (fqdn, pool domain, label), normalised; raises InvalidFormat or UnsupportedPool."""
        pool = self.pool(pool_domain)
        label = names.label(subdomain, pool)
        return f"{label}.{pool}", pool, label

    def pool(self, pool_domain: str) -> str:
        """Return a pool domain, normalised; raises UnsupportedPool."""
        if pool_domain in self.pools:
            return pool_domain
        meant = None
        try:
            pool = names.domain(pool_domain)
        except InvalidFormat as error:
            pool, meant = "", error.suggestion
        if pool not in self.pools:
            text = f"that is not a pool domain; the pool domains are {', '.join(sorted(self.pools))}"
            raise UnsupportedPool(text, meant if meant in self.pools else None)
        return pool

    def usable(self, label: str, fqdn: str, actor: Actor, key: str | None) -> str | None:
        """Raise ReservedName or OverlapsAllocation for what nobody gets, or this client does not.

        `key` opens a brand to the client that it was made for. Returns a warning for what resembles a reserved word.
        """
        policy = self._policy()
        if refusal := policy.refuses(label, actor.name, key):
            if refusal.rule == "brand":
                self._on_refusal("brand")
            raise ReservedName(refusal.detail)
        if fqdn in self._zones:
            raise OverlapsAllocation(f"{fqdn} is a pool domain itself, or lies above one")
        if self._confusables == "off" or (word := policy.resembles(label)) is None:
            return None
        text = f"{label!r} is easily mistaken for {word!r}"
        if self._confusables == "refuse":
            self._on_refusal("confusable")
            raise ReservedName(f"{text}; choose another")
        return text

    # --- check -----------------------------------------------------------------------------------

    async def check(
        self, pool_domain: str, subdomain: str, actor: Actor, *, tenant: str | None = None, key: str | None = None
    ) -> Verdict:
        """Return whether a client could have a name, or could have a second ago; raises only StoreUnavailable."""
        asked = self._asked(pool_domain, subdomain, actor, tenant, key)
        if isinstance(asked, Verdict):
            return asked
        question, warning = asked
        return self._verdict(question.fqdn, await self._availability.recent_standing(question), warning)

    def check_at_once(
        self, pool_domain: str, subdomain: str, actor: Actor, *, tenant: str | None = None, key: str | None = None
    ) -> Verdict | None:
        """Return the same, None where PostgreSQL has to be asked."""
        asked = self._asked(pool_domain, subdomain, actor, tenant, key)
        if isinstance(asked, Verdict):
            return asked
        question, warning = asked
        standing = self._availability.remembered_standing(question)
        return None if standing is None else self._verdict(question.fqdn, standing, warning)

    def _asked(
        self, pool_domain: str, subdomain: str, actor: Actor, tenant: str | None, key: str | None
    ) -> tuple[Question, str | None] | Verdict:
        """Return what there is to ask about a name, and a warning; a verdict where there is nothing to ask."""
        try:
            fqdn, pool, label = self.name(pool_domain, subdomain)
            actor.require_pool(pool)
            if tenant:
                names.text("tenant", tenant)
            warning = self.usable(label, fqdn, actor, key)
        except PoolNotAllowed as error:
            return Verdict(reason="unsupported-pool", detail=error.detail)
        except PdmError as error:
            reason = "reserved" if isinstance(error, ReservedName) else error.code
            return Verdict(reason=reason, detail=error.detail, suggestion=error.suggestion)
        return Question(fqdn, pool, label, actor.name, tenant), warning

    def _verdict(self, fqdn: str, standing: Standing, warning: str | None) -> Verdict:
        """Return what stands in the way of a name as a verdict."""
        if standing.state is not None:
            reason = "reserved-state" if standing.state is State.RESERVED else "active-state"
            return Verdict(fqdn=fqdn, reason=reason, detail=taken(fqdn, standing.state))
        if standing.quarantined:
            return Verdict(fqdn=fqdn, reason="quarantined", detail=kept(fqdn))
        if standing.resembles and self._confusables == "refuse":
            return Verdict(fqdn=fqdn, reason="confusable", detail=ALIKE)
        alike = standing.resembles and self._confusables == "warn"
        return Verdict(fqdn=fqdn, warning=ALIKE if alike else warning)

    async def taken(self, question: Question) -> Conflict:
        """Return why a name could not be had a moment ago."""
        standing = await self._availability.standing(question)
        if standing.state is None and standing.quarantined:
            self._on_refusal("quarantined")
            return Conflict(kept(question.fqdn))
        return Conflict(taken(question.fqdn, standing.state or State.RESERVED))

    # --- reserve ---------------------------------------------------------------------------------

    async def reserve(
        self, pool_domain: str, subdomain: str, terms: Terms, actor: Actor, allocation_key: str | None = None
    ) -> Held:
        """Hold a name for a time; the same Idempotency-Key and request get the same reservation again.

        `allocation_key` opens a brand. Raises Conflict, PoolNotAllowed, QuotaExceeded, IdempotencyKeyReused,
        OverlapsAllocation, ReservedName, UnsupportedPool, InvalidFormat, InvalidText, InvalidTtl.
        """
        fqdn, pool, label = self.name(pool_domain, subdomain)
        actor.require_pool(pool)
        warning = self.usable(label, fqdn, actor, allocation_key)
        terms.check()
        token, credentials = prepared([fqdn], terms)
        new = Reservation(
            fqdn=fqdn,
            mode=Mode.POOL,
            pool_domain=pool,
            subdomain=label,
            created_by=terms.created_by,
            ttl=self._reservations.hold_time(terms.ttl_seconds),
            credentials=credentials,
            tenant=terms.tenant,
        )
        try:
            allocation = await self._allocations.reserve(new, actor)
        except (QuotaExceeded, Conflict) as error:
            if again := await self._again(new, terms, actor):
                return again
            self._on_refusal("quota" if isinstance(error, QuotaExceeded) else "confusable")
            raise
        if allocation:
            return Held(allocation=allocation, token=token, warning=warning or await self._resembling(new, actor))
        if again := await self._again(new, terms, actor):
            return again
        raise await self.taken(new.question(actor))

    async def _again(self, new: Reservation, terms: Terms, actor: Actor) -> Held | None:
        if terms.key is None:
            return None
        return repeated(await self._allocations.find(new.fqdn, actor.name), terms, new.credentials)

    async def _resembling(self, new: Reservation, actor: Actor) -> str | None:
        """Return a warning for a name that is easily mistaken for somebody else's."""
        if self._confusables != "warn":
            return None
        return ALIKE if (await self._availability.standing(new.question(actor))).resembles else None

    # --- commit and release ----------------------------------------------------------------------

    async def commit(
        self, order: Commit, addresses: tuple[str, ...], sovereign_fqdn: str | None, actor: Actor
    ) -> Allocation:
        """Make a reserved name active and wait a while for DNS; the same commit may be repeated at any time.

        Raises what `refused_commit` names.
        """
        token_digest = tokens.digest(order.token)
        allocation = await self._allocations.commit(order.fqdn, token_digest, addresses, sovereign_fqdn, actor)
        if allocation is None:
            allocation = await self._reservations.of_token(order.fqdn, token_digest, actor)
            refusal = refused_commit(allocation, token_matches=True, addresses=addresses, sovereign_fqdn=sovereign_fqdn)
            if refusal:
                raise refusal
        if allocation.pool_domain is not None:
            self._on_commit(allocation.pool_domain)
        return await self._outcomes.of(allocation, budgets.OUTCOME) or allocation

    async def release(self, held: Allocation, order: Release, actor: Actor) -> tuple[Allocation, bool]:
        """Give a name back; return the allocation and whether the name is free already; raises NotFound, Conflict."""
        for _ in range(_TRIES):
            if held.state is State.RESERVED and (freed := await self._allocations.release_reserved(held, actor)):
                return freed, True
            if held.state is State.ACTIVE and (leaving := await self._allocations.release_active(held, actor)):
                found = await self._outcomes.of(leaving, budgets.OUTCOME)
                return (found, False) if found else (msgspec.structs.replace(leaving, dns=Dns()), True)
            if held.state is State.RELEASING:
                return held, False
            held = await self._reservations.to_release(order, actor)
        raise changed_hands(held.fqdn)
