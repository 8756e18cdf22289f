"""The one door: every verb that a caller may say of a name. Which verbs it has is decided by the row that is stored.

A pool name and a customer's domain differ in how they are reserved, committed and released; callers of this module
need not know which one they have.
"""

from datetime import datetime

import msgspec

from pdm_service import names, shares
from pdm_service.allocator.customer_domains import CustomerDomains
from pdm_service.allocator.declared import Declared
from pdm_service.allocator.orders import Commit, Committed, Release
from pdm_service.allocator.pool_names import PoolNames
from pdm_service.allocator.refusals import refused_hold
from pdm_service.allocator.reservations import Reservations
from pdm_service.callers import Actor
from pdm_service.delegations.unserved import unserved
from pdm_service.delegations.watch import Watch
from pdm_service.errors import InvalidFormat, NotFound, NoUndoSheet
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, Claim, Filter, Mode
from pdm_service.model.event import Event
from pdm_service.model.observation import Known
from pdm_service.store.allocations import Allocations
from pdm_service.store.claims import Claims
from pdm_service.store.events import Trail
from pdm_service.store.holdings import Holdings
from pdm_service.store.registrar_changes import Change, Changes, UndoSheet


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """How a customer's domain was before its nameservers were changed, and what was changed last."""

    fqdn: str
    sheet: UndoSheet
    made_at: datetime
    last: Change | None


