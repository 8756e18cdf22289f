"""What stands in DNS of names that nobody has there: the trail decides what becomes of it.

A zone carries the id of the allocation that it was made for. An id whose end the trail knows has left it behind, and it
goes. An id that the database does not know means that the database has lost something: the zone is kept, an operator is
told, and decides (`pdm adopt`, `pdm discard`).
"""

import logging
from collections import Counter
from typing import Literal
from uuid import UUID

from pdm_service import names
from pdm_service.model import zone
from pdm_service.model.allocation import Allocation
from pdm_service.powerdns import PowerDns, PowerDnsError, ZoneSettings
from pdm_service.publisher.parent_zones import LeaseLost, ParentZones
from pdm_service.store.events import Trail
from pdm_service.store.lost import Lost
from pdm_service.store.rows import Lease
from pdm_service.store.signals import Signals
from pdm_service.store.worklist import Worklist
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_LOOKS_AT_ONCE = 16

Fate = Literal["leftover", "lost", "foreign"]
"""It goes; it is kept, and an operator is told; it is no business of this service's."""


class Leftovers:
    """Finds them, and has them removed or told of."""

    def __init__(
        self,
        *,
        worklist: Worklist,
        trail: Trail,
        lost: Lost,
        powerdns: PowerDns,
        parents: ParentZones,
        signals: Signals,
        pool_domains: tuple[str, ...],
        keep_strays: bool,
        metrics: Metrics,
    ) -> None:
        self._worklist = worklist
        self._trail = trail
        self._lost = lost
        self._powerdns = powerdns
        self._parents = parents
        self._signals = signals
        self._pool_domains = pool_domains
        self._keep_strays = keep_strays
        self._metrics = metrics
        self._told: set[UUID] = set()

    # --- when ------------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Look at names that a late call may have changed; raises StoreUnavailable."""
        for fqdn, pool_domain in await self._worklist.late_and_free(_LOOKS_AT_ONCE):
            try:
                await self.look(fqdn, pool_domain)
            except PowerDnsError as failure:
                logs.event(_log, logging.DEBUG, "not looked at", {"fqdn": fqdn, "error": str(failure)})

    async def sort(self, zones: list[tuple[str, UUID]]) -> Counter[str]:
        """Have leftovers among zones with our mark removed; return how many are lost, by pool domain.

        An unknown zone of a customer's domain may be another deployment's on the same PowerDNS. Raises PowerDnsError,
        StoreUnavailable.
        """
        if not (found := await self._lost.without_allocation(zones)):
            return Counter()
        await self._worklist.look_at([fqdn for fqdn, _ in found])  # if it is published, then with another zone
        ended = await self._trail.ended(found)
        lost = Counter[str]()
        for fqdn, id_ in found:
            pool_domain = names.pool_of(fqdn, self._pool_domains)
            if id_ in ended:
                await self.look(fqdn, pool_domain)
            elif pool_domain is not None:
                self._tell(fqdn, id_)
                lost[pool_domain] += 1
        return lost

    async def stray(self, fqdn: str, pool_domain: str) -> None:
        """Look at a delegation that no allocation stands behind; raises PowerDnsError, StoreUnavailable."""
        if self._keep_strays or await self.look(fqdn, pool_domain) == "lost":
            logs.event(_log, logging.WARNING, "stray delegation kept", {"fqdn": fqdn})

    # --- one name --------------------------------------------------------------------------------

    async def look(self, fqdn: str, pool_domain: str | None) -> Fate | None:
        """See what DNS has of a name; None for nothing. A leftover is removed, of what is lost somebody is told.

        Raises PowerDnsError, StoreUnavailable.
        """
        child, in_parent = await self.standing(fqdn, pool_domain)
        if child is None and "NS" not in in_parent:
            return None
        fate = await self.fate(fqdn, child.account if child else None)
        if fate == "leftover":
            await self._remove(fqdn, pool_domain)
        return fate

    async def standing(self, fqdn: str, pool_domain: str | None) -> tuple[ZoneSettings | None, frozenset[str]]:
        """Return the zone of a name; where there is none, None, and which types the pool zone has of the name.

        Raises PowerDnsError.
        """
        name = f"{fqdn}."
        child = await self._powerdns.zone(name, rrset=name)
        if child is not None or pool_domain is None:
            return child, frozenset()
        parent = await self._powerdns.zone(f"{pool_domain}.", rrset=name)
        return None, frozenset(rrset.type for rrset in parent.sets()) if parent else frozenset()

    async def fate(self, fqdn: str, account: str | None) -> Fate:
        """Decide about a zone with this account, or a delegation without a zone (None); raises StoreUnavailable."""
        if account is None:
            return "leftover" if await self._trail.ended_all(fqdn) else "lost"
        if (id_ := zone.holding_of(account)) is None:
            return "foreign"
        if await self._trail.ended([(fqdn, id_)]):
            return "leftover"
        self._tell(fqdn, id_)
        return "lost"

    def _tell(self, fqdn: str, id_: UUID) -> None:
        if id_ not in self._told:
            self._told.add(id_)
            logs.event(_log, logging.WARNING, "zone of an unknown allocation", {"fqdn": fqdn, "allocation": str(id_)})

    async def _remove(self, fqdn: str, pool_domain: str | None) -> None:
        if await self._worklist.condemn(fqdn, pool_domain):
            self._metrics.drift()
            self._signals.work.set()
            logs.event(_log, logging.WARNING, "leftover", {"fqdn": fqdn})
        elif lease := await self._worklist.lease_reserved(fqdn):
            try:
                await self._clear(lease)
            finally:
                await self._worklist.give_up(lease)

    async def _clear(self, lease: Lease[Allocation]) -> None:
        """Take away what stands below a reservation, which cannot be published meanwhile."""
        child = await self._powerdns.zone(f"{lease.name}.", rrset=f"{lease.name}.")
        if await self.fate(lease.name, child.account if child else None) != "leftover":
            return
        try:
            if lease.row.pool_domain is not None:
                parent = self._parents.of(lease.row.pool_domain)
                await parent.apply(lease, zone.delegation(lease.name, (), ()))
            await self._powerdns.delete_zone(f"{lease.name}.")
        except LeaseLost:
            return  # it has changed hands, and is looked at again
        self._metrics.drift()
        logs.event(_log, logging.WARNING, "leftover", {"fqdn": lease.name})
