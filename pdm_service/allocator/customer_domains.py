"""The verbs for domains that customers bring: reserve, commit, release, rollback, validate.

A reserve opens a claim; a commit says what to serve. What is served, and when, follows from the proof: nothing for
a claim that is not proven. Who holds a domain is decided by the database, as for pool names.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Coroutine
from time import monotonic

import msgspec

from adapters.base import Validation
from pdm_service import names
from pdm_service.allocator.pool_names import Allocator, Held, repeated
from pdm_service.allocator.refusals import refused_commit, refused_hold
from pdm_service.byo.flip import Flips, Order, registered_of
from pdm_service.byo.imports import imported
from pdm_service.byo.preflight import special_use
from pdm_service.byo.survey import Surveyor
from pdm_service.callers import BYO, Actor
from pdm_service.delegations.watch import Looked, Watch
from pdm_service.errors import (
    AlreadyActive,
    ApiUnavailable,
    Conflict,
    IdempotencyKeyReused,
    InvalidFormat,
    MissingToken,
    NotFound,
    OverlapsAllocation,
    ReservationExpired,
    StillDelegated,
    TokenMismatch,
)
from pdm_service.findings import Finding
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, DnsState, Mode, State
from pdm_service.model.observation import OldRRset
from pdm_service.registrars import Asked, Registrars, registrable
from pdm_service.store.allocations import Store
from pdm_service.store.claims import Claims, NewClaim, Wish

_LOOK_SECONDS = 6.0
_SURVEY_SECONDS = 5.0
_SERVE_SECONDS = 5.0
_ANSWER_SECONDS = 13.5


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller commits a domain with."""

    fqdn: str
    token: str
    addresses: list[str]
    sovereign_fqdn: str | None = None
    registrar: str | None = None
    registrar_token: str | None = None
    acknowledged: tuple[str, ...] = ()
    imports: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Commit({self.fqdn})"


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """What came of testing a token and looking at the domain."""

    asked: Asked
    found: Validation
    findings: tuple[Finding, ...]
    rrsets: tuple[OldRRset, ...]


