"""Ask the platform's nameservers themselves, by DNS: what they answer is what counts.

Asking is I/O; what an answer means is decided in the small functions at the end.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from time import monotonic

import dns.dnssec
import dns.flags
import dns.rcode
import dns.rdata
import msgspec
from dns.rdata import Rdata

from pdm_service import dns_client
from pdm_service.dns_client import NoAnswer
from pdm_service.model.records import Nameserver, RRset
from pdm_service.model.zone import ADDRESS_TYPES, Wanted, canonical_names
from pdm_service.powerdns import PowerDns, PowerDnsError
from pdm_service.publisher import budgets

_TRIES = 2
_REMEMBERED_SECONDS = 300.0
_SHUNNED_SECONDS = 10.0


class NotSeen(Exception):
    """A nameserver does not answer as wanted (yet), or none answers at all."""


class Answer(msgspec.Struct, frozen=True):
    """What one nameserver said to one question."""

    authoritative: bool = False
    failed: str = ""
    """The response code, where it is a failure of the server (SERVFAIL and the like)."""
    records: tuple[Rdata, ...] = ()
    """Of the asked name and type."""

    def same(self, rtype: str, contents: Iterable[str]) -> bool:
        """Return whether the records are those, in any order and letter case."""
        if self.failed:
            return False
        wanted = {dns.rdata.from_text("IN", rtype, content).to_digestable() for content in contents}
        return wanted == {record.to_digestable() for record in self.records}


class Nameservers:
    """The platform's nameservers, wherever they answer."""

    def __init__(self, names: tuple[str, ...], addresses: tuple[Nameserver, ...], powerdns: PowerDns) -> None:
        self._names = names
        self._configured = addresses
        self._powerdns = powerdns
        self._known: tuple[Nameserver, ...] = addresses
        self._known_until = 0.0
        self._shunned: dict[Nameserver, float] = {}
        self._turn = 0

    async def addresses(self) -> tuple[Nameserver, ...]:
        """Return where the nameservers are: as configured, else as their names resolve.

        Where no name resolves (a fresh platform, a laptop) it is PowerDNS's own listener.
        """
        if self._configured:
            return self._configured
        if monotonic() >= self._known_until:
            found = await asyncio.gather(*(_resolve(name) for name in self._names))
            self._known = tuple(server for servers in found for server in servers) or await self._own_listener()
            self._known_until = monotonic() + _REMEMBERED_SECONDS
        return self._known

    async def _own_listener(self) -> tuple[Nameserver, ...]:
        try:
            listeners = await self._powerdns.listeners()
        except PowerDnsError as error:
            raise NotSeen(str(error)) from error
        hosts = {(self._powerdns.host if ip_address(host).is_unspecified else host, port) for host, port in listeners}
        found = await asyncio.gather(*(_resolve(host, port, name="") for host, port in sorted(hosts)))
        return tuple(server for servers in found for server in servers)

    async def everywhere(self, check: Callable[[Nameserver], Awaitable[str | None]]) -> None:
        """Run `check`, which returns what is wrong, at every nameserver; raises NotSeen.

        A nameserver that cannot be reached serves nobody a wrong answer and is passed over, as long
        as one other answers.
        """
        now = monotonic()
        servers = await self.addresses()
        awake = [server for server in servers if self._shunned.get(server, 0) <= now] or list(servers)
        verdicts = await asyncio.gather(*(self._verdict(server, check) for server in awake))
        heard = [verdict for verdict in verdicts if verdict is not None]
        if not heard:
            msg = "no nameserver answers"
            raise NotSeen(msg)
        if wrong := [verdict for verdict in heard if verdict]:
            raise NotSeen("; ".join(wrong))

    async def _verdict(self, server: Nameserver, check: Callable[[Nameserver], Awaitable[str | None]]) -> str | None:
        """Return what is wrong at a nameserver, an empty text if nothing is, None if it cannot be reached."""
        try:
            problem = await check(server)
        except NoAnswer:
            self._shunned[server] = monotonic() + _SHUNNED_SECONDS
            return None
        self._shunned.pop(server, None)
        return f"{server.name or server.address}: {problem}" if problem else ""

    async def one(self) -> Nameserver:
        """Return one nameserver, a different one each time."""
        servers = await self.addresses()
        self._turn += 1
        return servers[self._turn % len(servers)]

    async def served(self, zone: str, ds: tuple[str, ...]) -> None:
        """Return once every nameserver serves a zone with the keys of `ds`; raises NotSeen."""

        async def check(server: Nameserver) -> str | None:
            if not ds_matches(await ask(server, zone, "DNSKEY"), zone, ds):
                return f"{zone} is not served with its keys"
            return None

        await self.everywhere(check)

    async def delegated(self, zone: str, ds: tuple[str, ...]) -> None:
        """Return once every nameserver has `ds` for the zone in its parent; raises NotSeen.

        Only DS is answered from the parent, when parent and child are on one server (RFC 4035
        section 3.1.4.1).
        """

        async def check(server: Nameserver) -> str | None:
            answer = await ask(server, zone, "DS")
            return None if answer.same("DS", ds) else f"DS of {zone} is not as written in its parent"

        await self.everywhere(check)

    async def have(self, rrsets: Iterable[RRset]) -> None:
        """Return once every nameserver answers with these RRsets; raises NotSeen."""
        wanted = tuple(rrsets)

        async def check(server: Nameserver) -> str | None:
            for rrset in wanted:
                if not (await ask(server, rrset.name, rrset.type)).same(rrset.type, rrset.contents):
                    return f"{rrset.name} {rrset.type} is not as written"
            return None

        if wanted:
            await self.everywhere(check)

    async def gone(self, zone: str) -> None:
        """Return once no nameserver serves the zone any more; raises NotSeen."""

        async def check(server: Nameserver) -> str | None:
            answer = await ask(server, zone, "SOA")
            return f"{zone} is still served" if answer.records or answer.failed else None

        await self.everywhere(check)

    async def differences(self, server: Nameserver, want: Wanted) -> list[str]:
        """Return in which RRsets of ours a nameserver differs from what was published; raises NoAnswer."""
        wanted = {(rrset.name, rrset.type): rrset.contents for rrset in want.rrsets}
        questions = [(want.zone, "NS")]
        if want.delegated:
            wanted[want.zone, "DS"] = want.known_ds
            questions.append((want.zone, "DS"))
        questions += [(name, rtype) for name in canonical_names(want.zone) for rtype in ADDRESS_TYPES]
        found = [
            f"{name} {rtype}"
            for name, rtype in questions
            if not (await ask(server, name, rtype)).same(rtype, wanted.get((name, rtype), ()))
        ]
        keys = await ask(server, want.zone, "DNSKEY")
        return found if ds_matches(keys, want.zone, want.known_ds) else [*found, f"{want.zone} DNSKEY"]


