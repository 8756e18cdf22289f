"""What a zone holds, found by asking its nameservers for the names that zones usually have.

There is no way to list a zone but its transfer, which most nameservers refuse; what is asked here is what others
were hurt by losing: mail, web, verifications, delegations, and what the answers point at. A name of its own kind is
found only if somebody names it.
"""

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import dns.flags
import dns.rcode
import dns.rdatatype
import dns.rrset
import msgspec
from dns.message import Message

from pdm_service import names
from pdm_service.byo import presentation
from pdm_service.delegations.prober import OutOfBudget
from pdm_service.dns_client import NoAnswer
from pdm_service.model.observation import OldZone, Unseen, mail_questions
from pdm_service.model.records import RRset
from pdm_service.model.zone import ADDRESS_TYPES

Question = tuple[str, str]
"""A name, and a type."""

_AT_ONCE = 32
_LOSSY = 2
"""Lost answers after which a server is asked by TCP first."""
_DEAD = 3
"""Lost answers after which one that has never answered is left alone."""
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
_TAKEN = presentation.TYPES | {"SOA"}
_TARGETS = {"MX": 1, "SRV": 3, "CNAME": 0, "NS": 0, "HTTPS": 1, "SVCB": 1}
"""Which word of a record is the host that it points at."""
_MOST = 400
"""Questions that answers may lead to."""


class Ask(Protocol):
    """The way to the nameservers."""

    async def __call__(self, address: str, name: str, rtype: str, *, tcp: bool) -> Message:
        """Return an address's answer; raises NoAnswer, and OutOfBudget once nothing more is asked."""
        ...


def questions(domain: str) -> list[Question]:
    """Return the names and types that are asked for; an address question also finds a CNAME and a delegation."""
    found = [(domain, rtype) for rtype in _APEX]
    found += [(f"{label}.{domain}", rtype) for label in _HOSTS for rtype in ("A", "AAAA")]
    found += [(f"{label}.{domain}", "A") for label in ("autodiscover", "autoconfig", "mta-sts")]
    found += [(f"{label}.{domain}", "TXT") for label in ("_dmarc", "_mta-sts", "_acme-challenge")]
    found += [(f"{label}._domainkey.{domain}", "TXT") for label in _DKIM]
    return found + [(f"{label}.{domain}", "SRV") for label in _SERVICES]


class Scan:
    """What is asked of a zone, and what has been answered so far. No answer is not "there is nothing"."""

    def __init__(self, domain: str, versions: Sequence[Sequence[str]], named: Collection[Question] = ()) -> None:
        """`versions` are addresses of nameservers, those together that have the same version of the zone.

        `named` is asked beside the usual questions.
        """
        self._domain = domain
        self._versions = [[_Server(address) for address in addresses] for addresses in versions]
        self._stranger = f"x{secrets.token_hex(8)}.{domain}"
        strange = [(self._stranger, rtype) for rtype in ("A", "AAAA", "TXT", "MX")]
        self._replies: dict[Question, list[Message]] = {}
        asked = [*mail_questions(domain), *questions(domain), *named, *strange]
        self._tries: dict[Question, list[str]] = {question: [] for question in asked}
        """Why a question has no answer; nothing: it was not asked yet."""
        self._turns = itertools.count()
        self._named = {name for name, _ in named}
        """Names that somebody wants, or an answer points at: whatever answers for them, they are meant."""
        self._next: deque[Question] = deque()

    @property
    def complete(self) -> bool:
        """Whether all is answered."""
        return len(self._replies) == len(self._tries)

    async def run(self, ask: Ask) -> None:
        """Ask everything that has no answer; ends when all has, or nothing is left to ask with.

        Never raises for servers.
        """
        self._tries = {question: [] for question in self._tries}
        self._next = deque(question for question in self._tries if question not in self._replies)
        for server in itertools.chain.from_iterable(self._versions):
            server.begin(ask)
        asking: set[asyncio.Task[None]] = set()
        try:
            while self._next or asking:
                while self._next and len(asking) < _AT_ONCE:
                    asking.add(asyncio.create_task(self._ask(next(self._turns), self._next.popleft())))
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def also(self, wanted: Collection[Question]) -> None:
        """Ask these too: now, or in the next run where this one has ended."""
        self._named |= {name for name, _ in wanted}
        for question in wanted:
            self._add(question)

    def _add(self, question: Question) -> None:
        if question not in self._tries:
            self._tries[question] = []
            self._next.append(question)

    async def _ask(self, number: int, question: Question) -> None:
        found = [await self._of_version(number, question, servers) for servers in self._versions]
        if found and all(found):
            self._replies[question] = [reply for replies in found for reply in replies]
            for reply in self._replies[question]:
                self._follow(_rrsets(reply, self._domain))

    def _follow(self, found: Iterable[RRset]) -> None:
        """Ask for what an answer points at: hosts inside the zone, and whether a delegation is signed."""
        for rrset in found:
            if rrset.type == "NS" and rrset.name == f"{self._domain}.":
                continue
            hosts = {name for content in rrset.contents if (name := _target(rrset.type, content))}
            inside = sorted(name for name in hosts if names.covers(self._domain, name))
            further = [(name, rtype) for name in inside for rtype in ADDRESS_TYPES]
            if rrset.type == "NS":
                further.append((rrset.name.removesuffix("."), "DS"))
            if rrset.name != f"{self._stranger}.":
                self._named |= set(inside)
            for question in further:
                if len(self._tries) < _MOST:
                    self._add(question)

    async def _of_version(self, number: int, question: Question, servers: list["_Server"]) -> list[Message]:
        """Return the answers of the servers with one version of the zone: of one of them, about mail of all."""
        found: list[Message] = []
        for turn in range(len(servers)):
            server = servers[(number + turn) % len(servers)]
            if server.dead or (found and question not in mail_questions(self._domain)):
                continue
            reply = await server.reply(*question)
            if isinstance(reply, Message):
                found.append(reply)
            else:
                self._tries[question].append(f"{server.address}: {reply}")
        return found

    def zone(self) -> OldZone:
        """Return what was found so far."""
        found: dict[tuple[str, str], RRset] = {}
        for replies in self._replies.values():
            for rrset in (one for reply in replies for one in _rrsets(reply, self._domain)):
                known = found.get((rrset.name, rrset.type))
                found[rrset.name, rrset.type] = _joined(known, rrset) if known else rrset
        wildcard = [rrset for (name, _), rrset in found.items() if name == f"{self._stranger}."]
        named = {f"{name}." for name in (*self._named, self._domain)}
        kept = _without_wildcard(found, wildcard, named, self._domain)
        return OldZone(
            domain=self._domain,
            asked=tuple(sorted(one.address for servers in self._versions for one in servers if one.answers)),
            rrsets=tuple(sorted(kept, key=lambda one: (one.name, one.type))),
            wildcard=bool(wildcard),
            unanswered=tuple(
                Unseen(name=f"{name}.", type=rtype, tries=tuple(tries))
                for (name, rtype), tries in self._tries.items()
                if (name, rtype) not in self._replies
            ),
        )


