"""What an answer of a nameserver means: how a domain is delegated, whether a zone is served, which keys sign it."""

from datetime import UTC, datetime, timedelta

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dns.message import Message

from pdm_service.delegations.answers import (
    Missing,
    Zone,
    ds_in,
    ds_text,
    hosts,
    parent_view,
    rrsets,
    server_state,
    signing_ds,
    zone_in,
)
from pdm_service.dns_client import NoAnswer
from pdm_service.model.observation import ParentView

DOMAIN = "acme.com"
VIEW = ParentView(name="a.gtld.net", address="192.0.2.1", state="unasked")
COM = Zone("com", ("a.gtld.net",), {}, 100)
NS = ("acme.com. 3600 IN NS NS2.platform.net.", "acme.com. 3600 IN NS ns1.platform.net.")
HOSTS = ("ns1.platform.net", "ns2.platform.net")
SOA = "acme.com. 60 IN SOA ns1.platform.net. hostmaster.acme.com. 7 1 1 1 1"
UP, ROOT, DEEPER = "com. 60 IN NS a.gtld.net.", ". 60 IN NS a.root.net.", "eu.acme.com. 60 IN NS ns1.other.net."
DS = "1 13 2 " + "AB" * 32


def section(*records: str) -> list[dns.rrset.RRset]:
    found: dict[tuple[str, str], list[str]] = {}
    for record in records:
        name, ttl, _, rtype, data = record.split(maxsplit=4)
        found.setdefault((f"{name} {ttl}", rtype), []).append(data)
    return [dns.rrset.from_text(*key.split(), "IN", rtype, *data) for (key, rtype), data in found.items()]


def reply(
    *answer: str, authority: tuple[str, ...] = (), additional: tuple[str, ...] = (), aa: bool = False,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
) -> Message:  # fmt: skip
    made = dns.message.make_response(dns.message.make_query(DOMAIN, "NS"))
    made.answer, made.authority, made.additional = section(*answer), section(*authority), section(*additional)
    made.set_rcode(rcode)
    if aa:
        made.flags |= dns.flags.AA
    return made


def refused(rcode: dns.rcode.Rcode, *, aa: bool = False) -> Message:
    return reply(aa=aa, rcode=rcode)


# --- the parent's word ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "state", "nameservers"),
    [
        (reply(authority=NS), "referral", HOSTS),
        (reply(*NS, aa=True), "answer", HOSTS),
        (reply(*NS, authority=("acme.com. 60 IN NS other.net.",), aa=True), "answer", HOSTS),
        (reply(aa=True), "nodata", ()),
        (reply(authority=("com. 60 IN SOA a. b. 1 1 1 1 1",), aa=True), "nodata", ()),
        (reply(authority=NS, aa=True), "referral", HOSTS),
        (refused(dns.rcode.NXDOMAIN, aa=True), "nxdomain", ()),
        (refused(dns.rcode.NXDOMAIN), "failed", ()),
        (refused(dns.rcode.SERVFAIL), "failed", ()),
        (refused(dns.rcode.REFUSED, aa=True), "failed", ()),
        (reply(authority=(ROOT,)), "upward", ()),
        (reply(authority=(UP,)), "upward", ()),
        (reply(authority=(DEEPER,)), "failed", ()),
        (reply(*NS), "failed", ()),
        (reply("acme.com. 60 IN A 192.0.2.1", authority=NS), "failed", ()),
        (reply(), "failed", ()),
    ],
)
def test_parent_view(answer: Message, state: str, nameservers: tuple[str, ...]) -> None:
    """A parent server's word is a referral, an answer, or that there is none; whatever else comes is not its word."""
    view = parent_view(VIEW, answer, "com", DOMAIN)
    assert (view.state, view.nameservers) == (state, nameservers)
    assert view.ns_ttl == (3600 if nameservers else None)
    assert (view.name, view.address) == (VIEW.name, VIEW.address)


def test_parent_view_says_what_failed() -> None:
    """A refusal is told by its name."""
    assert parent_view(VIEW, refused(dns.rcode.SERVFAIL), "com", DOMAIN).error == "SERVFAIL"