class Byo:
    """What callers may do with domains of their own."""

    def __init__(
        self,
        *,
        allocator: Allocator,
        store: Store,
        claims: Claims,
        watch: Watch,
        surveyor: Surveyor,
        flips: Flips,
        registrars: Registrars,
        pool_domains: tuple[str, ...],
    ) -> None:
        self._allocator = allocator
        self._store = store
        self._claims = claims
        self._watch = watch
        self._surveyor = surveyor
        self._flips = flips
        self._registrars = registrars
        self._pools = frozenset(pool_domains)

    def concerns(self, fqdn: str) -> bool:
        """Tell whether a name is a customer's domain: every name is that does not lie directly below a pool domain."""
        return names.split(fqdn, self._pools) is None

    # --- reserve -----------------------------------------------------------------------------------

    def _domain(self, domain: str, mode: Mode) -> str:
        """Return a domain that may be brought; raises InvalidFormat, OverlapsAllocation."""
        fqdn = names.domain(domain)
        if any(names.covers(fqdn, pool) or names.covers(pool, fqdn) for pool in self._pools):
            raise OverlapsAllocation(f"{fqdn} is a pool domain, or lies above or below one")
        if reason := special_use(fqdn):
            raise InvalidFormat(f"{fqdn} {reason}")
        if mode is Mode.BYO_API:
            registrable(fqdn)
        return fqdn

    async def reserve(
        self,
        mode: Mode,
        domain: str,
        *,
        created_by: str | None,
        ttl_seconds: int | None,
        key: str | None,
        actor: Actor,
        tenant: str | None = None,
    ) -> Held:
        """Open a claim on a domain; the same `key` and request get the same claim again.

        Raises Conflict, OverlapsAllocation, PoolNotAllowed, QuotaExceeded and what makes a name unusable.
        """
        fqdn = self._domain(domain, mode)
        actor.require_pool(BYO)
        for field, text in (("createdBy", created_by), ("tenant", tenant)):
            if text is not None:
                names.text(field, text)
        nonce = secrets.token_bytes(16)
        token = tokens.made(nonce, tokens.checked_key(key))
        new = NewClaim(
            fqdn=fqdn,
            mode=mode,
            created_by=created_by,
            ttl=self._allocator.hold_time(ttl_seconds),
            token_digest=tokens.digest(token),
            token_nonce=nonce if key else None,
            idempotency_digest=tokens.digest(key) if key else None,
            request_digest=hashlib.sha256(
                msgspec.json.encode([fqdn, mode, created_by, ttl_seconds, *([tenant] if tenant else [])])
            ).digest(),
            challenge=secrets.token_urlsafe(24),
            tenant=tenant,
        )
        if key and (again := await self._again(new, key, actor)):
            return again
        try:
            return Held(allocation=await self._claims.open(new, actor), token=token)
        except IdempotencyKeyReused:
            # The same request was faster at another replica, by a hair.
            if key and (again := await self._again(new, key, actor)):
                return again
            raise

    async def _again(self, new: NewClaim, key: str, actor: Actor) -> Held | None:
        """Return the reservation that the same request made before; raises IdempotencyKeyReused."""
        found = await self._claims.again(actor.name, tokens.digest(key)) or await self._store.find(new.fqdn, actor.name)
        return None if found is None or found.expired else repeated(found, key, new.request_digest)

    async def renew(self, fqdn: str, token: str, ttl_seconds: int | None, actor: Actor) -> Allocation:
        """Extend a claim; raises what `model.refused_hold` names."""
        token_digest = tokens.digest(token)
        if found := await self._claims.renew(fqdn, token_digest, self._allocator.hold_time(ttl_seconds), actor):
            return found
        raise await self._refused(fqdn, token_digest, actor)

    async def _refused(self, fqdn: str, token_digest: bytes, actor: Actor) -> Exception:
        """Return why the holder of a token could not act on a claim."""
        if await self._claims.find(fqdn, token_digest, actor.only):
            return ReservationExpired(f"the reservation of {fqdn} is over; reserve it again")
        found = await self._store.find(fqdn, actor.only)
        if found is None and await self._claims.of(fqdn, actor.only):
            return TokenMismatch(f"the reservation token is not that of a reservation of {fqdn}")
        return refused_hold(found, token_matches=tokens.matches(found, token_digest))

    # --- commit ------------------------------------------------------------------------------------

    async def commit(self, order: Commit, actor: Actor) -> Allocation:
        """Say what a domain should have in DNS, and take the next step; the same commit may be repeated for ever.

        byo-manual: the zone is served once the claim is proven. byo-api: pre-flight, undo sheet, zone, flip; a
        commit with the registrar's token goes on from wherever that stands. Raises what `refused_commit` names,
        PreflightBlocked and RegistrarFailure.
        """
        addresses = names.addresses(order.addresses)
        sovereign = names.domain(order.sovereign_fqdn) if order.sovereign_fqdn else None
        token_digest = tokens.digest(order.token)
        held = await self._of_token(order.fqdn, token_digest, actor)
        if held is not None and held.mode is Mode.POOL:  # of a pool domain that is not one any more
            return await self._allocator.commit(order.fqdn, order.token, order.addresses, order.sovereign_fqdn, actor)
        if held is not None and not held.is_claim:
            refusal = refused_commit(held, token_matches=True, addresses=addresses, sovereign_fqdn=sovereign)
            if refusal:
                raise refusal
            return await self._go_on(held, order, actor)
        if held is None or held.expired:
            raise await self._refused(order.fqdn, token_digest, actor)
        claim = held
        wish = Wish(addresses=addresses, sovereign_fqdn=sovereign, imports=())
        if claim.mode is Mode.BYO_API:
            asked, secret = self._registrars.asked(order.registrar, order.fqdn, order.registrar_token)
            flip = self._flips.claim(claim, wish, self._ordered(asked, secret, order, actor))
            return await self._in_time(flip, order.fqdn, token_digest, actor)
        return await self._commit_manual(claim, wish, order, actor)

    async def _of_token(self, fqdn: str, token_digest: bytes, actor: Actor) -> Allocation | None:
        """Return the allocation or the claim of a token, if it is the caller's."""
        if tokens.matches(held := await self._store.find(fqdn, actor.only), token_digest):
            return held
        if (claim := await self._claims.find(fqdn, token_digest, actor.only)) is not None:
            return claim
        # The watch may have made the one of the other between the two questions.
        return held if tokens.matches(held := await self._store.find(fqdn, actor.only), token_digest) else None

    def _ordered(self, asked: Asked, secret: str, order: Commit, actor: Actor) -> Order:
        return Order(asked=asked, secret=secret, acknowledged=order.acknowledged, imports=order.imports, actor=actor)

    async def _commit_manual(self, claim: Allocation, wish: Wish, order: Commit, actor: Actor) -> Allocation:
        if claim.committed_at and (claim.load_balancer_ips, claim.sovereign_fqdn) != (
            wish.addresses,
            wish.sovereign_fqdn,
        ):
            raise AlreadyActive(f"{claim.fqdn} was committed with other values; release it first to change them")
        if order.imports:
            survey = await self._surveyor.survey(claim.fqdn, _SURVEY_SECONDS)
            wish = msgspec.structs.replace(
                wish, imports=imported(survey.old, order.imports, self._surveyor.acme_issuers)
            )
        if await self._claims.wish(claim.id, wish, actor) is None:
            raise ReservationExpired(f"the reservation of {claim.fqdn} is over; reserve it again")
        # This very look may find the proof; else the watch goes on looking.
        await self._watch.look(claim.fqdn, _LOOK_SECONDS)
        held = await self._store.find(claim.fqdn)
        if held is not None and held.id == claim.id:
            return await self._allocator.outcome(held, _SERVE_SECONDS) or held
        found = await self._claims.find(claim.fqdn, claim.token_digest, None)
        if found is None:
            raise NotFound(f"somebody else proved {claim.fqdn} to be his")
        return found

    async def _go_on(self, held: Allocation, order: Commit, actor: Actor) -> Allocation:
        if held.mode is Mode.BYO_API and order.registrar_token:
            asked, secret = self._registrars.asked(order.registrar, order.fqdn, order.registrar_token)
            flip = self._flips.resume(held, self._ordered(asked, secret, order, actor))
            return await self._in_time(flip, order.fqdn, held.token_digest, actor)
        return await self._allocator.outcome(held) or held

    # --- release and rollback ------------------------------------------------------------------------

    async def release(
        self,
        fqdn: str,
        token: str | None,
        *,
        force: bool,
        registrar: str | None,
        registrar_token: str | None,
        actor: Actor,
    ) -> tuple[Allocation, bool]:
        """Give a domain back; return the allocation and whether it is gone already.

        Refused while the parent zone still names the platform, or has a DS of ours, unless `force`: then the zone
        goes at once. Otherwise it is served until no cache sends anybody here. With a registrar's token our DS is
        taken away first. Raises NotFound, TokenMismatch, Conflict, StillDelegated, RegistrarFailure.
        """
        token_digest = tokens.digest(token) if token else None
        held = await self._store.find(fqdn, actor.only)
        if held is not None and held.mode is Mode.POOL:  # of a pool domain that is not one any more
            return await self._allocator.release(fqdn, token, actor)
        if held is None or (token_digest and not tokens.matches(held, token_digest)):
            claim = await self._claim_to_release(fqdn, token_digest, held, actor)
            withdrawn = await self._claims.withdraw(claim.id, actor)
            return withdrawn or claim, True
        if held.state is State.RELEASING:
            return (await self._store.hasten(held.id) if force else None) or held, False
        looked = await self._watch.look(fqdn, _LOOK_SECONDS)
        if not force:
            await self._require_left(held, looked, registrar, registrar_token, actor)
        until = None if force else looked.memory.drained_by
        leaving = await self._store.release_byo(held.id, until, orphan=force and looked.report.points_here, actor=actor)
        if leaving is None:
            raise Conflict(f"{fqdn} has just changed; look at it again")
        outcome = await self._allocator.outcome(leaving, 0 if until else _SERVE_SECONDS)
        if outcome and outcome.id == leaving.id:
            return outcome, False
        return msgspec.structs.replace(leaving, dns_state=DnsState.NONE, ds=()), True

    async def _claim_to_release(
        self, fqdn: str, token_digest: bytes | None, held: Allocation | None, actor: Actor
    ) -> Allocation:
        """Return the claim that a release means; raises NotFound, TokenMismatch, Conflict."""
        if token_digest:
            claim = await self._claims.find(fqdn, token_digest, actor.only)
            if claim is None or claim.expired:
                raise (
                    await self._refused(fqdn, token_digest, actor)
                    if held or claim
                    else NotFound(f"there is no allocation of {fqdn}")
                )
            return claim
        claims = await self._claims.of(fqdn, actor.only)
        if len(claims) > 1:
            raise Conflict(f"there are {len(claims)} reservations of {fqdn}; send the reservationToken of one")
        if not claims:
            raise NotFound(f"there is no allocation of {fqdn}")
        return claims[0]

    async def _require_left(
        self, held: Allocation, looked: Looked, registrar: str | None, registrar_token: str | None, actor: Actor
    ) -> None:
        """Raise StillDelegated while the parent zone still sends anybody here, or has a DS of ours."""
        report = looked.report
        if not any(view.usable for view in report.parents):
            raise StillDelegated(f"it cannot be found out whether {held.fqdn} still points here; try again, or force")
        if report.points_here:
            raise StillDelegated(
                f"{held.fqdn} still points here: remove its DS, wait until that has passed, set other nameservers (or "
                "use rollback), then release it; force takes the zone away at once"
            )
        if not set(report.ds) & set(held.ds):
            return
        if not registrar_token:
            raise StillDelegated(
                f"the parent zone still has our DS of {held.fqdn}: remove it, or send the registrar's token"
            )
        asked, secret = self._registrars.asked(registrar, held.fqdn, registrar_token)
        await self._flips.remove_ds(held, Order(asked=asked, secret=secret, actor=actor))

    async def roll_back(
        self, fqdn: str, token: str | None, registrar: str | None, registrar_token: str | None, actor: Actor
    ) -> Allocation:
        """Give a domain its former nameservers back; raises NotFound, TokenMismatch, and as `Flips.roll_back`."""
        held = await self._store.find(fqdn, actor.only)
        if held is None or held.state is not State.ACTIVE or held.mode is not Mode.BYO_API:
            raise NotFound(f"there is no active domain {fqdn} whose nameservers the service has changed")
        if token and not tokens.matches(held, tokens.digest(token)):
            raise TokenMismatch(f"the reservation token is not that of the present holder of {fqdn}")
        if not registrar_token:
            raise MissingToken("send the registrar's token: it is kept nowhere")
        asked, secret = self._registrars.asked(registrar, fqdn, registrar_token)
        rollback = self._flips.roll_back(held, Order(asked=asked, secret=secret, actor=actor))
        return await self._in_time(rollback, fqdn, held.token_digest, actor)

    async def _in_time(
        self, steps: Coroutine[None, None, Allocation], fqdn: str, token_digest: bytes, actor: Actor
    ) -> Allocation:
        """Return what came of the steps; where they take too long, how the domain stands: the next call goes on.

        A change that is cut off is noted, so that it is looked for before anything else is sent.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await steps
        except TimeoutError:
            found = await self._of_token(fqdn, token_digest, actor)
            if found is None or found.is_claim:
                raise ApiUnavailable(
                    "the registrar, or the domain's nameservers, take too long; try again", 10
                ) from None
            return found

    # --- looking -------------------------------------------------------------------------------------

    async def validate(
        self, registrar: str | None, domain: str | None, token: str | None, *, transfer: bool
    ) -> Validated:
        """Test a registrar's token and run the pre-flight, by reading alone; raises as `Registrars.validate`."""
        start = monotonic()
        asked, found = await self._registrars.validate(registrar, domain, token)
        if not self._surveyor.enabled:
            return Validated(asked=asked, found=found, findings=(), rrsets=())
        left = max(2.0, min(_LOOK_SECONDS, _ANSWER_SECONDS - (monotonic() - start)))
        survey = await self._surveyor.survey(asked.domain, left, transfer=transfer)
        findings = await self._surveyor.judge(asked.domain, survey, registered_of(found))
        return Validated(asked=asked, found=found, findings=findings, rrsets=survey.old.rrsets if survey.old else ())

    async def preflight(self, domain: str, *, transfer: bool) -> tuple[str, tuple[Finding, ...], tuple[OldRRset, ...]]:
        """Return a domain in its one form, what a change by the customer himself would meet, and what its zone has."""
        fqdn = names.domain(domain)
        survey = await self._surveyor.survey(fqdn, _LOOK_SECONDS, transfer=transfer)
        findings = await self._surveyor.judge(fqdn, survey, None)
        return fqdn, findings, survey.old.rrsets if survey.old else ()

    async def find(self, fqdn: str, actor: Actor) -> Allocation:
        """Return what a client has of a domain: its allocation, else its oldest live claim; raises NotFound."""
        if (held := await self._store.find(fqdn, actor.only)) is not None:
            return held
        if claims := await self._claims.of(fqdn, actor.only):
            return claims[0]
        # The watch may have made the one of the other between the two questions.
        return await self._allocator.find(fqdn, actor)

    async def require_visible(self, fqdn: str, actor: Actor) -> None:
        """Raise NotFound for a name that others have and this client has not: its delegation is not his to see."""
        if actor.only is None or await self._store.find(fqdn, actor.only) or await self._claims.of(fqdn, actor.only):
            return
        if await self._store.find(fqdn) or await self._claims.of(fqdn):
            raise NotFound("there is no such delegation")