class _Server:
    """One address, and how it has answered."""

    _ask: Ask

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers = 0
        self._lost = 0

    def begin(self, ask: Ask) -> None:
        """Ask it by this way from now on; what was lost before tells nothing any more."""
        self._ask = ask
        self._lost = 0

    @property
    def dead(self) -> bool:
        """Whether it has never answered; one lost answer tells nothing."""
        return not self.answers and self._lost >= _DEAD

    async def reply(self, name: str, rtype: str) -> Message | str:
        """Return its answer to a question, or why there is none.

        What is lost by UDP is asked for by TCP, which no rate limit of answers holds back; once several were lost, TCP
        is tried first.
        """
        why = ""
        for tcp in (True, False) if self.answers and self._lost >= _LOSSY else (False, True):
            try:
                reply = await self._ask(self.address, name, rtype, tcp=tcp)
            except OutOfBudget as failure:
                return str(failure)
            except NoAnswer as failure:
                self._lost += not tcp
                why = str(failure)
            else:
                self.answers += 1
                return reply if _says(reply, name) else _what(reply)
        return why


def _says(reply: Message, name: str) -> bool:
    """Return whether a reply says what stands at a name, or that nothing does."""
    if reply.flags & dns.flags.AA:
        return reply.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
    cuts = [one for one in reply.authority if one.rdtype == dns.rdatatype.NS]
    below = any(names.covers(one.name.to_text().lower(), f"{name}.") for one in cuts)
    return reply.rcode() == dns.rcode.NOERROR and (bool(reply.answer) or below)


def _what(reply: Message) -> str:
    rcode = reply.rcode()
    return "not authoritative" if rcode in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN} else dns.rcode.to_text(rcode)


def _joined(one: RRset, other: RRset) -> RRset:
    """Return what two versions of a zone have of one RRset: what either has would be lost."""
    return msgspec.structs.replace(one, contents=tuple(sorted({*one.contents, *other.contents})))


def _without_wildcard(
    found: dict[tuple[str, str], RRset], wildcard: list[RRset], named: set[str], domain: str
) -> list[RRset]:
    """Return the RRsets; those that only the wildcard produces as one RRset of its own, but for named ones."""
    same = {(one.type, one.contents) for one in wildcard}
    kept = [
        one for one in found.values()
        if one not in wildcard and (one.name in named or (one.type, one.contents) not in same)
    ]  # fmt: skip
    return kept + [RRset(name=f"*.{domain}.", type=one.type, ttl=one.ttl, contents=one.contents) for one in wildcard]


def _target(rtype: str, content: str) -> str | None:
    """Return the host that a record points at, without the trailing dot; None where it points at none."""
    words = content.split()
    place = _TARGETS.get(rtype)
    host = words[place].lower().removesuffix(".") if place is not None and place < len(words) else ""
    return host or None


def _rrsets(reply: Message, domain: str) -> list[RRset]:
    """Return what an answer holds of the zone: its answer, a delegation below the apex, and that one's glue."""
    section = list(reply.answer)
    if not reply.flags & dns.flags.AA:
        cuts = [one for one in reply.authority if one.rdtype == dns.rdatatype.NS]
        hosts = {rdata.target: cut.name for cut in cuts for rdata in cut}
        section += [one for one in reply.authority if one.rdtype in {dns.rdatatype.NS, dns.rdatatype.DS}]
        section += [
            one for one in reply.additional
            if dns.rdatatype.to_text(one.rdtype) in ADDRESS_TYPES and one.name in hosts
            and one.name.is_subdomain(hosts[one.name])
        ]  # fmt: skip
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