async def ask(server: Nameserver, name: str, rtype: str) -> Answer:
    """Ask one nameserver one question, without recursion; raises NoAnswer."""
    query = dns_client.question(name, rtype)
    for attempt in range(_TRIES):
        try:
            reply = await dns_client.asked(query, server, budgets.QUERY)
        except NoAnswer:
            if attempt == _TRIES - 1:
                raise
        else:
            break
    # REFUSED: the server has neither the zone nor one above it, so it serves nothing of that name.
    if reply.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.REFUSED}:
        return Answer(failed=dns.rcode.to_text(reply.rcode()))
    asked = query.question[0]
    rrset = reply.get_rrset(reply.answer, asked.name, asked.rdclass, asked.rdtype)
    return Answer(authoritative=bool(reply.flags & dns.flags.AA), records=tuple(rrset or ()))


def ds_matches(answer: Answer, zone: str, ds: tuple[str, ...]) -> bool:
    """Return whether an answer to DNSKEY holds a key for every DS (RFC 4034 section 5.1.4)."""
    wanted = {dns.rdata.from_text("IN", "DS", one).to_digestable() for one in ds}
    made = {dns.dnssec.make_ds(zone, key, "SHA256").to_digestable() for key in answer.records}
    return answer.authoritative and bool(wanted) and wanted <= made


async def _resolve(host: str, port: int = 53, *, name: str | None = None) -> list[Nameserver]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(budgets.RESOLVE):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError):
        return []
    # Link-local and other scoped addresses cannot be asked by the plain address.
    hosts = dict.fromkeys(str(entry[4][0]) for entry in found if "%" not in str(entry[4][0]))
    return [Nameserver(host if name is None else name, address, port) for address in hosts]
