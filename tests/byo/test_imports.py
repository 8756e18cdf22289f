"""What a customer takes along is served as it was, or refused by name before anything is changed."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.byo.conftest import Byo
from tests.byo.odd_records import RECORDS, SINGLE
from tests.eventually import eventually
from tests.knot import Knot
from tests.patience import patient
from tests.service import Service
from tests.tree import OLD_NAMES, Tree, rr

SOA = "@ 60 IN SOA ns1 hostmaster 1 10800 3600 604800 60\n@ 60 IN NS ns1\n"


class Old:
    """A domain of a customer's at Knot DNS, and what a caller says of it."""

    def __init__(self, service: Service, tree: Tree, directory: Path) -> None:
        self.domain = f"c{uuid.uuid4().hex[:10]}.zz"
        self.api = Byo(service, tree, self.domain)
        self._directory = directory / self.domain
        self.address = tree.address()
        self.challenge = self.api.reserve()["challenge"]
        self.knot: Knot | None = None

    def serve(self, lines: list[str], *, proven: bool = True) -> None:
        """Serve these records, below the apex and relative to it."""
        proof = [f'{self.challenge["name"]}. 1 IN TXT "{self.challenge["value"]}"'] if proven else []
        text = "\n".join([f"$ORIGIN {self.domain}.", SOA, f"ns1 60 IN A {self.address}", *lines, *proof, ""])
        self.knot = Knot(self._directory, self.address, self.domain, text)
        self.knot.start()
        tree = self.api.tree
        tree.host(f"ns1.{self.domain}", self.address)
        tree.delegate(self.domain, [f"ns1.{self.domain}"])

    def stop(self) -> None:
        if self.knot:
            self.knot.stop()

    def name(self, label: str) -> str:
        return f"{label}.{self.domain}".removeprefix("@.")

    def listed(self, *rrsets: tuple[str, str]) -> list[dict[str, str]]:
        return [{"name": self.name(label), "type": rtype} for label, rtype in rrsets]

    def commit(self, **more: Any) -> dict[str, Any]:
        """Commit until all that was asked for was answered, and the domain is served."""

        def served() -> dict[str, Any] | None:
            reply = self.api.commit(**more)
            assert "is not known" not in reply.text, reply.text[:600]
            if reply.status_code not in {200, 202}:
                raise RuntimeError(reply.text)
            return reply.json() if reply.json()["dns"]["state"] == "published" else None

        return eventually(served, 30, f"{self.domain} to be served; {self.api.get()}")


@pytest.fixture
def olds(
    directory: Path, tree: Tree, new_byo_service: Callable[..., Service]
) -> Iterator[Callable[[], Old]]:  # fmt: skip
    """Make customers' domains."""
    made: list[Old] = []
    service = new_byo_service().start()

    def make() -> Old:
        made.append(Old(service, tree, directory))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def asked(address: str, name: str, rtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rtype, flags=0, use_edns=0, payload=1232)
    reply, _ = dns.query.udp_with_fallback(query, address, timeout=patient(5))
    return reply


def rrset(address: str, name: str, rtype: str) -> tuple[int, set[bytes]]:
    """What a nameserver answers, in bytes, with the TTL that an import may have."""
    reply = asked(address, name, rtype)
    found = [one for one in reply.answer if one.rdtype == dns.rdatatype.from_text(rtype)]
    # Of a delegation the nameservers stand in the authority section.
    found = found or [one for one in reply.authority if one.rdtype == dns.rdatatype.from_text(rtype)]
    assert found, f"{address} has no {name} {rtype}: {reply}"
    assert len(found) == 1
    return min(found[0].ttl, 3600), {one.to_wire() for one in found[0]}


