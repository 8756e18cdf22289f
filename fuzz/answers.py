"""Bytes as the answer of a nameserver: what is done with them from the socket to the verdict."""

import contextlib
from time import process_time

import dns.exception
import dns.flags
import dns.message
import dns.rrset

from pdm_service import dns_wire
from pdm_service.delegations import answers
from pdm_service.delegations.answers import Missing, Zone
from pdm_service.dns_client import NoAnswer, question
from pdm_service.model.observation import ParentView

DOMAIN, PARENT = "acme.zz", "zz"
MOST_SECONDS = 0.1
"""Of processor time that one answer may cost: the event loop stands still meanwhile."""
_VIEW = ParentView(name="ns.nic.zz", address="192.0.2.1", state="unasked")
_ABOVE = Zone(PARENT, ("ns.nic.zz",), {})
_RECORDS = (
    "acme.zz. 60 IN NS ns1.acme.zz.",
    "acme.zz. 60 IN SOA ns1.acme.zz. h.acme.zz. 1 2 3 4 5",
    "acme.zz. 60 IN MX 10 mx.acme.zz.",
    'acme.zz. 60 IN TXT "v=spf1 -all" "x"',
    "acme.zz. 60 IN DS 1 13 2 " + "ab" * 32,
    "acme.zz. 60 IN DNSKEY 257 3 13 " + "QUJD" * 21 + "QQ==",
    "acme.zz. 60 IN RRSIG DNSKEY 13 2 60 20300101000000 20260101000000 1 acme.zz. " + "QUJD" * 21 + "QQ==",
    'acme.zz. 60 IN CAA 0 issue "ca.example"',
    'acme.zz. 60 IN HTTPS 1 . alpn="h2"',
    "acme.zz. 60 IN CDS 0 0 0 00",
    "acme.zz. 60 IN SRV 1 1 443 x.acme.zz.",
    "ns1.acme.zz. 60 IN A 192.0.2.1",
    "ns1.acme.zz. 60 IN AAAA 2001:db8::1",
    "x.acme.zz. 60 IN CNAME y.acme.zz.",
    'acme.zz. 60 IN NAPTR 1 1 "u" "x" "!a!b!" .',
    "acme.zz. 60 IN LOC 1 N 1 E 1m",
)


def seeds() -> list[bytes]:
    """Return answers as nameservers send them."""
    made = []
    for rtype in ("NS", "SOA", "DNSKEY", "TXT", "DS"):
        query = question(f"{DOMAIN}.", rtype, dnssec=True)
        query.id = 7
        for flags in (0, dns.flags.AA):
            reply = dns.message.make_response(query)
            reply.flags |= flags
            for number, text in enumerate(_RECORDS):
                name, ttl, rclass, kind, content = text.split(" ", 4)
                section = (reply.answer, reply.authority, reply.additional)[number % 3]
                section.append(dns.rrset.from_text(name, int(ttl), rclass, kind, content))
            made.append(reply.to_wire())
    return made


def judge(data: bytes) -> None:
    """Take bytes as the answer that they claim to be; raises for what would be a fault of the service."""
    began = process_time()
    with contextlib.suppress(dns_wire.Refused, dns.exception.DNSException, NoAnswer, Missing):
        if len(data) < 12 or not dns_wire.answers(data, data):
            return
        dns_wire.check(data)
        reply = dns.message.from_wire(data)
        answers.parent_view(_VIEW, reply, PARENT, DOMAIN)
        answers.server_state(reply, DOMAIN)
        answers.ds_in(reply, DOMAIN)
        answers.signing_ds(reply.answer, DOMAIN)
        answers.zone_in(reply, _ABOVE, DOMAIN)
    took = process_time() - began
    if took > MOST_SECONDS:
        raise AssertionError(f"an answer of {len(data)} bytes took {took:.3f} s")
