"""Ask the DNS itself, from the root down, as a resolver does, but without a cache of what is watched.

A resolver would answer from its cache, and with the child's NS RRset instead of the parent's; so nothing here asks one.
Questions carry no RD. `Prober` has the way out and its limits, `Round` the questions of one observation.

Limits hold whatever a customer's nameservers do: 200 questions and 10 s a round, 200 questions of all rounds at
the same time, 24 at one address, of which each tenant and domain has a fair share (`shares`), and none at an address
that is not public.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from time import monotonic
from typing import TypeVar
from weakref import WeakValueDictionary

import dns.rcode
import dns.rdatatype
import msgspec
from dns.message import Message

from adapters.base import registrable
from pdm_service import dns_client, names
from pdm_service.delegations import budgets
from pdm_service.delegations.answers import Missing, Zone, rrsets, zone_in
from pdm_service.dns_client import NoAnswer, Truncated
from pdm_service.model.records import Nameserver
from pdm_service.shares import Shares

T = TypeVar("T")

ROUND_QUERIES = 200
_AT_ONCE, _AT_ONE_ADDRESS = 200, 24
MAX_SERVERS, MAX_ADDRESSES = 13, 4
_MAX_DEPTH = 4
"""How many names of nameservers may hang on one another."""
_REMEMBERED_SECONDS = 600.0
_NO_EDNS = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)
_IPV6_PROBE = ("2001:500:2::c", 53)


class OutOfBudget(NoAnswer):
    """The round's time or questions are used up."""


class Host(msgspec.Struct, frozen=True):
    """What the name of a nameserver resolves to."""

    addresses: tuple[Nameserver, ...] = ()
    alias: bool = False


class Prober:
    """Asks servers anywhere, within limits that all rounds share."""

    def __init__(
        self,
        *,
        hints: tuple[Nameserver, ...],
        port: int,
        addresses: tuple[Nameserver, ...],
        allow_private: bool,
    ) -> None:
        """`addresses` stand for what their names would resolve to."""
        self.port = port
        self.root = Zone("", tuple(hint.name for hint in hints), {})
        self._allow_private = allow_private
        self._configured: dict[str, tuple[Nameserver, ...]] = {}
        for server in (*addresses, *hints):
            self._configured[server.name] = (*self.known(server.name), server)
        self._trusted = {server.address for server in (*addresses, *hints)}
        self._turns = Shares(_AT_ONCE)
        self._lanes: WeakValueDictionary[str, Shares] = WeakValueDictionary()
        self._zones: dict[str, tuple[float, Zone]] = {}

    def round(self, seconds: float = budgets.ROUND, most: int = ROUND_QUERIES) -> "Round":
        """Begin a round of `most` questions, which ends after `seconds` whatever happens."""
        return Round(self, seconds, most)

    def known(self, host: str) -> tuple[Nameserver, ...]:
        """Return the addresses of a name as configured."""
        return self._configured.get(host, ())

    def may_contact(self, address: str) -> bool:
        """Return whether an address may be asked: a customer can name any address as that of a nameserver."""
        return self._allow_private or address in self._trusted or names.is_public(address)

    def remembered(self, name: str) -> Zone | None:
        """Return a zone that was met a short while ago."""
        until, zone = self._zones.get(name, (0.0, None))
        return zone if monotonic() < until else None

    def remember(self, zone: Zone) -> None:
        """Keep a zone's servers for a while; only of public suffixes, since other zones are what is watched."""
        if registrable(zone.name) is None:
            self._zones[zone.name] = (monotonic() + min(zone.ttl, _REMEMBERED_SECONDS), zone)

    async def exchange(self, query: Message, server: Nameserver, seconds: float, *, tcp: bool) -> Message:
        """Send one question once; raises NoAnswer, and Truncated for a cut answer by UDP."""
        lane = self._lanes.get(server.address) or Shares(_AT_ONE_ADDRESS)
        self._lanes[server.address] = lane
        try:
            async with asyncio.timeout(seconds), lane.turn(), self._turns.turn():
                return await dns_client.exchange(query, server, seconds, tcp=tcp)
        except TimeoutError as error:
            raise NoAnswer(f"{server.address} does not answer") from error


