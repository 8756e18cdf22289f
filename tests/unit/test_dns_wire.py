"""What of an answer is refused before it is parsed, and that nothing honest is."""

import struct
import time

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdm_service.dns_wire import MAX_LABELS, MAX_RECORDS, Refused, answers, begins_with_soa, check

QUERY = dns.message.make_query("example.org", "NS", use_edns=0)
HONEST = (
    ("example.org.", "NS", "ns1.example.org.", "ns2.example.net."), ("example.org.", "SOA", "ns1.example.org. h. 1 2 3 4 5"),
    ("example.org.", "MX", "10 mail.example.org."), ("_a._tcp.example.org.", "SRV", "1 2 3 host.example.org."),
    ("example.org.", "DNSKEY", "257 3 13 " + "ab" * 42 + "=="), ("example.org.", "DS", "1 13 2 " + "ab" * 32),
    ("example.org.", "RRSIG", "NS 13 2 60 20300101000000 20260101000000 1 example.org. " + "ab" * 42 + "=="),
    ("example.org.", "NSEC", "a.example.org. NS SOA"), ("example.org.", "CAA", '0 issue "ca.example"'),
    ("www.example.org.", "CNAME", "x.example.org."), ("example.org.", "HTTPS", "1 . alpn=h2"),
    ("example.org.", "NAPTR", '1 2 "u" "E2U+sip" "!^.*$!sip:a@b!" .'), ("example.org.", "TXT", '"v=spf1 -all"'),
    ("1.0.0.127.in-addr.arpa.", "PTR", "localhost."), ("example.org.", "RP", "a.example.org. b.example.org."),
    ("example.org.", "TLSA", "3 1 1 " + "ab" * 32), ("d.example.org.", "DNAME", "x.example.net."),
)  # fmt: skip


def wire(count: int, record: bytes, name: bytes = b"\x01a\x00") -> bytes:
    """An answer with that many equal records, after a question for `name`."""
    return struct.pack("!HHHHHH", 1, 0x8400, 1, count, 0, 0) + name + b"\0\x02\0\1" + record * count


def a_record(owner: bytes) -> bytes:
    return owner + struct.pack("!HHIH", 1, 1, 60, 4) + b"\xc0\0\2\1"


def labels(count: int) -> bytes:
    return b"\x01a" * count + b"\0"


@given(st.lists(st.sampled_from(HONEST), max_size=40))
def test_honest_answers_pass(found: list[tuple[str, ...]]) -> None:
    """Every type that zones have passes, compressed as servers do it."""
    reply = dns.message.make_response(QUERY)
    for number, (owner, rtype, *data) in enumerate(found):
        section = (reply.answer, reply.authority, reply.additional)[number % 3]
        section.append(dns.rrset.from_text_list(owner, 60, "IN", rtype, data))
    made = reply.to_wire(max_size=65535)
    check(made)
    assert answers(made, QUERY.to_wire())


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (wire(MAX_RECORDS + 1, a_record(b"\xc0\x0c")), "too many records"),
        (wire(1, a_record(b"\xc0\x0c"), labels(MAX_LABELS + 1)), "too many labels"),
        (wire(100, a_record(b"\xc0\x0c"), labels(MAX_LABELS)), "too many labels"),
        (wire(1, b"\xc0\x0c" + struct.pack("!HHIH", 15, 1, 60, 4) + b"\0\1\xc0\x0c", labels(41)), "too many labels"),
        (wire(1, a_record(b"\xc0\x13")), "point in circles"), (wire(1, a_record(b"\xc0\xff")), "point in circles"),
        (wire(1, a_record(b"\x40aa")), "malformed name"), (wire(2, a_record(b"\0"))[:-3], "cut"),
        (wire(1, b"\0" + struct.pack("!HHIH", 55, 1, 60, 2) + b"\xc0\x0c"), "nobody asked for"), (b"\0" * 11, "too short"),
        (wire(1, b""), "cut"), (struct.pack("!HHHHHH", 1, 0x8400, 2, 0, 0, 0), "too many records"),
    ],
)  # fmt: skip
def test_what_costs_too_much(made: bytes, why: str) -> None:
    """More records, labels or hops than an honest answer has, and what is cut, is not parsed."""
    with pytest.raises(Refused, match=why):
        check(made)


@given(st.binary(max_size=600), st.integers(0, 3), st.integers(0, 400))
def test_any_bytes(noise: bytes, questions: int, records: int) -> None:
    """Whatever comes is refused or passes; dnspython then has little to do with it."""
    made = struct.pack("!HHHHHH", 1, 0x8400, questions, records, 0, 0) + noise
    try:
        check(made)
    except Refused:
        return
    began = time.process_time()
    try:
        dns.message.from_wire(made)
    except (dns.exception.DNSException, ValueError):
        pass
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (lambda reply: None, True),
        (lambda reply: setattr(reply, "id", reply.id ^ 1), False),
        (lambda reply: setattr(reply, "flags", reply.flags & ~dns.flags.QR), False),
        (lambda reply: setattr(reply, "flags", reply.flags | 0x2000), False),
        (lambda reply: setattr(reply, "question", dns.message.make_query("example.net", "NS").question), False),
        (lambda reply: setattr(reply, "question", dns.message.make_query("example.org", "A").question), False),
        (lambda reply: setattr(reply, "question", dns.message.make_query("EXAMPLE.org", "NS").question), True),
        (lambda reply: (setattr(reply, "question", []), reply.set_rcode(1)), True),
        (lambda reply: setattr(reply, "question", []), False),
    ],
)  # fmt: skip
def test_whose_answer_it_is(change, taken: bool) -> None:
    """Another id, question or opcode is another message; an error may come without the question."""
    reply = dns.message.make_response(QUERY)
    change(reply)
    assert answers(reply.to_wire(), QUERY.to_wire()) is taken


def test_transfer_begins_with_soa() -> None:
    """Only a first record of type SOA begins a transfer (RFC 5936 section 2.2)."""
    reply = dns.message.make_response(dns.message.make_query("example.org", "AXFR"))
    assert not begins_with_soa(reply.to_wire())
    reply.answer.append(dns.rrset.from_text("example.org.", 60, "IN", "SOA", "a. b. 1 2 3 4 5"))
    assert begins_with_soa(reply.to_wire())
    reply.set_rcode(5)
    assert not begins_with_soa(reply.to_wire())
