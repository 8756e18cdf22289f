"""What a zone holds, found by asking its nameservers for the names that zones usually have.

There is no way to list a zone but its transfer, which most nameservers refuse; what is asked here is what others
were hurt by losing: mail, web, verifications, delegations. A name of its own kind is not found.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

import dns.flags
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.message import Message

from pdm_service import names
from pdm_service.dns_client import NoAnswer
from pdm_service.model.observation import OldZone
from pdm_service.model.records import RRset

Ask = Callable[[str, str, str], Awaitable[Message]]
"""Asks an address for a name and a type; raises NoAnswer."""

_AT_ONCE = 16
_APEX = ("SOA", "NS", "A", "AAAA", "MX", "TXT", "CAA", "HTTPS", "SRV")
_HOSTS = (
    "www", "mail", "webmail", "smtp", "imap", "pop", "ftp", "api", "app", "blog", "shop", "dev", "test", "staging",
    "cdn", "static", "vpn", "remote", "portal", "support", "docs", "status", "m", "ns1", "ns2", "console", "gitea",
    "harbor",
)  # fmt: skip
_DKIM = (
    "default", "google", "selector1", "selector2", "k1", "k2", "s1", "s2", "mail", "dkim", "mxvault", "protonmail",
)  # fmt: skip
_SERVICES = (
    "_sip._tls", "_sipfederationtls._tcp", "_autodiscover._tcp", "_imaps._tcp", "_submission._tcp", "_caldavs._tcp",
    "_carddavs._tcp", "_xmpp-server._tcp",
)  # fmt: skip
_TAKEN = {"A", "AAAA", "CNAME", "MX", "TXT", "CAA", "SRV", "NS", "HTTPS", "SOA"}


def questions(domain: str) -> list[tuple[str, str]]:
    """Return the names and types that are asked for; an address question also finds a CNAME and a delegation."""
    found = [(domain, rtype) for rtype in _APEX]
    found += [(f"{label}.{domain}", rtype) for label in _HOSTS for rtype in ("A", "AAAA")]
    found += [(f"{label}.{domain}", "A") for label in ("autodiscover", "autoconfig", "mta-sts")]
    found += [(f"{label}.{domain}", "TXT") for label in ("_dmarc", "_mta-sts", "_acme-challenge")]
    found += [(f"{label}._domainkey.{domain}", "TXT") for label in _DKIM]
    return found + [(f"{label}.{domain}", "SRV") for label in _SERVICES]


async def scan(domain: str, addresses: Sequence[str], ask: Ask) -> OldZone:
    """Return what was found of a zone at these addresses; never raises for what they do."""
    stranger = f"x{secrets.token_hex(8)}.{domain}"
    asked = [*questions(domain), (stranger, "A"), (stranger, "TXT")]
    slots = asyncio.Semaphore(_AT_ONCE)
    dead: set[str] = set()

    async def answer(number: int, name: str, rtype: str) -> Message | None:
        async with slots:
            for turn in range(len(addresses)):
                address = addresses[(number + turn) % len(addresses)]
                if address in dead:
                    continue
                try:
                    reply = await ask(address, name, rtype)
                except NoAnswer:
                    dead.add(address)
                    continue
                if reply.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
                    return reply
        return None

    replies = await asyncio.gather(*(answer(number, *question) for number, question in enumerate(asked)))
    found: dict[tuple[str, str], RRset] = {}
    for reply in replies:
        for rrset in _rrsets(reply, domain) if reply else ():
            found.setdefault((rrset.name, rrset.type), rrset)
    wildcard = [rrset for (name, _), rrset in found.items() if name == f"{stranger}."]
    return OldZone(
        domain=domain,
        asked=tuple(sorted(set(addresses) - dead)),
        rrsets=tuple(
            sorted(_without_wildcard(found, wildcard, stranger, domain), key=lambda one: (one.name, one.type))
        ),
        wildcard=bool(wildcard),
        complete=all(reply is not None for reply in replies),
    )


def _without_wildcard(
    found: dict[tuple[str, str], RRset], wildcard: list[RRset], stranger: str, domain: str
) -> list[RRset]:
    """Return the RRsets; those that only the wildcard produces as one RRset of its own."""
    same = {(one.type, one.contents) for one in wildcard}
    kept = [
        one for one in found.values()
        if one.name != f"{stranger}." and (one.name == f"{domain}." or (one.type, one.contents) not in same)
    ]  # fmt: skip
    return kept + [RRset(name=f"*.{domain}.", type=one.type, ttl=one.ttl, contents=one.contents) for one in wildcard]


def _rrsets(reply: Message, domain: str) -> list[RRset]:
    """Return what an answer holds of the zone: its answer, and a delegation below the apex."""
    section = list(reply.answer)
    if not reply.flags & dns.flags.AA:
        section = [one for one in reply.authority if one.rdtype == dns.rdatatype.NS]
    found = [_old(rrset) for rrset in section if dns.rdatatype.to_text(rrset.rdtype) in _TAKEN]
    below = [one for one in found if names.covers(f"{domain}.", one.name)]
    return [one for one in below if one.type != "NS" or reply.flags & dns.flags.AA or one.name != f"{domain}."]


def _old(rrset: dns.rrset.RRset) -> RRset:
    return RRset(
        name=rrset.name.to_text().lower(),
        type=dns.rdatatype.to_text(rrset.rdtype),
        ttl=rrset.ttl,
        contents=tuple(sorted(rdata.to_text() for rdata in rrset)),
    )