# --- the zone's own servers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (reply(SOA, aa=True), "serving"),
        (reply(SOA), "not-serving"),
        (reply(aa=True), "not-serving"),
        (reply("other.com. 60 IN SOA a. b. 1 1 1 1 1", aa=True), "not-serving"),
        (reply(authority=(UP,)), "upward"),
        (reply(authority=(ROOT,)), "upward"),
        (reply(authority=("acme.com. 60 IN NS other.net.",)), "upward"),
        (reply(authority=(UP,), aa=True), "not-serving"),
        (reply("acme.com. 60 IN A 192.0.2.1", authority=(UP,)), "not-serving"),
        (reply(authority=(DEEPER,)), "not-serving"),
        (reply(), "not-serving"),
        (refused(dns.rcode.REFUSED), "refused"),
        (refused(dns.rcode.SERVFAIL), "failed"),
        (refused(dns.rcode.NOTIMP), "failed"),
        (refused(dns.rcode.NXDOMAIN, aa=True), "not-serving"),
    ],
)
def test_server_state(answer: Message, state: str) -> None:
    """A nameserver serves a zone if it answers for it with authority and its SOA; else it is told what it does instead."""
    assert server_state(answer, DOMAIN) == state


# --- the way down --------------------------------------------------------------------------------------


def test_zone_in_a_referral() -> None:
    """A referral names the next zone, its nameservers, their addresses, and how long that holds."""
    glue = ("ns1.platform.net. 60 IN A 192.0.2.1", "NS1.platform.net. 60 IN AAAA 2001:db8::1", "x.net. 60 IN TXT y")
    assert zone_in(reply(authority=NS, additional=glue), COM, DOMAIN) == Zone(
        DOMAIN, HOSTS, {"ns1.platform.net": ("192.0.2.1", "2001:db8::1")}, 3600
    )


def test_zone_in_an_answer() -> None:
    """A server of both zones answers with the child's NS; without any, the name is no zone of its own."""
    assert zone_in(reply(*NS, aa=True), COM, DOMAIN) == Zone(DOMAIN, HOSTS, {}, 3600)
    assert zone_in(reply(aa=True), COM, DOMAIN) is None


def test_zone_in_a_referral_with_aa() -> None:
    """Some servers set AA in a referral: it is one all the same."""
    assert zone_in(reply(authority=NS, aa=True), COM, DOMAIN) == Zone(DOMAIN, HOSTS, {}, 3600)


def test_zone_in_that_is_missing() -> None:
    """A name that does not exist ends the way at the zone above it."""
    with pytest.raises(Missing) as missing:
        zone_in(refused(dns.rcode.NXDOMAIN, aa=True), COM, DOMAIN)
    assert missing.value.zone == COM


@pytest.mark.parametrize(
    ("answer", "zone", "words"),
    [
        (refused(dns.rcode.NXDOMAIN), COM, "com answers NXDOMAIN"),
        (refused(dns.rcode.REFUSED, aa=True), COM, "com answers REFUSED"),
        (refused(dns.rcode.SERVFAIL), Zone("", (), {}), "the root answers SERVFAIL"),
        (reply(), COM, "com does not serve it"),
        (reply(authority=(UP,)), Zone("", (), {}), "the root does not serve it"),
    ],
)
def test_zone_in_of_a_lame_server(answer: Message, zone: Zone, words: str) -> None:
    """What a server says that does not serve the zone above is no answer; it is told whose server that was."""
    with pytest.raises(NoAnswer, match=words):
        zone_in(answer, zone, DOMAIN)


# --- DS and keys ---------------------------------------------------------------------------------------


def test_ds_in() -> None:
    """The parent's DS come sorted, in one form; with authority none is an answer as well."""
    two = (f"acme.com. 600 IN DS {DS}", f"acme.com. 600 IN DS 0 8 2 {'CD' * 32}")
    assert ds_in(reply(*two, aa=True), DOMAIN) == ((f"0 8 2 {'cd' * 32}", DS.lower()), 600)
    assert ds_in(reply(aa=True), DOMAIN) == ((), None)
    assert ds_in(refused(dns.rcode.NXDOMAIN, aa=True), DOMAIN) == ((), None)


