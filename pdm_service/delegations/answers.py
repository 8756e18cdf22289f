"""What an answer of a nameserver means. Pure, but for the checking of signatures against today's date."""

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import msgspec
from dns.message import Message

from pdm_service import names
from pdm_service.dns_client import NoAnswer
from pdm_service.model.observation import ChallengeState, ChallengeView, ParentState, ParentView, ServerState

_DIGESTS = ("SHA1", "SHA256", "SHA384")
_MAX_KEYS = 16
_AROUND = " \t\r\n\u00a0\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
_MAX_TEXT, _MAX_TEXTS = 80, 4
"""What is shown of TXT records at a challenge; what they prove is judged by all of it."""
_MAX_TRIES = 8
"""Signatures that are verified; validating resolvers have such a limit since CVE-2023-50387."""


class Zone(msgspec.Struct, frozen=True):
    """A zone that was met on the way down, with its nameservers."""

    name: str
    """Without a trailing dot; "" is the root."""
    servers: tuple[str, ...]
    glue: dict[str, tuple[str, ...]]
    ttl: int = 0


class Missing(Exception):
    """A name on the way down does not exist; `zone` is the deepest one above."""

    def __init__(self, zone: Zone) -> None:
        super().__init__(zone.name)
        self.zone = zone


def parent_view(view: ParentView, reply: Message, parent: str, domain: str) -> ParentView:
    """Return the view with the state and the NS RRset of a parent server's reply."""
    authoritative = bool(reply.flags & dns.flags.AA)
    if reply.rcode() == dns.rcode.NXDOMAIN:
        return msgspec.structs.replace(view, state="nxdomain" if authoritative else "failed")
    if reply.rcode() != dns.rcode.NOERROR:
        return msgspec.structs.replace(view, state="failed", error=dns.rcode.to_text(reply.rcode()))
    answered, referred = rrsets(reply.answer, domain, "NS"), rrsets(reply.authority, domain, "NS")
    # Some servers set AA in referrals as well; what refers to the domain itself does so all the same.
    if (answered and authoritative) or (referred and not reply.answer):
        found = answered or referred
        state: ParentState = "answer" if answered else "referral"
        return msgspec.structs.replace(view, state=state, nameservers=hosts(found), ns_ttl=found[0].ttl)
    if authoritative:
        return msgspec.structs.replace(view, state="nodata")
    above = [rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.NS]
    upward = any(_covers(_plain(rrset.name), parent) for rrset in above)
    return msgspec.structs.replace(view, state="upward" if upward else "failed")


def server_state(reply: Message, domain: str) -> ServerState:
    """Return what a nameserver's reply to SOA says of its serving the zone."""
    if reply.rcode() == dns.rcode.REFUSED:
        return "refused"
    if reply.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return "failed"
    if reply.flags & dns.flags.AA and rrsets(reply.answer, domain, "SOA"):
        return "serving"
    above = [rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.NS]
    upward = not reply.flags & dns.flags.AA and any(_covers(_plain(rrset.name), domain) for rrset in above)
    return "upward" if upward and not reply.answer else "not-serving"


def is_answer(reply: Message) -> bool:
    """Return whether a reply is a zone's own word on what stands at a name."""
    return bool(reply.flags & dns.flags.AA) and reply.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}


def txt_in(reply: Message, name: str) -> frozenset[str]:
    """Return the texts of the TXT records at a name, the parts of each joined."""
    found = rrsets(reply.answer, name, "TXT")
    return frozenset(b"".join(rdata.strings).decode("utf-8", "replace") for rrset in found for rdata in rrset)


def bare(texts: frozenset[str]) -> frozenset[str]:
    """Return texts without the blanks and quotes around them that forms of providers keep."""
    return frozenset(text.strip(_AROUND) for text in texts)


def legible(texts: frozenset[str]) -> tuple[str, ...]:
    """Return a few texts for people to read: sorted, cut, and without what cannot be printed."""
    plain = ("".join(one if one.isprintable() else "\ufffd" for one in text) for text in sorted(texts)[:_MAX_TEXTS])
    return tuple(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}\u2026" for text in plain)