class Round:
    """One round: the questions that are left, what was found on the way, and nothing older."""

    def __init__(self, prober: Prober, seconds: float, most: int) -> None:
        """End after `seconds`, or `most` questions."""
        self._prober = prober
        self._until = monotonic() + seconds
        self._most = most
        self._hosts: dict[str, asyncio.Task[Host]] = {}
        self._without_edns: set[str] = set()
        self.queries = 0

    # --- questions -------------------------------------------------------------------------------

    async def ask(
        self, server: Nameserver, name: str, rtype: str, *, edns: bool = True, dnssec: bool = True, tcp: bool = False,
        tries: Sequence[float] = budgets.TRY,
    ) -> Message:  # fmt: skip
        """Ask one server one question, for each of `tries` seconds; a truncated answer is asked for again by TCP.

        A server that does not understand EDNS is asked without from then on (RFC 6891 section 7). Raises NoAnswer.
        """
        if not self._prober.may_contact(server.address):
            raise NoAnswer(f"{server.address} is not a public address")
        edns = edns and server.address not in self._without_edns
        reply = await self._ask(server, name, rtype, edns=edns, dnssec=edns and dnssec, tcp=tcp, tries=tries)
        if edns and reply.rcode() in _NO_EDNS:
            reply = await self._ask(server, name, rtype, edns=False, dnssec=False, tcp=tcp, tries=tries)
            if reply.rcode() not in _NO_EDNS:
                self._without_edns.add(server.address)
        return reply

    async def _ask(
        self, server: Nameserver, name: str, rtype: str, *, edns: bool, dnssec: bool, tcp: bool, tries: Sequence[float]
    ) -> Message:  # fmt: skip
        query = dns_client.question(f"{name}." if name else ".", rtype, edns=edns, dnssec=dnssec)
        tries = tries[:1] if tcp else tries
        for number, seconds in enumerate(tries, 1):
            try:
                return await self._prober.exchange(query, server, self._spend(seconds), tcp=tcp)
            except Truncated:
                return await self._prober.exchange(query, server, self._spend(tries[0]), tcp=True)
            except OutOfBudget:
                raise
            except NoAnswer:
                if number == len(tries):
                    raise
        raise AssertionError

    def _spend(self, seconds: float) -> float:
        """Count a question; return the time that it may take."""
        left = self._until - monotonic()
        if left <= 0 or self.queries >= self._most:
            raise OutOfBudget("the round's budget is used up")
        self.queries += 1
        return min(seconds, left)

    async def reply(
        self, server: Nameserver, name: str, rtype: str, *, edns: bool = True, tcp: bool = False
    ) -> Message | NoAnswer:
        """Return the answer to a question, or why there is none."""
        try:
            return await self.ask(server, name, rtype, edns=edns, tcp=tcp)
        except NoAnswer as failure:
            return failure

    @property
    def exhausted(self) -> bool:
        """Whether time or questions are used up."""
        return self.queries >= self._most or monotonic() >= self._until

    def may_contact(self, address: str) -> bool:
        """Return whether an address may be asked."""
        return self._prober.may_contact(address)

    def port_of(self, name: str, address: str) -> int:
        """Return the port at which a nameserver is asked."""
        known = {one.address: one.port for one in self._prober.known(name)}
        return known.get(address, self._prober.port)

    # --- the way down ----------------------------------------------------------------------------

    async def zone_of(self, name: str, depth: int = 0) -> Zone:
        """Return the deepest zone at or above a name; raises Missing and NoAnswer."""
        zone = self._prober.root
        labels = name.split(".") if name else []
        for index in range(len(labels) - 1, -1, -1):
            zone = await self._cut(zone, ".".join(labels[index:]), depth) or zone
        return zone

    async def parent_of(self, domain: str) -> Zone:
        """Return the zone in which a domain is, or would be, delegated; raises NoAnswer."""
        try:
            return await self.zone_of(domain.partition(".")[2])
        except Missing as missing:
            return missing.zone

    async def _cut(self, zone: Zone, name: str, depth: int) -> Zone | None:
        """Return the zone that begins at `name` below `zone`, None where there is none."""
        if remembered := self._prober.remembered(name):
            return remembered

        async def referred(server: Nameserver) -> Zone | None:
            return zone_in(await self.ask(server, name, "NS", tries=budgets.TRY[:1]), zone, name)

        found = await self._first(await self._addresses(zone, depth), referred)
        if found is not None:
            self._prober.remember(found)
        return found

    async def _addresses(self, zone: Zone, depth: int) -> list[Nameserver]:
        """Return addresses of a zone's servers, those first that are known without asking."""
        known = [server for name in zone.servers for server in self.glued(zone, name)]
        if known:
            return known
        hosts = await asyncio.gather(*(self.host(name, depth + 1) for name in zone.servers[:MAX_SERVERS]))
        return [server for host in hosts for server in host.addresses]

    def glued(self, zone: Zone, name: str) -> tuple[Nameserver, ...]:
        """Return the addresses of a zone's server that are known without asking."""
        configured = self._prober.known(name)
        glue = tuple(Nameserver(name, address, self._prober.port) for address in zone.glue.get(name, ()))
        return tuple(one for one in configured or glue if _has_route(one.address))

    async def _first(self, servers: list[Nameserver], question: Callable[[Nameserver], Awaitable[T]]) -> T:
        """Return the first usable answer; the next server is asked when one is slow. Raises NoAnswer, Missing."""
        if not servers:
            raise NoAnswer("no nameserver of the zone above has an address")
        pending: set[asyncio.Future[T]] = set()
        failure: NoAnswer = NoAnswer("no nameserver of the zone above answers")
        waiting = list(servers)
        try:
            while waiting or pending:
                if waiting:
                    pending.add(asyncio.ensure_future(question(waiting.pop(0))))
                done, pending = await asyncio.wait(
                    pending, timeout=budgets.HEDGE if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    try:
                        return one.result()
                    except NoAnswer as error:
                        failure = error
        finally:
            for one in pending:
                one.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        raise failure

    # --- names of nameservers --------------------------------------------------------------------

    async def host(self, name: str, depth: int = 0) -> Host:
        """Return the addresses of a nameserver's name; none where it has none or cannot be found out."""
        if configured := self._prober.known(name):
            return Host(tuple(one for one in configured if _has_route(one.address)))
        if depth > _MAX_DEPTH:
            return Host()
        if name not in self._hosts:
            self._hosts[name] = asyncio.create_task(self._resolve(name, depth))
        # Two names may wait for each other: none waits without end.
        try:
            async with asyncio.timeout(max(0.0, self._until - monotonic())):
                return await asyncio.shield(self._hosts[name])
        except TimeoutError:
            return Host()

    async def _resolve(self, name: str, depth: int) -> Host:
        try:
            zone = await self.zone_of(name, depth)
            servers = await self._addresses(zone, depth)
            replies = [await self._first(servers, self._question(name, rtype)) for rtype in ("A", "AAAA")]
        except (NoAnswer, Missing):
            return Host()
        if any(rrset.rdtype == dns.rdatatype.CNAME for reply in replies for rrset in reply.answer):
            return Host(alias=True)
        found = [
            rdata.address for reply in replies for rrset in rrsets(reply.answer, name, "A", "AAAA") for rdata in rrset
        ]
        servers = [Nameserver(name, address, self._prober.port) for address in found[:MAX_ADDRESSES]]
        return Host(tuple(one for one in servers if _has_route(one.address)))

    def _question(self, name: str, rtype: str) -> Callable[[Nameserver], Awaitable[Message]]:
        async def question(server: Nameserver) -> Message:
            reply = await self.ask(server, name, rtype, tries=budgets.TRY[:1])
            if reply.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
                raise NoAnswer(f"{server.address} answers {dns.rcode.to_text(reply.rcode())}")
            return reply

        return question


def _has_route(address: str) -> bool:
    return ":" not in address or address == "::1" or _has_ipv6()


@cache
def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_IPV6_PROBE)
        except OSError:
            return False
    return True
