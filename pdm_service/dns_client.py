"""One question to one nameserver, by UDP or TCP. Its answer is a message; where there is none, NoAnswer says why.

Nothing here retries, remembers or judges. A question that is not answered in its time is given up. What comes is
bounded before it is parsed (`dns_wire`), since a customer's nameserver may be anybody's.
"""

import asyncio

import dns.exception
import dns.message
from dns.message import Message

from pdm_service import dns_wire
from pdm_service.model.records import Nameserver

_PAYLOAD = 1232
"""The largest answer by UDP that is asked for, in bytes: it is not fragmented (DNS Flag Day 2020)."""
_PAYLOAD_WITHOUT_EDNS = 512
_MAX_STRAY = 50
"""Datagrams that are no answer to the question, before it is given up."""


class NoAnswer(Exception):
    """A nameserver cannot be reached, or says nothing that can be understood."""


class Truncated(Exception):
    """The answer does not fit into a UDP datagram; ask again by TCP."""


def question(name: str, rtype: str, *, edns: bool = True, dnssec: bool = False) -> Message:
    """Return a question without recursion (no RD); `dnssec` asks for signatures too (RFC 3225)."""
    query = dns.message.make_query(name, rtype, flags=0, use_edns=0 if edns else -1, payload=_PAYLOAD)
    if dnssec:
        query.want_dnssec(True)
    return query


async def exchange(query: Message, server: Nameserver, seconds: float, *, tcp: bool = False) -> Message:
    """Send one question once and return the answer; raises NoAnswer, and Truncated for a cut answer by UDP."""
    sent = query.to_wire()
    try:
        async with asyncio.timeout(seconds):
            wire = await (_by_tcp(sent, server) if tcp else _by_udp(sent, server, _largest(query)))
        if not tcp and wire[2] & 0x02:
            raise Truncated
        dns_wire.check(wire)
        return dns.message.from_wire(wire)
    except dns_wire.Refused as error:
        raise NoAnswer(f"{server.address} gives no usable answer: {error}") from error
    except (dns.exception.DNSException, OSError, EOFError, TimeoutError) as error:
        raise NoAnswer(f"{server.address} does not answer") from error


async def asked(query: Message, server: Nameserver, seconds: float) -> Message:
    """Ask by UDP, and by TCP where the answer is cut, each for at most `seconds`; raises NoAnswer."""
    try:
        return await exchange(query, server, seconds)
    except Truncated:
        return await exchange(query, server, seconds, tcp=True)


async def transfers(domain: str, server: Nameserver, seconds: float) -> bool:
    """Return whether a nameserver begins a transfer of a zone (AXFR, RFC 5936); reads its first message alone."""
    sent = question(domain, "AXFR", edns=False).to_wire()
    try:
        async with asyncio.timeout(seconds):
            return dns_wire.begins_with_soa(await _by_tcp(sent, server))
    except (OSError, EOFError, TimeoutError):
        return False


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the answer to one question; drops what is none."""

    def __init__(self, sent: bytes, largest: int) -> None:
        self._sent = sent
        self._largest = largest
        self._strays = 0
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _: object) -> None:
        """Take the answer."""
        if self.answer.done():
            return
        if len(data) <= self._largest and dns_wire.answers(data, self._sent):
            self.answer.set_result(data)
            return
        self._strays += 1
        if self._strays >= _MAX_STRAY:
            self.answer.set_exception(EOFError())

    def error_received(self, error: Exception) -> None:
        """Pass on that the server's host refuses."""
        if not self.answer.done():
            self.answer.set_exception(error)


async def _by_udp(sent: bytes, server: Nameserver, largest: int) -> bytes:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(sent, largest), remote_addr=(server.address, server.port)
    )
    try:
        transport.sendto(sent)
        return await protocol.answer
    finally:
        transport.close()


async def _by_tcp(sent: bytes, server: Nameserver) -> bytes:
    reader, writer = await asyncio.open_connection(server.address, server.port, limit=1 << 16)
    try:
        writer.write(len(sent).to_bytes(2) + sent)
        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.transport.abort()
    if not dns_wire.answers(wire, sent):
        raise EOFError
    return wire


def _largest(query: Message) -> int:
    return _PAYLOAD if query.edns >= 0 else _PAYLOAD_WITHOUT_EDNS
