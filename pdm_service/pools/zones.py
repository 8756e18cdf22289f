"""Pool zones: there, signed, with the settings that delegations need, and free of stray delegations."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from random import uniform

import msgspec

from pdm_service import names
from pdm_service.errors import StoreUnavailable
from pdm_service.model import zone
from pdm_service.model.records import RRset
from pdm_service.powerdns import RECTIFY_SECONDS, PowerDns, PowerDnsError, ZoneSettings
from pdm_service.publisher.comparison import READ_WHOLE, Comparison
from pdm_service.publisher.nameservers import Nameservers, NotSeen
from pdm_service.store.allocations import Allocations
from pdm_service.store.signals import Signals
from pdm_service.store.worklist import Worklist
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)
_WRITER_SECONDS = 2 * RECTIFY_SECONDS
_RETRY_SECONDS = (1.0, 5.0)


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What was last seen of a pool zone."""

    ready: bool = False
    ds: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    last_error: str | None = None
    checked_at: datetime | None = None


class PoolZones:
    """Keeps the zone of every pool domain as it should be."""

    def __init__(
        self,
        *,
        domains: tuple[str, ...],
        nameservers: tuple[str, ...],
        asked: Nameservers,
        allocations: Allocations,
        worklist: Worklist,
        powerdns: PowerDns,
        comparison: Comparison,
        signals: Signals,
        interval: timedelta,
    ) -> None:
        self._nameservers = nameservers
        self._asked = asked
        self._allocations = allocations
        self._worklist = worklist
        self._powerdns = powerdns
        self._comparison = comparison
        self._signals = signals
        self._interval = interval
        self.status: dict[str, PoolStatus] = dict.fromkeys(domains, PoolStatus())

    async def turn(self, domain: str) -> None:
        """Bring one pool zone in order, and wait until its next check."""
        try:
            self.status[domain] = await self._keep(domain)
            pause = self._interval.total_seconds() * uniform(0.75, 1.25)
        except (PowerDnsError, StoreUnavailable, NotSeen) as error:
            before = self.status[domain]
            if before.last_error != str(error):
                logs.event(_log, logging.WARNING, "pool zone", {"poolDomain": domain, "error": str(error)})
            self.status[domain] = msgspec.structs.replace(before, last_error=str(error))
            pause = uniform(*_RETRY_SECONDS)
        await asyncio.sleep(pause)

    async def _keep(self, domain: str) -> PoolStatus:
        if holder := (await self._allocations.overlapping([domain])).get(domain):
            # Whose name it is concerns the operator, who reads the log, and nobody else.
            logs.event(_log, logging.WARNING, "pool domain is taken", {"poolDomain": domain, "by": holder})
            error = f"{domain} is, or lies below, a name that is allocated: it cannot be a pool domain"
            return PoolStatus(last_error=error, checked_at=datetime.now(UTC))
        async with self._worklist.writer_of(domain, _WRITER_SECONDS) as writer:
            changed, problems = await self._make(f"{domain}.")
            # While nobody of ours changes it: else a serial would not fit the count of changes.
            before = await writer.known(domain, READ_WHOLE)
            head = await self._powerdns.zone(f"{domain}.", rrset=f"{domain}.")
        ds = await self._powerdns.ds(f"{domain}.")
        if changed:
            logs.event(_log, logging.INFO, "pool zone", {"poolDomain": domain, "changed": changed})
        if not self.status[domain].ready:
            await self._worklist.hurry()
            self._signals.work.set()
        if head is not None:
            await self._comparison.delegations(domain, before, head.serial)
        return PoolStatus(ready=True, ds=ds, problems=tuple(problems), checked_at=datetime.now(UTC))

    # --- the zone --------------------------------------------------------------------------------

    async def _make(self, name: str) -> tuple[list[str], list[str]]:
        """Make the pool zone as it should be; return what was changed, and what only a person can fix."""
        hosts = tuple(f"{nameserver}." for nameserver in self._nameservers)
        apex = RRset(name=name, type="NS", ttl=zone.TTL_SECONDS, contents=hosts)
        glue, problems = await self._addresses_within(name)
        rrsets = (zone.soa(name, hosts[0]), apex, *glue)
        changed = []
        seen = await self._powerdns.zone(name, rrset=name)
        if seen is not None and all(rrset.type != "SOA" for rrset in seen.sets()):
            # A creation that was cut off: the server does not serve the zone, and can set nothing of it, before.
            await self._powerdns.patch(name, rrsets)
            changed.append("completed")
            seen = await self._powerdns.zone(name, rrset=name)
        if seen is None:
            await self._powerdns.create_zone(name, zone.POOL_SETTINGS, rrsets)
            return ["created"], problems
        changed += await self._adjust(name, seen)
        present = {rrset.type: rrset for rrset in seen.sets()}
        if not apex.same(msgspec.structs.replace(present["NS"], ttl=apex.ttl) if "NS" in present else None):
            problems.append("the zone's NS RRset is not the platform's nameservers")
        return changed, problems

    async def _adjust(self, name: str, seen: ZoneSettings) -> list[str]:
        changed = []
        metadata = await self._powerdns.metadata(name)
        unsigned = not seen.dnssec or not await self._powerdns.ds(name)
        if unsigned or any(metadata.get(kind) != values for kind, values in zone.POOL_METADATA.items()):
            if unsigned:
                # A server may believe in keys whose creation failed; taking them away comes before making some.
                await self._powerdns.change_settings(name, {"dnssec": False})
            denials = {**zone.POOL_SETTINGS, "dnssec": True}
            del denials["api_rectify"]
            await self._powerdns.change_settings(name, denials)
            await self._powerdns.rectify(name)
            # Last: it is also the mark that the steps before it are done.
            await self._powerdns.change_settings(name, {"api_rectify": False})
            changed.append("settings")
        for soa in (rrset for rrset in seen.sets() if rrset.type == "SOA"):
            words = soa.contents[0].split()
            if int(words[6]) > zone.MAX_POOL_NEGATIVE_TTL_SECONDS:
                content = " ".join([*words[:6], str(zone.NEGATIVE_TTL_SECONDS)])
                await self._powerdns.patch(name, [msgspec.structs.replace(soa, contents=(content,))])
                changed.append("soa")
        return changed

    async def _addresses_within(self, name: str) -> tuple[list[RRset], list[str]]:
        """Return address RRsets for nameservers that lie in the zone itself, and the problem of each unknown one."""
        inside = [host for host in self._nameservers if names.covers(name.removesuffix("."), host)]
        known: dict[tuple[str, str], list[str]] = {}
        for server in await self._asked.addresses() if inside else ():
            rtype = "A" if ip_address(server.address).version == 4 else "AAAA"
            known.setdefault((server.name, rtype), []).append(server.address)
        rrsets = [
            RRset(name=f"{host}.", type=rtype, ttl=zone.TTL_SECONDS, contents=tuple(dict.fromkeys(addresses)))
            for (host, rtype), addresses in known.items()
            if host in inside
        ]
        unknown = [host for host in inside if all(host != found for found, _ in known)]
        return rrsets, [f"the address of {host} is not known; set PDM_NAMESERVER_ADDRESSES" for host in unknown]
