"""Scans of old zones that are under way: one a domain, which goes on when the request that began it has ended.

A slow server is not an absent record: what a request has no time to wait for, the next one finds.
"""

import asyncio
from collections.abc import Collection

from dns.message import Message

from pdm_service.byo import budgets, old_zone
from pdm_service.byo.old_zone import Question
from pdm_service.delegations.prober import Prober, Round
from pdm_service.dns_client import NoAnswer
from pdm_service.model.observation import Observation, OldZone
from pdm_service.model.records import Nameserver

_AT_ONCE = 64
"""Of more the oldest is given up."""
_KEPT_SECONDS = 60.0
"""How long what came after the request is kept for the next one."""


class Underway:
    """One scan."""

    def __init__(self, servers: dict[str, Nameserver], scan: old_zone.Scan) -> None:
        self.servers = servers
        """The nameservers of the old zone that serve it, by address."""
        self.scan = scan
        self.task = asyncio.create_task(scan.run())
        self.late = False
        """Whether a request has not waited for its end."""

    async def wait(self, seconds: float) -> OldZone:
        """Return what the zone has, or what was found of it within `seconds`."""
        await asyncio.wait({self.task}, timeout=seconds)
        self.late = self.late or not self.task.done()
        return self.scan.zone()


class Scans:
    """All of this process."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._underway: dict[str, Underway] = {}

    async def of(self, seen: Observation, also: Collection[Question] = ()) -> Underway | None:
        """Return the scan of a domain at the other nameservers that its parent names; None where it names no others.

        `also` is asked beside the usual questions.
        """
        if not seen.others:
            return None
        if (underway := self._underway.get(seen.domain)) is not None and underway.scan.also(also):
            return underway
        begun = await self._begin(seen, also)
        if len(self._underway) >= _AT_ONCE:
            oldest = next(iter(self._underway))
            self._underway.pop(oldest).task.cancel()
        underway = self._underway.get(seen.domain)
        if underway is not None and underway.scan.also(also):
            begun.task.cancel()
            return underway
        self._underway[seen.domain] = begun
        return begun

    async def _begin(self, seen: Observation, also: Collection[Question]) -> Underway:
        round_ = self._prober.round(budgets.SCAN, budgets.SCAN_QUERIES)
        serving = {(one.name, one.address): one.serial for one in seen.others if one.state == "serving"}
        hosts = await asyncio.gather(*(round_.host(name) for name in sorted({name for name, _ in serving})))
        servers = {one.address: one for host in hosts for one in host.addresses if (one.name, one.address) in serving}
        versions: dict[int | None, list[str]] = {}
        for one in servers.values():
            versions.setdefault(serving[one.name, one.address], []).append(one.address)
        scan = old_zone.Scan(seen.domain, list(versions.values()), _asking(round_, servers), also)
        underway = Underway(servers, scan)
        underway.task.add_done_callback(lambda _: self._ended(seen.domain, underway))
        return underway

    def _ended(self, domain: str, underway: Underway) -> None:
        def forget() -> None:
            if self._underway.get(domain) is underway:
                del self._underway[domain]

        if underway.late and not underway.task.cancelled():
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, forget)
        else:
            forget()

    async def close(self) -> None:
        """Call off all of them."""
        tasks = [one.task for one in self._underway.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _asking(round_: Round, servers: dict[str, Nameserver]) -> old_zone.Ask:
    async def ask(address: str, name: str, rtype: str, *, tcp: bool) -> Message:
        if address not in servers:
            raise NoAnswer(f"{address} is not one of the zone's nameservers")
        # Without signatures, which make answers large: nobody checks them here.
        return await round_.ask(servers[address], name, rtype, dnssec=False, tcp=tcp, tries=(budgets.SCAN_TRY,))

    return ask