class Allocator:
    """What callers may do with names."""

    def __init__(
        self,
        *,
        pool_names: PoolNames,
        customer_domains: CustomerDomains,
        declared: Declared,
        reservations: Reservations,
        allocations: Allocations,
        claims: Claims,
        holdings: Holdings,
        changes: Changes,
        trail: Trail,
        watch: Watch,
    ) -> None:
        self.pool_names = pool_names
        self.customer_domains = customer_domains
        self.declared = declared
        self._reservations = reservations
        self._allocations = allocations
        self._claims = claims
        self._holdings = holdings
        self._changes = changes
        self._trail = trail
        self._watch = watch

    def fqdn(self, fqdn: str | None, pool_domain: str | None, subdomain: str | None) -> str:
        """Return the name that a request means by its fqdn, or by pool domain and subdomain.

        Raises InvalidFormat, UnsupportedPool.
        """
        if fqdn is not None and pool_domain is None and subdomain is None:
            return names.domain(fqdn)
        if fqdn is None and pool_domain is not None and subdomain is not None:
            return self.pool_names.name(pool_domain, subdomain)[0]
        raise InvalidFormat("name the allocation either by fqdn, or by poolDomain and subdomain")

    # --- verbs -----------------------------------------------------------------------------------

    async def renew(self, fqdn: str, token: str, ttl_seconds: int | None, actor: Actor) -> Allocation:
        """Extend a reservation or a claim; raises InvalidTtl, and what `refused_hold` names."""
        token_digest = tokens.digest(token)
        ttl = self._reservations.hold_time(ttl_seconds)
        held = await self._reservations.of_token(fqdn, token_digest, actor)
        renew = self._claims.renew if isinstance(held, Claim) else self._allocations.renew
        if renewed := await renew(fqdn, token_digest, ttl, actor):
            return renewed
        # What was read before may have changed meanwhile.
        held = await self._reservations.of_token(fqdn, token_digest, actor)
        raise refused_hold(held, token_matches=True)

    async def commit(self, order: Commit, actor: Actor) -> Committed:
        """Say what a name should have in DNS, and wait a while for it; raises as the commits of its mode.

        Raises also InvalidAddress, MissingAddress, InvalidFormat for what is wrong with the values.
        """
        addresses = names.addresses(order.addresses)
        sovereign = names.domain(order.sovereign_fqdn) if order.sovereign_fqdn else None
        held = await self._reservations.of_token(order.fqdn, tokens.digest(order.token), actor)
        shares.begin(shares.whose(held.owner, held.tenant), held.fqdn, waits=True)
        if held.mode is Mode.POOL:
            return Committed(allocation=await self.pool_names.commit(order, addresses, sovereign, actor))
        return await self.customer_domains.commit(held, order, addresses, sovereign, actor)

    async def release(self, order: Release, actor: Actor) -> tuple[Allocation, bool]:
        """Give a name back; return the allocation and whether the name is free already.

        Raises NotFound, TokenMismatch, ReservationExpired, Conflict; of a customer's domain also StillDelegated,
        ChangeUnderWay, RegistrarFailure.
        """
        held = await self._reservations.to_release(order, actor)
        shares.begin(shares.whose(held.owner, held.tenant), held.fqdn, waits=True)
        verbs = self.pool_names if held.mode is Mode.POOL else self.customer_domains
        return await verbs.release(held, order, actor)

    # --- reading ---------------------------------------------------------------------------------

    async def find(self, fqdn: str, actor: Actor, declared_for: str | None = None) -> Allocation:
        """Return what a client has of a name (or what was declared for an owner); raises InvalidFormat, NotFound."""
        found = await self._reservations.of_name(names.domain(fqdn), actor)
        if declared_for is not None and not found.is_declared_for(declared_for):
            raise NotFound("there is no such allocation")
        return found

    async def page(self, wanted: Filter, after: str, limit: int) -> list[Allocation]:
        """Return live allocations and claims behind a place (`Allocation.place`), by name."""
        return await self._holdings.page(wanted, after, limit)

    async def events(self, fqdn: str, actor: Actor, after: int, limit: int) -> list[Event]:
        """Return a client's audit trail of a name behind an entry, oldest first; raises NotFound if there is none."""
        found = await self._trail.of(fqdn, actor.only, after, limit)
        if not found and not after:
            raise NotFound("no event is recorded for that name")
        return found

    async def export(self, after: tuple[int, int], since: datetime | None, limit: int) -> list[Event]:
        """Return the audit trail of all names behind a place, in an order that nothing can still slip into."""
        return await self._trail.export(after, since, limit)

    async def delegation(self, domain: str, actor: Actor, *, fresh: bool) -> Known:
        """Return how far a delegation has come; `fresh` observes it now, but not too often.

        Raises InvalidFormat, StoreUnavailable; NotFound for what others have and this client has not. That others only
        claim a domain is not to be seen: it is as if nobody had it.
        """
        fqdn = names.domain(domain)
        own = actor.only is None or await self._holdings.of_name(fqdn, actor.only)
        others = () if own else await self._holdings.of_name(fqdn, None)
        if not all(isinstance(one, Claim) for one in others):
            raise NotFound("there is no such delegation")
        shares.begin(shares.whose(actor.name), fqdn, waits=True)
        found = await self._watch.known(fqdn, fresh=fresh)
        if others:
            return msgspec.structs.replace(found, due_at=None)
        # The observation may have made an allocation of a claim.
        held = await self._holdings.of_name(fqdn, actor.only)
        claims = [one for one in held if isinstance(one, Claim)]
        only_claimed = bool(claims) and len(claims) == len(held)
        return msgspec.structs.replace(found, report=unserved(found.report, claims)) if only_claimed else found

    async def undo(self, fqdn: str, actor: Actor) -> Undo:
        """Return how a domain was before the flip; raises InvalidFormat, NoUndoSheet."""
        name = names.domain(fqdn)
        held = await self._allocations.find(name, actor.only)
        sheet = await self._changes.sheet(held.id) if held else None
        if held is None or sheet is None or sheet.made_at is None:
            raise NoUndoSheet(f"the service has not changed the nameservers of {name}")
        last = await self._changes.last(held.id, "nameservers", "rollback", "ds", "ds-removal")
        return Undo(fqdn=name, sheet=sheet, made_at=sheet.made_at, last=last)
