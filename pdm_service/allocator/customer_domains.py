"""Domains that customers bring: claimed, committed, released, rolled back.

A reserve opens a claim; a commit says what to serve. What is served, and when, follows from the proof: nothing for
a claim that is not proven. Who holds a domain is decided by the database, as for pool names.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from time import monotonic

import msgspec

from adapters.base import Validation
from pdm_service import deadline, names, shares
from pdm_service.allocator import budgets as verbs
from pdm_service.allocator.orders import Commit, Committed, Registrar, Release, Terms
from pdm_service.allocator.refusals import refused_commit, refused_hold, wrong_token
from pdm_service.allocator.reservations import Held, Reservations, prepared, repeated
from pdm_service.byo import budgets, imports, preflight, zonefile
from pdm_service.byo.flip import Flips
from pdm_service.byo.imports import NOTHING, Choice
from pdm_service.byo.refusals import refuse, refuse_late
from pdm_service.byo.registrar_change import Order
from pdm_service.byo.rollback import Rollbacks
from pdm_service.byo.survey import Survey, Surveyor, registered_of
from pdm_service.callers import BYO, Actor
from pdm_service.delegations.watch import Observed, Watch
from pdm_service.errors import (
    AlreadyActive,
    ApiUnavailable,
    Conflict,
    IdempotencyKeyReused,
    InvalidFormat,
    MissingToken,
    NotFound,
    OverlapsAllocation,
    PdmError,
    PreflightBlocked,
    StillDelegated,
)
from pdm_service.findings import Finding
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, Claim, Dns, Mode, State
from pdm_service.model.observation import OldZone
from pdm_service.publisher.outcome import Outcomes
from pdm_service.registrars import Asked, Registrars, registrable
from pdm_service.store.allocations import Allocations
from pdm_service.store.claims import BELOW, Claims, NewClaim, Wish


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """The result of testing a token and checking the domain."""

    asked: Asked
    found: Validation
    findings: tuple[Finding, ...] = ()
    old: OldZone | None = None


class CustomerDomains:
    """What callers may do with domains of their own."""

    def __init__(
        self,
        *,
        allocations: Allocations,
        claims: Claims,
        reservations: Reservations,
        outcomes: Outcomes,
        watch: Watch,
        surveyor: Surveyor,
        flips: Flips,
        rollbacks: Rollbacks,
        registrars: Registrars,
        pool_domains: tuple[str, ...],
    ) -> None:
        self._allocations = allocations
        self._claims = claims
        self._reservations = reservations
        self._outcomes = outcomes
        self._watch = watch
        self._surveyor = surveyor
        self._flips = flips
        self._rollbacks = rollbacks
        self._registrars = registrars
        self._pools = frozenset(pool_domains)

    # --- reserve -----------------------------------------------------------------------------------

    def _domain(self, domain: str, mode: Mode) -> str:
        """Return a domain that may be brought; raises InvalidFormat, OverlapsAllocation."""
        fqdn = names.domain(domain)
        if any(names.covers(fqdn, pool) or names.covers(pool, fqdn) for pool in self._pools):
            raise OverlapsAllocation(f"{fqdn} is a pool domain, or lies above or below one")
        if reason := preflight.special_use(fqdn):
            raise InvalidFormat(f"{fqdn} {reason}")
        if mode is Mode.BYO_API:
            registrable(fqdn)
        return fqdn

    async def reserve(self, mode: Mode, domain: str, terms: Terms, actor: Actor) -> Held:
        """Open a claim on a domain; the same Idempotency-Key and request get the same claim again.

        Raises Conflict, OverlapsAllocation, PoolNotAllowed, QuotaExceeded, IdempotencyKeyReused, InvalidFormat,
        InvalidText, InvalidTtl.
        """
        fqdn = self._domain(domain, mode)
        actor.require_pool(BYO)
        terms.check()
        token, credentials = prepared([fqdn, mode], terms)
        new = NewClaim(
            fqdn=fqdn,
            mode=mode,
            created_by=terms.created_by,
            ttl=self._reservations.hold_time(terms.ttl_seconds),
            credentials=credentials,
            challenge=secrets.token_urlsafe(24),
            tenant=terms.tenant,
            above_others=BELOW in terms.acknowledged,
        )
        if again := await self._again(new, terms, actor):
            return again
        try:
            return Held(allocation=await self._open(new, actor), token=token)
        except IdempotencyKeyReused:
            # The same request was faster at another replica, by a hair.
            if again := await self._again(new, terms, actor):
                return again
            raise

    async def _open(self, new: NewClaim, actor: Actor) -> Claim:
        """Open a claim, also where a proof of before the domain changed hands holds it; raises as `Claims.open`."""
        try:
            return await self._claims.open(new, actor, await self._watch.outdated(new.fqdn))
        except Conflict:
            if (registered_at := await self._surveyor.registered_at(new.fqdn)) is None:
                raise
            return await self._claims.open(
                msgspec.structs.replace(new, registered_at=registered_at), actor, registered_at
            )

    async def _again(self, new: NewClaim, terms: Terms, actor: Actor) -> Held | None:
        """Return the reservation that the same request made before; raises IdempotencyKeyReused."""
        digest = new.credentials.idempotency_digest
        if digest is None:
            return None
        found = await self._claims.again(actor.name, digest) or await self._allocations.find(new.fqdn, actor.name)
        return None if found is None or found.expired else repeated(found, terms, new.credentials)

    # --- commit ------------------------------------------------------------------------------------

    async def commit(
        self, held: Allocation, order: Commit, addresses: tuple[str, ...], sovereign_fqdn: str | None, actor: Actor
    ) -> Committed:
        """Say what a domain should have in DNS, and take the next step; the same commit may be repeated at any time.

        byo-manual: the zone is served once the claim is proven. byo-api: pre-flight, undo sheet, zone, flip; a
        commit with the registrar's token goes on from wherever that stands. Raises what `refused_commit` names,
        PreflightBlocked, ChangeUnderWay and RegistrarFailure.
        """
        chosen = await self._chosen(order)
        if not isinstance(held, Claim):
            refusal = refused_commit(held, token_matches=True, addresses=addresses, sovereign_fqdn=sovereign_fqdn)
            if refusal:
                raise refusal
            if not imports.repeats(held.imports, chosen):
                raise AlreadyActive(f"{held.fqdn} is active with other imports; release it first to change them")
            if held.mode is Mode.BYO_MANUAL:
                refuse_late(held.fqdn, order.acknowledged, held.acknowledged)
            return Committed(allocation=await self._go_on(held, order, actor))
        if held.expired:
            raise refused_hold(held, token_matches=True)
        wish = Wish(
            addresses=addresses, sovereign_fqdn=sovereign_fqdn, imports=held.imports, acknowledged=order.acknowledged
        )
        if held.mode is Mode.BYO_API:
            flip = self._flip(held, wish, chosen, order, actor)
            return Committed(allocation=await self._in_time(flip, held))
        return await self._commit_manual(held, wish, chosen, order, actor)

    async def _chosen(self, order: Commit) -> Choice:
        """Return what a commit wants taken along; raises InvalidFormat."""
        if order.zonefile is None:
            return imports.choice(order.fqdn, order.imports)
        # A thousand records take half a second to read, in which others are answered.
        given = await asyncio.to_thread(zonefile.read, order.fqdn, order.zonefile)
        return await asyncio.to_thread(imports.choice, order.fqdn, order.imports, given)

    def _ordered(self, order: Commit, actor: Actor, chosen: Choice = NOTHING) -> Order:
        """Return what is wanted of the registrar; raises UnsupportedRegistrar, MissingToken, InvalidFormat."""
        asked, secret = self._registrars.asked(order.registrar.name, order.fqdn, order.registrar.token)
        return Order(asked=asked, secret=secret, acknowledged=order.acknowledged, chosen=chosen, actor=actor)

    async def _flip(self, claim: Claim, wish: Wish, chosen: Choice, order: Commit, actor: Actor) -> Allocation:
        refusal: PdmError | None = None
        try:
            if found := await self._flips.claim(claim, wish, self._ordered(order, actor, chosen)):
                return found
        except PreflightBlocked as blocked:
            # What was found may be the work of another commit of the same claim.
            refusal = blocked
        return (await self._once_closed(claim, wish, order, actor, refusal)).allocation

    async def _once_closed(
        self, claim: Claim, wish: Wish, order: Commit, actor: Actor, refusal: PdmError | None = None
    ) -> Committed:
        """Return what a commit comes to whose claim has become an allocation meanwhile, by an observation for instance.

        Where it has not, raises the refusal, else what `refused_hold` names; and as `commit`.
        """
        now = await self._reservations.still(claim)
        if now is None or isinstance(now, Claim):
            raise refusal or refused_hold(claim, token_matches=True)
        return await self.commit(now, order, wish.addresses, wish.sovereign_fqdn, actor)

    async def _commit_manual(
        self, claim: Claim, wish: Wish, chosen: Choice, order: Commit, actor: Actor
    ) -> Committed:  # fmt: skip
        before = (claim.load_balancer_ips, claim.sovereign_fqdn)
        if claim.committed_at and before != (wish.addresses, wish.sovereign_fqdn):
            raise AlreadyActive(f"{claim.fqdn} was committed with other values; release it first to change them")
        survey = None
        if chosen:
            survey = await self._surveyor.survey(claim.fqdn, budgets.MANUAL_SURVEY, chosen=chosen, registry=False)
            issuers = self._surveyor.acme_issuers
            rrsets = await asyncio.to_thread(imports.taken, claim.fqdn, survey.old, chosen, issuers)
            wish = msgspec.structs.replace(wish, imports=rrsets)
        if await self._claims.wish(claim.id, wish, actor) is None:
            return await self._once_closed(claim, wish, order, actor)
        # This observation may find the proof; if not, the watch continues.
        observed = await self._watch.observe_now(claim.fqdn, budgets.OBSERVE)
        losing = asyncio.create_task(self._losses(claim, survey, observed, chosen or Choice(given=wish.imports)))
        try:
            held = await self._reservations.still(claim)
            if isinstance(held, Claim) and held.proof and (below := await self._claims.below(held.fqdn)):
                held = await self._once_gone(held, below, order)
            if held is None:
                raise NotFound(f"somebody else has proven that {claim.fqdn} is theirs")
            found = held if isinstance(held, Claim) else await self._outcomes.of(held, budgets.SERVE) or held
            return Committed(allocation=found, problems=await losing)
        finally:
            losing.cancel()

    async def _losses(
        self, claim: Claim, survey: Survey | None, observed: Observed, chosen: Choice
    ) -> tuple[Finding, ...]:
        """Return what a domain's zone has now, and would not have."""
        survey = survey or await self._surveyor.survey(
            claim.fqdn, budgets.MANUAL_SURVEY, chosen=chosen, observed=observed, registry=False
        )
        return preflight.losses(await self._surveyor.judge(claim.fqdn, survey, None, held=claim, chosen=chosen))

    async def _once_gone(self, claim: Claim, below: list[Allocation], order: Commit) -> Allocation | None:
        """Return what becomes of a proven claim once the names below it are out of DNS, or a little later.

        Raises PreflightBlocked where the order does not acknowledge that.
        """
        if active := [held.fqdn for held in below if held.state is State.ACTIVE]:
            refuse((preflight.below_held(f"{', '.join(active)} below {claim.fqdn} is held here"),), order.acknowledged)
        if not any([await self._outcomes.of(held, budgets.SERVE) for held in below]):
            await self._watch.observe_now(claim.fqdn, budgets.OBSERVE)
        return await self._reservations.still(claim)

    async def _go_on(self, held: Allocation, order: Commit, actor: Actor) -> Allocation:
        if held.mode is Mode.BYO_API and order.registrar.token:
            return await self._in_time(self._flips.resume(held, self._ordered(order, actor)), held)
        return await self._outcomes.of(held, verbs.OUTCOME) or held

    async def _in_time(self, steps: Coroutine[None, None, Allocation], held: Allocation) -> Allocation:
        """Return the result of the steps; where they take too long, the domain's present state: the next call goes on.

        A change that is cut off is noted, so that the service looks for it before it sends anything else.
        """
        try:
            async with asyncio.timeout(deadline.left(budgets.ANSWER)):
                return await steps
        except TimeoutError:
            found = await self._reservations.still(held)
            if found is None or isinstance(found, Claim):
                text = "the registrar or the domain's nameservers took too long; try again"
                raise ApiUnavailable(text, 10) from None
            return found

    # --- release and rollback ------------------------------------------------------------------------

    async def release(self, held: Allocation, order: Release, actor: Actor) -> tuple[Allocation, bool]:
        """Give a domain back; return the allocation and whether it is gone already.

        Refused while the parent zone still names the platform, or has a DS of ours, unless `force`: then the zone
        goes at once. Otherwise it is served until no cache sends anybody here. With a registrar's token our DS is
        taken away first. Raises Conflict, StillDelegated, ChangeUnderWay, RegistrarFailure.
        """
        if isinstance(held, Claim):
            return await self._claims.withdraw(held.id, actor) or held, True
        if held.state is State.RELEASING:
            return (await self._allocations.hasten(held.id) if order.force else None) or held, False
        observed = await self._watch.observe_now(held.fqdn, budgets.OBSERVE)
        if not order.force:
            await self._require_left(held, observed, order.registrar, actor)
        until = None if order.force else observed.memory.drained_by
        orphan = order.force and observed.report.points_here
        leaving = await self._allocations.release_byo(held.id, until, orphan=orphan, actor=actor)
        if leaving is None:
            raise Conflict(f"{held.fqdn} has just changed; read it again")
        found = await self._outcomes.of(leaving, 0 if until else budgets.SERVE)
        return (found, False) if found else (msgspec.structs.replace(leaving, dns=Dns()), True)

    async def _require_left(self, held: Allocation, observed: Observed, registrar: Registrar, actor: Actor) -> None:
        """Raise StillDelegated while the parent zone still sends anybody here, or has a DS of ours."""
        report = observed.report
        if not any(view.usable for view in report.parents):
            raise StillDelegated(
                f"the service could not find out whether {held.fqdn} still points here; try again, or send force"
            )
        if report.points_here:
            raise StillDelegated(
                f"{held.fqdn} still points here: remove its DS, wait until that has passed, set other nameservers (or "
                "use rollback), then release it; force takes the zone away at once"
            )
        if not set(report.ds) & set(held.dns.ds):
            return
        if not registrar.token:
            raise StillDelegated(
                f"the parent zone still has our DS of {held.fqdn}: remove it, or send the registrar's token"
            )
        asked, secret = self._registrars.asked(registrar.name, held.fqdn, registrar.token)
        await self._rollbacks.remove_ds(held, Order(asked=asked, secret=secret, actor=actor))

    async def roll_back(self, fqdn: str, token: str | None, registrar: Registrar, actor: Actor) -> Allocation:
        """Give a domain its former nameservers back.

        Raises NotFound, TokenMismatch, MissingToken, and what `Rollbacks.roll_back` raises.
        """
        held = await self._allocations.find(fqdn, actor.only)
        if held is None or held.state is not State.ACTIVE or held.mode is not Mode.BYO_API:
            raise NotFound(f"there is no active domain {fqdn} whose nameservers the service has changed")
        if token and not held.credentials.admit(tokens.digest(token)):
            raise wrong_token(fqdn)
        if not registrar.token:
            raise MissingToken("send the registrar's token: the service keeps none")
        shares.begin(shares.whose(held.owner, held.tenant), fqdn, waits=True)
        asked, secret = self._registrars.asked(registrar.name, fqdn, registrar.token)
        rollback = self._rollbacks.roll_back(held, Order(asked=asked, secret=secret, actor=actor))
        return await self._in_time(rollback, held)

    # --- before the change --------------------------------------------------------------------------------

    async def validate(
        self, registrar: str | None, domain: str | None, token: str | None, actor: Actor, *, transfer: bool
    ) -> Validated:
        """Test a registrar's token and, for a client that may have such domains, run the pre-flight; reads only.

        Raises what `Registrars.validate` raises.
        """
        start = monotonic()
        shares.begin(shares.whose(actor.name), domain or "", waits=True)
        asked, found = await self._registrars.validate(registrar, domain, token)
        if not self._surveyor.enabled or not actor.takes(BYO):
            return Validated(asked=asked, found=found)
        left = max(2.0, min(budgets.SURVEY, budgets.ANSWER - (monotonic() - start)))
        survey = await self._surveyor.survey(asked.domain, left, transfer=transfer)
        findings = await self._surveyor.judge(asked.domain, survey, registered_of(found))
        return Validated(asked=asked, found=found, findings=findings, old=survey.old)

    async def preflight(
        self, domain: str, actor: Actor, *, transfer: bool
    ) -> tuple[str, tuple[Finding, ...], OldZone | None]:
        """Return a domain in its one form, what a change by the customer would meet, and what its zone has.

        Raises InvalidFormat, PoolNotAllowed.
        """
        actor.require_pool(BYO)
        fqdn = names.domain(domain)
        shares.begin(shares.whose(actor.name), fqdn, waits=True)
        survey = await self._surveyor.survey(fqdn, budgets.SURVEY, transfer=transfer)
        findings = await self._surveyor.judge(fqdn, survey, None)
        return fqdn, findings, survey.old
