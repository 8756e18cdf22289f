"""Scans of old zones that are under way: one a domain, which goes on when the request that began it has ended.

A slow server is not an absent record: what a request has no time to wait for, the next one finds.
"""

import asyncio
from collections.abc import Collection
from time import monotonic

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
_GOOD_SECONDS = 300.0
"""How long answers count while others are asked for again; then the scan begins anew."""

_Serials = dict[tuple[str, str], int | None]
"""The version of the zone that each nameserver has, by its name and address."""


class Underway:
    """One scan."""

    def __init__(self, serials: _Serials, servers: dict[str, Nameserver], scan: old_zone.Scan) -> None:
        self.serials = serials
        self.servers = servers
        """The nameservers of the old zone that serve it, by address."""
        self.scan = scan
        self.begun = monotonic()
        self.task: asyncio.Task[None]
        self.late = False
        """Whether a request has not waited for its end."""

    async def wait(self, seconds: float) -> OldZone:
        """Return what the zone has, or what was found of it within `seconds`."""
        await asyncio.wait({self.task}, timeout=seconds)
        self.late = self.late or not self.task.done()
        return self.scan.zone()

    def good(self, serials: _Serials) -> bool:
        """Return whether its answers are still those of the zone that its nameservers have."""
        return not self.task.done() or (serials == self.serials and monotonic() < self.begun + _GOOD_SECONDS)


class Scans:
    """All of this process."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._underway: dict[str, Underway] = {}

    async def of(self, seen: Observation, also: Collection[Question] = ()) -> Underway | None:
        """Return the scan of a domain at the other nameservers that its parent names; None where it names no others.

        `also` is asked beside the usual questions. What a scan of a moment ago got no answer to is asked again.
        """
        if not seen.others:
            return None
        serials = {(one.name, one.address): one.serial for one in seen.others if one.state == "serving"}
        if (found := self._going(seen.domain, serials, also)) is not None:
            return found
        begun = await self._new(seen.domain, serials, also)
        if (found := self._going(seen.domain, serials, also)) is not None:
            return found
        if len(self._underway) >= _AT_ONCE:
            oldest = next(iter(self._underway))
            self._underway.pop(oldest).task.cancel()
        self._underway[seen.domain] = begun
        self._run(seen.domain, begun)
        return begun

    def _going(self, domain: str, serials: _Serials, also: Collection[Question]) -> Underway | None:
        """Return the scan that there is already, going on where something has no answer."""
        underway = self._underway.get(domain)
        if underway is None or not underway.good(serials):
            return None
        underway.scan.also(also)
        if underway.task.done() and not underway.scan.complete:
            self._run(domain, underway)
        return underway

    async def _new(self, domain: str, serials: _Serials, also: Collection[Question]) -> Underway:
        round_ = self._round()
        hosts = await asyncio.gather(*(round_.host(name) for name in sorted({name for name, _ in serials})))
        servers = {one.address: one for host in hosts for one in host.addresses if (one.name, one.address) in serials}
        versions: dict[int | None, list[str]] = {}
        for one in servers.values():
            versions.setdefault(serials[one.name, one.address], []).append(one.address)
        return Underway(serials, servers, old_zone.Scan(domain, list(versions.values()), also))

    def _round(self) -> Round:
        return self._prober.round(budgets.SCAN, budgets.SCAN_QUERIES)

    def _run(self, domain: str, underway: Underway) -> None:
        underway.task = asyncio.create_task(underway.scan.run(_asking(self._round(), underway.servers)))
        underway.task.add_done_callback(lambda task: self._ended(domain, underway, task))

    def _ended(self, domain: str, underway: Underway, task: asyncio.Task[None]) -> None:
        def forget() -> None:
            if self._underway.get(domain) is underway and underway.task is task:
                del self._underway[domain]

        if underway.late and not task.cancelled():
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
