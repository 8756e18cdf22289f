"""What PowerDNS has, compared with what was published: at a cost by what has changed, not by what there is.

PowerDNS tells the mark and the serial of all zones in one answer, and the serial of a pool zone in another. Where a
serial is the one that was looked at last, nobody has changed the zone through the API; what differs is looked at
closely, by the publisher's audit. What is written past the API moves no serial, and is found when the name's turn comes
(`Pace.look`).
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime, timedelta

from pdm_service import names
from pdm_service.model import zone
from pdm_service.model.records import RRset
from pdm_service.powerdns import PowerDns
from pdm_service.publisher.leftovers import Leftovers
from pdm_service.store.signals import Signals
from pdm_service.store.worklist import Parent, Worklist, Zone
from pdm_service.telemetry.metrics import Metrics

_CHUNK = 1000
READ_WHOLE = timedelta(days=1)
"""How often a pool zone is read whole, whatever its serial says."""


class Comparison:
    """Finds what differs, and has it looked at."""

    def __init__(
        self,
        *,
        worklist: Worklist,
        leftovers: Leftovers,
        powerdns: PowerDns,
        signals: Signals,
        nameservers: tuple[str, ...],
        pool_domains: tuple[str, ...],
        metrics: Metrics,
    ) -> None:
        self._worklist = worklist
        self._leftovers = leftovers
        self._powerdns = powerdns
        self._signals = signals
        self._nameservers = nameservers
        self._pool_domains = pool_domains
        self._metrics = metrics

    # --- all zones of names ----------------------------------------------------------------------

    async def zones(self) -> None:
        """Have looked at what is not as it was, not there, or nobody's; raises PowerDnsError, StoreUnavailable.

        PowerDNS lists 20,000 zones in half a second, 100,000 in two and a half.
        """
        began, seen, lost, chunk = await self._worklist.now(), set[int](), Counter[str](), list[Zone]()
        async with aclosing(self._powerdns.zones()) as listing:
            async for one in listing:
                if (id_ := zone.holding_of(one.account)) is None:
                    continue
                chunk.append(Zone(one.name.removesuffix("."), id_, one.serial))
                seen.add(hash(chunk[-1].fqdn))
                if len(chunk) == _CHUNK:
                    lost += await self._zones(chunk)
                    chunk = []
        self._metrics.lost(lost + await self._zones(chunk))
        await self._missing(seen, began)

    async def _zones(self, zones: list[Zone]) -> Counter[str]:
        """Compare some zones; return how many are lost, by pool domain."""
        if await self._worklist.changed(zones):
            self._signals.work.set()
        return await self._leftovers.sort([(one.fqdn, one.id) for one in zones])

    async def _missing(self, seen: set[int], began: datetime, pool_domain: str | None = None) -> None:
        """Have those names looked at that were published before, and not seen."""
        after = ""
        while found := await self._worklist.published(after, began, _CHUNK, pool_domain):
            after = found[-1]
            if missing := [fqdn for fqdn in found if hash(fqdn) not in seen]:
                await self._worklist.look_at(missing)
                self._signals.work.set()

    # --- the delegations in a pool zone ----------------------------------------------------------

    async def delegations(self, domain: str, before: Parent, serial: int) -> None:
        """Compare the delegations of a pool zone where others have changed it, which had `serial` when it was `before`.

        The NS RRset of a delegation cannot be seen by DNS while parent and child are on one server, so it is read by
        the API, in one stream, which nothing waits for. Raises PowerDnsError, StoreUnavailable.
        """
        if before.unchanged(serial):
            return
        began, seen, chunk = await self._worklist.now(), set[int](), dict[str, dict[str, RRset]]()
        async with aclosing(self._powerdns.rrsets(f"{domain}.")) as rrsets:
            async for one in rrsets:
                fqdn = one.name.removesuffix(".")
                if one.type not in {"NS", "DS"} or fqdn == domain:
                    continue
                if fqdn not in chunk and len(chunk) == _CHUNK:
                    await self._delegations(domain, chunk)
                    chunk = {}
                chunk.setdefault(fqdn, {})[one.type] = one
                seen.add(hash(fqdn))
        await self._delegations(domain, chunk)
        await self._missing(seen, began, domain)
        await self._worklist.record_read(domain, serial, before.writes)

    async def _delegations(self, domain: str, found: dict[str, dict[str, RRset]]) -> None:
        known = await self._worklist.delegated(list(found))
        platform = {f"{host}." for host in self._nameservers}
        for fqdn, types in found.items():
            if fqdn in known:
                await self._known(domain, fqdn, known[fqdn], types.values())
            # A pool domain below this one is delegated without an allocation, whether its zone is made yet or not.
            elif "NS" in types and set(types["NS"].contents) == platform and not self._is_above_a_pool(fqdn):
                await self._leftovers.stray(fqdn, domain)

    async def _known(
        self, domain: str, fqdn: str, held: tuple[int, frozenset[str]] | None, found: Iterable[RRset]
    ) -> None:
        """Have a published name repaired whose delegation is another."""
        if held is None or zone.is_delegated(fqdn, self._nameservers, held[1], found):
            return
        # It may have been changed since it was read, by ourselves.
        parent = await self._powerdns.zone(f"{domain}.", rrset=f"{fqdn}.")
        if parent is None or zone.is_delegated(fqdn, self._nameservers, held[1], parent.sets()):
            return
        if await self._worklist.suspect(fqdn, held[0], f"the delegation of {fqdn} differed from what was published"):
            self._metrics.drift()
            self._signals.work.set()

    def _is_above_a_pool(self, fqdn: str) -> bool:
        return any(names.covers(fqdn, pool) for pool in self._pool_domains)