@settings(
    max_examples=4, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(data=st.data())
def test_every_type(olds: Callable[[], Old], data: st.DataObject) -> None:
    """Whatever stands at the old nameservers is answered equally by ours, RRset by RRset, type by type."""
    old = olds()
    lines, names = [], []
    for rtype, records in RECORDS.items():
        for number in range(3):
            label = f"x{rtype.lower()}{number}"  # not ns1, which is the nameserver's
            label = {"SRV": f"_sip._tcp.{label}", "TLSA": f"_443._tcp.{label}"}.get(rtype, label)
            most = 1 if rtype in SINGLE else 4
            contents = data.draw(st.lists(records, min_size=1, max_size=most, unique=True), label=rtype)
            ttl = data.draw(st.sampled_from([0, 1, 300, 3600, 3601, 604800]))
            # In bytes (RFC 3597): Knot's own parser takes other forms of some types than others do.
            found = [dns.rdata.from_text("IN", rtype, content).to_generic().to_text() for content in contents]
            lines += [f"{label} {ttl} IN {rtype} {content}" for content in dict.fromkeys(found)]
            names.append((label, rtype))
    old.serve(lines)
    old.commit(**{"import": old.listed(*names)})
    ours = old.api.tree.ours.addresses[0]
    for label, rtype in names:
        name = old.name(label)
        assert rrset(ours, name, rtype) == rrset(old.address, name, rtype), (name, rtype)


def test_a_name_that_nobody_guesses(olds: Callable[[], Old]) -> None:
    """What the caller names is asked for, whether the pre-flight guessed it or not; and what is not there is told."""
    old = olds()
    old.serve(['mycorp1._domainkey 60 IN TXT "k=rsa"', "* 60 IN A 192.0.2.9"])
    refused = old.api.commit(**{"import": old.listed(("nobody._domainkey", "TXT"))})
    assert refused.status_code == 422
    assert "was not found at the current nameservers, which were asked for it" in refused.json()["detail"]
    old.commit(**{"import": old.listed(("mycorp1._domainkey", "TXT"), ("only-the-wildcard", "A"))})
    ours = old.api.tree.ours.addresses[0]
    assert rrset(ours, old.name("mycorp1._domainkey"), "TXT")[1] == {b"\x05k=rsa"}
    assert rrset(ours, old.name("only-the-wildcard"), "A")[1] == {bytes([192, 0, 2, 9])}


def test_what_answers_point_at(olds: Callable[[], Old]) -> None:
    """Hosts that MX, SRV, CNAME and HTTPS point at are offered with them, also where only a wildcard answers."""
    old = olds()
    old.serve([
        "@ 60 IN MX 10 inbound", "* 60 IN A 192.0.2.9", "_sip._tls 60 IN SRV 1 1 443 talk", "talk 60 IN AAAA 2001:db8::7",
        "www 60 IN CNAME farm", "farm 60 IN CNAME rack", "rack 60 IN A 192.0.2.8", "@ 60 IN HTTPS 1 edge", "edge 60 IN A 192.0.2.6",
    ])  # fmt: skip
    found = old.api.post("/v1/preflight", domain=old.domain).raise_for_status().json()
    offered = {(one["name"].removesuffix("."), one["type"]) for one in found["records"]}
    wanted = {("inbound", "A"), ("talk", "AAAA"), ("farm", "CNAME"), ("rack", "A"), ("edge", "A")}
    assert {(old.name(label), rtype) for label, rtype in wanted} <= offered
    (mail,) = [one["seen"] for one in found["problems"] if one["code"] == "BYO-OLD-MAIL"]
    assert f"inbound.{old.domain} A" in mail


def test_delegation(olds: Callable[[], Old]) -> None:
    """A delegation takes along its glue and its DS."""
    old = olds()
    ds = f"4711 13 2 {'ab' * 32}"
    old.serve([
        "dev 60 IN NS ns1.dev", "dev 60 IN NS ns.example.net.", f"dev 60 IN DS {ds}", "ns1.dev 60 IN A 192.0.2.5",
        "ns1.dev 60 IN AAAA 2001:db8::5",
    ])  # fmt: skip
    old.commit(**{"import": old.listed(("dev", "NS"))})
    reply = asked(old.api.tree.ours.addresses[0], f"x.{old.name('dev')}", "A")
    (cut,) = [one for one in reply.authority if one.rdtype == dns.rdatatype.NS]
    assert {one.to_text() for one in cut} == {f"ns1.{old.name('dev')}.", "ns.example.net."}
    glue = {one.to_text() for found in reply.additional for one in found if found.rdtype != dns.rdatatype.OPT}
    assert glue == {"192.0.2.5", "2001:db8::5"}
    assert rrset(old.api.tree.ours.addresses[0], old.name("dev"), "DS")[1]


REFUSED = {
    "mail at a name with an underscore": ("x 60 IN MX 10 _mail", "MX", "is not the name of a host"),
    "a service at a name with an underscore": (
        "x 60 IN SRV 1 1 1 _mail.example.net.",
        "SRV",
        "is not the name of a host",
    ),
    "a protocol with odd characters": (
        r'x 60 IN HTTPS 1 . alpn="a\000b"',
        "HTTPS",
        "names a protocol that cannot be written",
    ),
    "a parameter with a semicolon": (
        r'x 60 IN SVCB 1 . key700="a\;b"',
        "SVCB",
        "has a parameter with a semicolon or a parenthesis",
    ),
    "a place in space": (
        "x 60 IN LOC 1 1 1.000 N 1 1 1.000 E 42000000m",
        "LOC",
        "an altitude or a size that is too large",
    ),
    "an owner's name that is no host": (
        r"a\@b 60 IN TXT x",
        "TXT",
        "has a name that the platform's nameservers do not take",
    ),
    "a type of its own": ("x 60 IN TYPE65280 \\# 1 00", "TYPE65280", "has a type that cannot be taken along"),
}


@pytest.mark.parametrize(("line", "rtype", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(olds: Callable[[], Old], line: str, rtype: str, why: str) -> None:
    """What our nameservers would not take is refused in the commit, with the record and the reason."""
    old = olds()
    old.serve([line])
    label = line.split(maxsplit=1)[0].replace("\\@", "@")
    refused = old.api.commit(**{"import": old.listed((label if label != "a@b" else "a\\@b", rtype))})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid-format"), refused.text
    assert why in refused.json()["detail"]
    assert old.api.get()["state"] == "reserved"


def test_zonefile(olds: Callable[[], Old]) -> None:
    """The pre-flight gives what it found as a zone file, and a commit takes it back, changed or not."""
    old = olds()
    old.serve([
        "@ 60 IN A 192.0.2.1", "@ 60 IN MX 10 mx.example.net.", '_dmarc 60 IN TXT "v=DMARC1; p=reject"',
        '@ 60 IN HTTPS 1 . alpn="h3,h2" ipv4hint=104.16.1.1,104.16.2.2', "www 60 IN A 192.0.2.1",
    ])  # fmt: skip
    found = old.api.post("/v1/preflight", domain=old.domain).raise_for_status().json()["zonefile"]
    assert f"; {old.domain}. 60 IN A 192.0.2.1 ; stands where the platform's own addresses are" in found.splitlines()
    extra = '$TTL 120\nmine TXT "of the customer\'s own"\n'
    made = old.commit(importZonefile=found + extra)
    assert {one["code"] for one in made["problems"]} == {"BYO-OLD-WEB"}
    ours = old.api.tree.ours.addresses[0]
    for label, rtype in (("@", "MX"), ("_dmarc", "TXT"), ("@", "HTTPS"), ("www", "A")):
        assert rrset(ours, old.name(label), rtype) == rrset(old.address, old.name(label), rtype)
    assert rrset(ours, old.name("mine"), "TXT") == (120, {b"\x15of the customer's own"})


BAD_FILES = {
    "not a zone file": ("this is no zone file", "cannot be read"),
    "another domain": ("other.example. 60 IN A 192.0.2.1\n", "does not lie in"),
    "included files": ("$INCLUDE /etc/passwd\n", "cannot be read"),
    "generated records": ("$GENERATE 1-9 x$ A 192.0.2.1\n", "cannot be read"),
    "too many records": ("".join(f"h{number} A 192.0.2.1\n" for number in range(1001)), "takes 1000 records at most"),
    "too many lines": ("\n" * 5000, "takes 1000 records at most"),
    "below a delegation": ("dev NS ns.example.net.\nx.dev A 192.0.2.1\n", "lies in what is delegated at"),
    "an alias beside others": ("x CNAME y\nx TXT z\n", "CNAME"),
    "the platform's addresses": ("console A 192.0.2.1\n", "stands where the platform's own addresses are"),
}


@pytest.mark.parametrize(("text", "why"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_zonefile_that_is_refused(byo: Byo, tree: Tree, text: str, why: str) -> None:
    """What is no zone file of the domain is refused with the reason, and changes nothing."""
    tree.delegate(byo.domain, OLD_NAMES, tree.old_zone(byo.domain))
    byo.reserve()
    refused = byo.commit(importZonefile=text)
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid-format"), refused.text
    assert why in refused.json()["detail"]
    assert byo.get()["dns"]["state"] == "none"


def test_one_record_keeps_no_zone_from_dns(byo: Byo, tree: Tree) -> None:
    """An imported record that PowerDNS refuses after all is left out and told in the log; all others are served."""
    tree.delegate(byo.domain, OLD_NAMES, tree.old_zone(byo.domain, rr(byo.domain, "MX", "10 mx.example.net.")))
    byo.reserve()
    assert byo.commit(**{"import": [{"name": byo.domain, "type": "MX"}]}).status_code == 202
    # As the release before has stored it.
    spoilt = {"name": f"x.{byo.domain}.", "type": "HTTPS", "ttl": 60, "contents": ['1 . alpn="h3,h2"']}
    byo.service.execute(f"UPDATE claims SET imports = imports || '{json.dumps(spoilt)}'::jsonb")
    byo.prove()
    byo.service.execute("UPDATE watches SET due_at = now()")
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    assert rrset(tree.ours.addresses[0], byo.domain, "MX")[1]
    told = [line for line in byo.service.lines() if line["message"] == "an imported record is refused"]
    assert told
    assert told[0]["rrset"] == f"x.{byo.domain}. HTTPS"


def test_a_repeat_with_another_import(olds: Callable[[], Old]) -> None:
    """While it is a claim, another import is carried out; afterwards it is refused, and never a 200 without effect."""
    old = olds()
    old.serve(['_dmarc 60 IN TXT "v=DMARC1"', "@ 60 IN MX 10 mx.example.net."], proven=False)
    one, both = old.listed(("_dmarc", "TXT")), old.listed(("_dmarc", "TXT"), ("@", "MX"))
    assert old.api.commit(**{"import": one}).status_code == 202
    assert old.api.commit(**{"import": both}).status_code == 202
    assert old.api.commit().status_code == 202  # says nothing of imports
    old.stop()
    old.serve(['_dmarc 60 IN TXT "v=DMARC1"', "@ 60 IN MX 10 mx.example.net."])
    old.commit(**{"import": both})
    ours = old.api.tree.ours.addresses[0]
    assert rrset(ours, old.domain, "MX")
    assert rrset(ours, old.name("_dmarc"), "TXT")
    for more in ({"import": one}, {"importZonefile": '_dmarc TXT "v=DMARC1"\n'}):
        refused = old.api.commit(**more)
        assert (refused.status_code, refused.json()["error"]) == (409, "already-active"), refused.text
    assert old.api.commit().status_code == 200
    file = '_dmarc TXT "v=DMARC1"\n@ MX 10 mx.example.net.\n'
    assert old.api.commit(importZonefile=file).status_code == 200


def test_a_late_acknowledgement(olds: Callable[[], Old]) -> None:
    """Once a domain is active, an acknowledgement that its commit did not have changes nothing, and is refused."""
    old = olds()
    old.serve([])
    old.commit(acknowledge=["BYO-OLD-WEB", "BYO-BELOW"])
    assert old.api.commit(acknowledge=["BYO-BELOW"]).status_code == 200
    refused = old.api.commit(acknowledge=["BYO-BELOW", "BYO-OLD-MAIL"])
    assert (refused.status_code, refused.json()["error"]) == (409, "already-active")
    assert "BYO-OLD-MAIL" in refused.json()["detail"]
    old.api.service.execute(
        f"UPDATE allocations SET acknowledged = NULL WHERE fqdn = '{old.domain}'"
    )  # of the release before
    assert old.api.commit(acknowledge=["BYO-OLD-MAIL"]).status_code == 200


def test_a_manual_commit_warns(olds: Callable[[], Old]) -> None:
    """A commit whose customer changes the nameservers says what the zone has now, and would not have."""
    old = olds()
    old.serve(["@ 60 IN MX 10 mx.example.net.", "www 60 IN A 192.0.2.1"])
    found = {one["code"]: one["seen"] for one in old.commit()["problems"]}
    assert set(found) == {"BYO-OLD-MAIL", "BYO-OLD-WEB"}
    assert f"{old.domain} MX" in found["BYO-OLD-MAIL"]