def challenge_view(view: ChallengeView, reply: Message, name: str) -> ChallengeView:
    """Return the view with what a reply to TXT says of a challenge's name."""
    if not is_answer(reply):
        rcode = reply.rcode()
        error = "not authoritative" if rcode == dns.rcode.NOERROR else dns.rcode.to_text(rcode)
        return msgspec.structs.replace(view, state="failed", error=error)
    if texts := txt_in(reply, name):
        return msgspec.structs.replace(view, state="texts", texts=legible(texts))
    if aliases := rrsets(reply.answer, name, "CNAME"):
        return msgspec.structs.replace(view, state="alias", alias=_plain(aliases[0][0].target))
    state: ChallengeState = "nxdomain" if reply.rcode() == dns.rcode.NXDOMAIN else "nodata"
    return msgspec.structs.replace(view, state=state)


def zone_in(reply: Message, zone: Zone, name: str) -> Zone | None:
    """Return the zone that a reply to NS refers to, None for no cut; raises Missing, and NoAnswer where it is lame."""
    authoritative = bool(reply.flags & dns.flags.AA)
    if reply.rcode() == dns.rcode.NXDOMAIN and authoritative:
        raise Missing(zone)
    if reply.rcode() != dns.rcode.NOERROR:
        raise NoAnswer(f"a nameserver of {zone.name or 'the root'} answers {dns.rcode.to_text(reply.rcode())}")
    found = (rrsets(reply.answer, name, "NS") if authoritative else []) or rrsets(reply.authority, name, "NS")
    if found:
        return Zone(name, hosts(found), _glue(reply), found[0].ttl)
    if authoritative:
        return None
    raise NoAnswer(f"a nameserver of {zone.name or 'the root'} does not serve it")


def _glue(reply: Message) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for rrset in reply.additional:
        if rrset.rdtype in {dns.rdatatype.A, dns.rdatatype.AAAA}:
            name = _plain(rrset.name)
            found[name] = (*found.get(name, ()), *(rdata.address for rdata in rrset))
    return found


def ds_in(reply: Message, domain: str) -> tuple[tuple[str, ...] | None, int | None]:
    """Return DS and their TTL, (None, None) where the reply is not the parent's word."""
    if reply.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN} or not reply.flags & dns.flags.AA:
        return None, None
    found = rrsets(reply.answer, domain, "DS")
    return tuple(sorted(ds_text(one) for rrset in found for one in rrset)), found[0].ttl if found else None


def signing_ds(answer: list[dns.rrset.RRset], domain: str) -> tuple[str, ...]:
    """Return the DS of the keys that sign the DNSKEY RRset now (RFC 4035 section 5.2).

    Of a set with more keys than a zone needs, or more signatures that could be theirs, only the first ones are tried:
    each try costs processor time, and keys can be made to share a tag.
    """
    keys, signatures = rrsets(answer, domain, "DNSKEY"), rrsets(answer, domain, "RRSIG")
    if not keys or not signatures or len(keys[0]) > _MAX_KEYS:
        return ()
    tags = [(key, dns.dnssec.key_id(key)) for key in keys[0]]
    possible = [
        (key, signature)
        for signature in list(signatures[0])[:_MAX_KEYS]
        for key, tag in tags
        if (signature.key_tag, signature.algorithm) == (tag, key.algorithm)
    ]
    found: set[str] = set()
    for key, signature in possible[:_MAX_TRIES]:
        alone = dns.rrset.from_rdata(keys[0].name, keys[0].ttl, key)
        try:
            dns.dnssec.validate_rrsig(keys[0], signature, {keys[0].name: alone})
        except (dns.exception.DNSException, ValueError):
            continue
        found |= {ds_text(dns.dnssec.make_ds(keys[0].name, key, one, validating=True)) for one in _DIGESTS}
    return tuple(sorted(found))


def rrsets(section: list[dns.rrset.RRset], name: str, *rtypes: str) -> list[dns.rrset.RRset]:
    """Return the RRsets of a name and types in a section."""
    types = {dns.rdatatype.from_text(rtype) for rtype in rtypes}
    return [rrset for rrset in section if rrset.rdtype in types and _plain(rrset.name) == name]


def hosts(ns: list[dns.rrset.RRset]) -> tuple[str, ...]:
    """Return the nameservers of NS RRsets."""
    return tuple(sorted({_plain(rdata.target) for rrset in ns for rdata in rrset}))


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def ds_text(ds: object) -> str:
    """Return a DS or CDS in presentation form, the digest whole and in lower case."""
    words = str(ds).split()
    return " ".join([*words[:3], "".join(words[3:]).lower()])


def _covers(upper: str, lower: str) -> bool:
    return not upper or names.covers(upper, lower)
