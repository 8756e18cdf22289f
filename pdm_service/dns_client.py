"""One question to one nameserver, by UDP or TCP. Its answer is a message; where there is none, NoAnswer says why.

Nothing here retries, remembers or judges. A question that is not answered in its time is given up.
"""

import asyncio

import dns.asyncquery
import dns.exception
import dns.message
from dns.message import Message

from pdm_service.model.records import Nameserver

_PAYLOAD = 1232
"""The largest answer by UDP that is asked for, in bytes: it is not fragmented (DNS Flag Day 2020)."""


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
    try:
        async with asyncio.timeout(seconds):
            if tcp:
                return await dns.asyncquery.tcp(
                    query, server.address, timeout=seconds, port=server.port, one_rr_per_rrset=_is_transfer(query)
                )
            return await dns.asyncquery.udp(
                query, server.address, timeout=seconds, port=server.port,
                ignore_unexpected=True, ignore_errors=True, raise_on_truncation=True,
            )  # fmt: skip
    except dns.message.Truncated as error:
        raise Truncated from error
    except (dns.exception.DNSException, OSError, EOFError, TimeoutError) as error:
        raise NoAnswer(f"{server.address} does not answer") from error


async def asked(query: Message, server: Nameserver, seconds: float) -> Message:
    """Ask by UDP, and by TCP where the answer is cut, each for at most `seconds`; raises NoAnswer."""
    try:
        return await exchange(query, server, seconds)
    except Truncated:
        return await exchange(query, server, seconds, tcp=True)


def _is_transfer(query: Message) -> bool:
    """Whether an answer may hold the same name and type twice, far apart (RFC 5936)."""
    return query.question[0].rdtype == dns.rdatatype.AXFR