@pytest.mark.parametrize(
    "answer", [reply(f"acme.com. 600 IN DS {DS}"), refused(dns.rcode.SERVFAIL, aa=True), refused(dns.rcode.NXDOMAIN)]
)
def test_ds_in_what_is_not_the_parents_word(answer: Message) -> None:
    """Without authority, or with a failure, it is not known whether there is a DS."""
    assert ds_in(answer, DOMAIN) == (None, None)


def test_ds_text() -> None:
    """A DS has one form, its digest whole and in lower case, however it was written."""
    assert ds_text(f"1 13 2 {'AB' * 16} {'Cd' * 16}") == f"1 13 2 {'ab' * 16}{'cd' * 16}"
    assert ds_text("0 0 0 00") == "0 0 0 00"


def signed(*, by: int = 1, since: timedelta = timedelta(), keys: int = 2) -> tuple[list[dns.rrset.RRset], list[str]]:
    """A DNSKEY RRset signed by as many of its keys; and the DS (SHA-256) of each key."""
    name, private = dns.name.from_text(DOMAIN), [Ed25519PrivateKey.generate() for _ in range(keys)]
    public = [dns.dnssec.make_dnskey(one.public_key(), dns.dnssec.Algorithm.ED25519) for one in private]
    rrset = dns.rrset.from_rdata(name, 60, *public)
    start = datetime.now(UTC) - timedelta(days=1) + since
    signatures = [
        dns.dnssec.sign(rrset, one, name, key, inception=start, expiration=start + timedelta(days=2))
        for one, key in list(zip(private, public, strict=True))[:by]
    ]
    answer = [rrset] + ([dns.rrset.from_rdata(name, 60, *signatures)] if signatures else [])
    return answer, [ds_text(dns.dnssec.make_ds(name, key, "SHA256")) for key in public]


def test_signing_ds() -> None:
    """Of a zone's keys those count that sign them now, by a DS of each digest that a parent may have."""
    answer, (signer, other) = signed()
    found = signing_ds(answer, DOMAIN)
    assert signer in found
    assert other not in found
    assert [ds.split()[2] for ds in found] == ["1", "2", "4"]
    assert len({ds.split()[0] for ds in found}) == 1


def test_signing_ds_of_several_keys() -> None:
    """While keys are rolled over both of those that sign count."""
    answer, ds = signed(by=2)
    assert set(ds) <= set(signing_ds(answer, DOMAIN))


@pytest.mark.parametrize("since", [timedelta(days=-30), timedelta(days=30)])
def test_signatures_of_another_day(since: timedelta) -> None:
    """A signature that has run out, or is not valid yet, is none."""
    assert signing_ds(signed(since=since)[0], DOMAIN) == ()


def test_a_signature_over_other_keys() -> None:
    """A key that was put in afterwards makes the signature worthless."""
    (keys, signatures), (other, _) = signed()[0], signed()[0]
    assert signing_ds([dns.rrset.from_rdata(keys.name, 60, *keys, *other), signatures], DOMAIN) == ()


def test_no_signature_or_no_key() -> None:
    """Keys that nothing signs are none, as are signatures without keys, and those of another zone."""
    answer, _ = signed()
    assert signing_ds(answer[:1], DOMAIN) == signing_ds(answer[1:], DOMAIN) == signing_ds([], DOMAIN) == ()
    assert signing_ds(answer, "other.com") == ()


# --- sections ------------------------------------------------------------------------------------------


def test_rrsets() -> None:
    """The RRsets of a name and some types are picked out of a section, whatever the case of the name."""
    found = section("ACME.com. 60 IN A 192.0.2.1", "acme.com. 60 IN AAAA 2001:db8::1", "x.acme.com. 60 IN A 192.0.2.2")
    assert rrsets(found, DOMAIN, "A") == found[:1]
    assert rrsets(found, DOMAIN, "A", "AAAA") == found[:2]
    assert rrsets(found, DOMAIN, "MX") == []
    assert rrsets(section(ROOT), "", "NS") == section(ROOT)


def test_hosts() -> None:
    """Nameservers come in lower case, without the dot, sorted, each once."""
    assert hosts(section(*NS, "com. 60 IN NS ns1.PLATFORM.net.")) == HOSTS
    assert hosts([]) == ()
