"""The declarative resource: a name is made what its owner says it should be, by one call that may be repeated.

The service returns what was asked for verbatim, so it normalises nothing: a value not in its one form is refused.
"""

from pdm_service import names
from pdm_service.allocator import budgets
from pdm_service.allocator.pool_names import PoolNames
from pdm_service.callers import Actor
from pdm_service.errors import AlreadyActive, Conflict, InvalidAddress, InvalidText, NotCanonical, UnsupportedPool
from pdm_service.model.allocation import Allocation, State
from pdm_service.model.standing import Question
from pdm_service.publisher.outcome import Outcomes
from pdm_service.store.allocations import Allocations
from pdm_service.store.declarations import Declaration, Declarations
from pdm_service.wire import DeclareRequest


class Declared:
    """The verb behind PUT."""

    def __init__(
        self, pool_names: PoolNames, declarations: Declarations, allocations: Allocations, outcomes: Outcomes
    ) -> None:
        self._pool_names = pool_names
        self._declarations = declarations
        self._allocations = allocations
        self._outcomes = outcomes

    async def put(
        self, fqdn: str, owner: str, asked: DeclareRequest, actor: Actor, key: str | None
    ) -> tuple[Allocation, bool]:
        """Make a name what is asked for; return it as DNS has it by now, and whether it is new.

        `key` opens a brand. Raises Conflict for what another one holds, AlreadyActive for a published name that
        should be without addresses, NotCanonical, and as `PoolNames.reserve`.
        """
        wanted = self._declaration(fqdn, owner, asked)
        allocation, new = await self._change(wanted, actor) or await self._make(wanted, actor, key)
        if allocation.state is not State.ACTIVE:
            return allocation, new
        return await self._outcomes.of(allocation, budgets.OUTCOME) or allocation, new

    def _declaration(self, fqdn: str, owner: str, asked: DeclareRequest) -> Declaration:
        _verbatim("the name in the path", fqdn, names.domain(fqdn))
        if names.split(fqdn, self._pool_names.pools) is None:
            raise UnsupportedPool("a name that is declared lies directly below a pool domain")
        name, pool, label = self._pool_names.name(asked.pool_domain, asked.subdomain)
        _verbatim("poolDomain", asked.pool_domain, pool)
        _verbatim("subdomain", asked.subdomain, label)
        _verbatim("the name in the path", fqdn, name)
        if asked.created_by is not None:
            names.text("createdBy", asked.created_by)
        if asked.sovereign_fqdn is not None:
            _verbatim("sovereignFQDN", asked.sovereign_fqdn, names.domain(asked.sovereign_fqdn))
        return Declaration(
            fqdn=name,
            pool_domain=pool,
            subdomain=label,
            tenant=owner_of(owner),
            created_by=asked.created_by,
            sovereign_fqdn=asked.sovereign_fqdn,
            addresses=_addresses(asked),
        )

    async def _change(self, wanted: Declaration, actor: Actor) -> tuple[Allocation, bool] | None:
        """Return the name that its owner has, as wanted now; None if there is none."""
        found = await self._allocations.find(wanted.fqdn)
        if found is None or found.expired:
            return None
        if not (actor.everything or found.owner == actor.name) or not found.is_declared_for(wanted.tenant):
            raise Conflict(f"{wanted.fqdn} is held by somebody else, or was not declared by this owner")
        if found.state is State.RELEASING:
            raise Conflict(f"{wanted.fqdn} is being released; declare it again once it is gone")
        if found.state is State.ACTIVE and not wanted.addresses:
            raise AlreadyActive(f"{wanted.fqdn} is published; delete it to take its addresses away")
        changed = await self._declarations.change(found.id, wanted, actor)
        return changed or await self._allocations.find(wanted.fqdn) or found, False

    async def _make(self, wanted: Declaration, actor: Actor, key: str | None) -> tuple[Allocation, bool]:
        actor.require_pool(wanted.pool_domain)
        self._pool_names.usable(wanted.subdomain, wanted.fqdn, actor, key)
        if made := await self._declarations.make(wanted, actor):
            return made, True
        # The same call may have been faster elsewhere, by a hair.
        if found := await self._change(wanted, actor):
            return found
        raise await self._pool_names.taken(
            Question(wanted.fqdn, wanted.pool_domain, wanted.subdomain, actor.name, wanted.tenant)
        )


def owner_of(text: str) -> str:
    """Return the owner of a resource as it is; raises InvalidText."""
    if not text:
        raise InvalidText("owner says whom the resource belongs to, and must not be empty")
    return names.text("owner", text)


def _addresses(asked: DeclareRequest) -> tuple[str, ...]:
    single = [] if asked.load_balancer_ip is None else [asked.load_balancer_ip]
    given = single if asked.load_balancer_ips is None else asked.load_balancer_ips
    if not given and asked.load_balancer_ips is None:
        return ()
    found = names.addresses(given)
    _verbatim("the addresses", ",".join(given), ",".join(found))
    if single and single[0] != found[0]:
        raise InvalidAddress("loadBalancerIP is the first of loadBalancerIPs; send only one of the two")
    return found


def _verbatim(what: str, given: str, canonical: str) -> None:
    if given != canonical:
        raise NotCanonical(f"{what} is not in the form in which the service returns it; send it as {canonical}")
