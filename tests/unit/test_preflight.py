"""The pre-flight: each check finds what it is for, with its code and severity, and nothing else."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from pdm_service.byo.preflight import Facts, allows, blocking, judge, special_use
from pdm_service.findings import Finding
from pdm_service.model.allocation import Proof
from pdm_service.model.observation import Observation, OldZone, ParentView, Phase, Registry, ServerView, Unseen
from pdm_service.model.records import RRset

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DOMAIN = "acme.com"
OLD = ("ns1.old.net", "ns2.old.net")
OURS = ("ns1.platform.net", "ns2.platform.net")


def parent(**more: Any) -> ParentView:
    view = {
        "name": "a.gtld.net",
        "address": "192.0.2.1",
        "state": "referral",
        "nameservers": OLD,
        "ns_ttl": 3600,
        "ds": (),
    }
    return ParentView(**{**view, **more})


def server(name: str = OURS[0], address: str = "192.0.2.11", **more: Any) -> ServerView:
    view = {"state": "serving", "serial": 1, "nameservers": OURS, "ns_ttl": 300, "udp": True, "edns": True, "tcp": True}
    return ServerView(name=name, address=address, **{**view, **more})


BOTH = (server(), server(OURS[1], "192.0.2.12"))


def seen(*parents: ParentView, others: tuple[ServerView, ...] = (), **more: Any) -> Observation:
    values = {
        "domain": DOMAIN, "at": NOW, "parent": "com", "parents": parents or (parent(),), "servers": (), "others": others,
        "queries": 9, "complete": True,
    }  # fmt: skip
    return Observation(**{**values, **more})


def unseen(*names: tuple[str, str], tries: tuple[str, ...] = ("192.0.2.53: does not answer",)) -> OldZone:
    """A zone of which some questions have no answer."""
    return replace(
        zone(), unanswered=tuple(Unseen(name=f"{label}{DOMAIN}.", type=rtype, tries=tries) for label, rtype in names)
    )


def zone(*rrsets: tuple[str, str, str], wildcard: bool = False) -> OldZone:
    found = tuple(
        RRset(name=f"{label}.{DOMAIN}." if label else f"{DOMAIN}.", type=rtype, ttl=300, contents=(content,))
        for label, rtype, content in rrsets
    )
    return OldZone(domain=DOMAIN, asked=("192.0.2.53",), rrsets=found, wildcard=wildcard, unanswered=())


CLEAN = Facts(
    domain=DOMAIN, now=NOW, flips=True, pool_domains=("omani.works",), nameservers=OURS, observation=seen(), old=zone(),
    registry=Registry(), held_by=None, below=(), proven=False, ours=False, ds_gone_at=None, ds_ttl=None,
    registered_nameservers=OLD, may_set=True, acme_issuers=("letsencrypt.org",),
)  # fmt: skip


def found(**more: Any) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in judge(replace(CLEAN, **more))]


@pytest.mark.parametrize(
    ("more", "told"), [({}, True), ({"flips": False}, False), ({"flips": False, "proven": True}, True)]
)
def test_who_is_told_what_lies_below(more: dict[str, Any], told: bool) -> None:
    """Which names below a domain are held is told to nobody who has not shown that the domain is theirs."""
    (finding,) = (one for one in judge(replace(CLEAN, below=("x.acme.com",), **more)) if one.code == "BYO-BELOW")
    assert ("x.acme.com" in finding.seen) is told


def test_clean_domain() -> None:
    """Where nothing is wrong nothing is found."""
    assert found() == []


ROWS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("pool domain", {"domain": "omani.works"}, [("BYO-NAME", "block")]),
    ("above a pool domain", {"pool_domains": ("x.acme.com",)}, [("BYO-NAME", "block")]),
    ("special use", {"domain": "acme.test"}, [("BYO-NAME", "block")]),
    ("public suffix", {"domain": "co.uk"}, [("BYO-NAME", "block")]),
    ("sub-domain, flip", {"domain": "x.acme.com"}, [("BYO-NOT-APEX", "block")]),
    ("sub-domain, manual", {"domain": "x.acme.com", "flips": False}, [("BYO-NOT-APEX", "info")]),
    ("held", {"held_by": "x.acme.com"}, [("BYO-CLAIMED", "block")]),
    ("held below", {"below": ("x.acme.com",)}, [("BYO-BELOW", "acknowledge")]),
    ("unseen", {"old": unseen(("www.", "A"))}, [("BYO-OLD-UNSEEN", "acknowledge")]),
    ("unseen DKIM", {"old": unseen(("k1._domainkey.", "TXT"))}, [("BYO-OLD-UNSEEN", "acknowledge")]),
    ("unseen MX", {"old": unseen(("", "MX"), ("www.", "A"))}, [("BYO-OLD-UNSEEN", "block")]),
    ("unseen SPF", {"old": unseen(("", "TXT"))}, [("BYO-OLD-UNSEEN", "block")]),
    ("unseen DMARC", {"old": unseen(("_dmarc.", "TXT"))}, [("BYO-OLD-UNSEEN", "block")]),
    ("nothing seen", {"old": replace(unseen(("www.", "A")), asked=())}, [("BYO-OLD-UNSEEN", "block")]),
    ("points here", {"observation": seen(parent(nameservers=OURS)), "flips": False, "registered_nameservers": None}, [("BYO-LAME-CLAIM", "block")]),
    ("points here in part", {"observation": seen(parent(nameservers=(OLD[0], OURS[0]))), "flips": False, "registered_nameservers": None}, [("BYO-LAME-CLAIM", "block")]),
    ("points here, proven", {"observation": seen(parent(nameservers=OURS)), "flips": False, "proven": True, "registered_nameservers": None}, []),
    ("points here, ours", {"observation": seen(parent(nameservers=OURS)), "flips": False, "ours": True, "registered_nameservers": None}, []),
    ("unregistered", {"observation": seen(parent(state="nxdomain", nameservers=()))}, [("BYO-UNREG", "block")]),
    ("undelegated", {"observation": seen(parent(state="nodata", nameservers=()))}, [("BYO-UNREG", "block")]),
    ("undelegated sub-domain", {"domain": "x.acme.com", "flips": False, "observation": seen(parent(state="nodata", nameservers=())), "registered_nameservers": None}, [("BYO-NOT-APEX", "info")]),
    ("parent away, flip", {"observation": seen(parent(state="silent", nameservers=(), ds=None))}, [("BYO-PARENT-UNREACHABLE", "block")]),
    ("parent away, manual", {"observation": seen(parent(state="silent", nameservers=(), ds=None)), "flips": False}, [("BYO-PARENT-UNREACHABLE", "warn")]),
    *[(status, {"registry": Registry(statuses=(status,))}, [("BYO-HOLD", "block")])
      for status in ("client hold", "server hold", "redemption period", "pending delete", "pending transfer")],
    ("expires soon", {"registry": Registry(expires_at=NOW + timedelta(days=29))}, [("BYO-HOLD", "warn")]),
    ("expires later", {"registry": Registry(expires_at=NOW + timedelta(days=31))}, []),
    ("registry away", {"registry": None}, [("BYO-HOLD", "warn")]),
    ("registry lock", {"registry": Registry(statuses=("server update prohibited",))}, [("BYO-LOCK", "block")]),
    ("registrar lock", {"registry": Registry(statuses=("client update prohibited",))}, [("BYO-LOCK", "acknowledge")]),
    ("other locks", {"registry": Registry(statuses=("client transfer prohibited", "active"))}, []),
    ("parents disagree on NS", {"observation": seen(parent(), parent(address="192.0.2.2", nameservers=("ns3.old.net",))), "registered_nameservers": ("ns1.old.net", "ns2.old.net", "ns3.old.net")}, [("BYO-PARENT-SPLIT", "acknowledge")]),
    ("parents disagree on DS", {"observation": seen(parent(), parent(address="192.0.2.2", ds=("1 13 2 ab",), ds_ttl=60))}, [("BYO-PARENT-SPLIT", "acknowledge"), ("BYO-DS", "block")]),
    ("DS", {"observation": seen(parent(ds=("1 13 2 ab",), ds_ttl=3600))}, [("BYO-DS", "block")]),
    ("DS unknown", {"observation": seen(parent(ds=None))}, [("BYO-DS", "block")]),
    ("our DS", {"observation": seen(parent(nameservers=OURS, ds=("1 13 2 ab",), ds_ttl=3600)), "ours": True, "registered_nameservers": OURS}, [("BYO-API-NOOP", "info")]),
    ("DS lately", {"ds_gone_at": NOW - timedelta(seconds=59), "ds_ttl": 60}, [("BYO-DS-RECENT", "block")]),
    ("DS long gone", {"ds_gone_at": NOW - timedelta(seconds=61), "ds_ttl": 60}, []),
    ("CDS", {"observation": seen(others=(server(OLD[0], cds=("1 13 2 ab",)),))}, [("BYO-CDS", "warn")]),
    ("CDS for removal", {"observation": seen(others=(server(OLD[0], cds=("0 0 0 00",)),))}, []),
    *[(f"mail by {rtype} {label}", {"old": zone((label, rtype, content))}, [("BYO-OLD-MAIL", "acknowledge")])
      for label, rtype, content in (
          ("", "MX", "10 mx.old.net."), ("", "TXT", '"v=spf1 -all"'), ("_dmarc", "TXT", '"v=DMARC1"'), ("s1._domainkey", "TXT", '"k"'),
          ("s1._domainkey", "CNAME", "x.y."), ("autodiscover", "CNAME", "o.net."), ("_sip._tls", "SRV", "1 1 1 s."), ("_mta-sts", "TXT", '"v"'))],
    ("null MX", {"old": zone(("", "MX", "0 ."))}, []),
    ("mail imported", {"old": zone(("", "MX", "10 mx.old.net.")), "imported": frozenset({(f"{DOMAIN}.", "MX")})}, []),
    *[(f"web by {rtype} {label}", {"old": zone((label, rtype, content))}, [("BYO-OLD-WEB", "acknowledge")])
      for label, rtype, content in (("", "A", "192.0.2.1"), ("www", "AAAA", "::1"), ("shop", "A", "192.0.2.1"), ("", "HTTPS", "1 ."))],
    ("web by a CNAME", {"old": zone(("shop", "CNAME", "x.y."))}, [("BYO-OLD-WEB", "acknowledge")]),
    ("web imported", {"old": zone(("shop", "A", "192.0.2.1")), "imported": frozenset({(f"shop.{DOMAIN}.", "A")})}, []),
    ("delegated further", {"old": zone(("sub", "NS", "ns.x."))}, [("BYO-OLD-DELEG", "acknowledge")]),
    ("apex NS", {"old": zone(("", "NS", "ns1.old.net."), ("", "SOA", "a. b. 1 2 3 4 5"))}, []),
    ("wildcard", {"old": zone(wildcard=True)}, [("BYO-OLD-DELEG", "acknowledge")]),
    ("verification", {"old": zone(("", "TXT", '"google-site-verification=x"'))}, [("BYO-OLD-TXT", "acknowledge")]),
    ("certificates", {"old": zone(("_acme-challenge", "CNAME", "x.y."))}, [("BYO-OLD-TXT", "warn")]),
    ("CAA without our CA", {"old": zone(("", "CAA", '0 issue "digicert.com"'))}, [("BYO-CAA", "acknowledge")]),
    ("CAA with our CA", {"old": zone(("", "CAA", '0 issue "letsencrypt.org; x=y"'))}, []),
    ("CAA without issue", {"old": zone(("", "CAA", '0 iodef "mailto:a@b"'))}, []),
    ("CAA imported", {"old": zone(("", "CAA", '0 issue "digicert.com"')), "imported": frozenset({(f"{DOMAIN}.", "CAA")})}, []),
    ("long TTL at the parent", {"observation": seen(parent(ns_ttl=172800))}, [("BYO-TTL", "info")]),
    ("long TTL of the zone", {"observation": seen(others=(server(OLD[0], ns_ttl=86400),))}, [("BYO-TTL", "info")]),
    ("transferable", {"transferable": True}, [("BYO-AXFR", "info")]),
    ("not transferable", {"transferable": False}, []),
    ("one nameserver", {"nameservers": OURS[:1]}, [("BYO-NSMIN", "block")]),
    ("fourteen nameservers", {"nameservers": tuple(f"ns{n}.platform.net" for n in range(14))}, [("BYO-NSMIN", "block")]),
    ("one address", {"prepared": (server(), server(OURS[1]))}, [("BYO-NSMIN", "block")]),
    ("prepared", {"prepared": BOTH, "signed": True}, []),
    *[(f"ours with {more}", {"prepared": (BOTH[0], server(OURS[1], "192.0.2.12", **more))}, [("BYO-OURNS", "block")])
      for more in ({"state": "refused"}, {"state": "silent"}, {"tcp": False}, {"edns": False}, {"udp": False}, {"nameservers": OLD}, {"serial": 2})],
    ("zone lacks records", {"prepared": BOTH, "missing": ("console.acme.com. A",)}, [("BYO-OURZONE", "block")]),
    ("zone unsigned", {"prepared": BOTH, "signed": False}, [("BYO-OURZONE", "block")]),
    ("registrar forbids", {"obstacle": "the token may not change nameservers", "may_set": False}, [("BYO-API-SCOPE", "block")]),
    ("registrar does not tell", {"may_set": None}, [("BYO-API-SCOPE", "warn")]),
    ("nothing to change", {"registered_nameservers": OURS, "observation": seen(parent(nameservers=OURS))}, [("BYO-API-NOOP", "info")]),
    ("account of somebody else", {"registered_nameservers": ("ns1.other.net", "ns2.other.net")}, [("BYO-REGISTRAR-DIFFERS", "block")]),
    ("our change on its way", {"registered_nameservers": OURS, "ours": True}, [("BYO-API-NOOP", "info")]),
    ("ours on record before we came", {"registered_nameservers": OURS}, [("BYO-API-NOOP", "info"), ("BYO-REGISTRAR-DIFFERS", "block")]),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_check(facts: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each row of the list is found, with its code and severity."""
    assert found(**facts) == expected


def test_every_finding_says_what_to_do() -> None:
    """A finding says in words what was seen, and the remedy."""
    every = [one for row in ROWS for one in judge(replace(CLEAN, **row[1]))]
    assert all(one.seen and one.remedy for one in every)
    documented = {
        "BYO-NAME", "BYO-NOT-APEX", "BYO-CLAIMED", "BYO-BELOW", "BYO-LAME-CLAIM", "BYO-UNREG", "BYO-HOLD", "BYO-LOCK", "BYO-PARENT-SPLIT",
        "BYO-DS", "BYO-DS-RECENT", "BYO-CDS", "BYO-OLD-UNSEEN", "BYO-OLD-MAIL", "BYO-OLD-WEB", "BYO-OLD-DELEG", "BYO-OLD-TXT", "BYO-CAA",
        "BYO-TTL", "BYO-AXFR", "BYO-NSMIN", "BYO-OURNS", "BYO-OURZONE", "BYO-API-SCOPE", "BYO-API-NOOP",
        "BYO-PARENT-UNREACHABLE", "BYO-REGISTRAR-DIFFERS",
    }  # fmt: skip
    assert {one.code for one in every} == documented


def test_unseen_in_words() -> None:
    """The finding counts by kind what is not known, names mail, and tells what is still being asked."""
    names = [("", "MX"), ("k1._domainkey.", "TXT"), ("www.", "A"), ("_sip._tls.", "SRV")]
    (told,) = judge(replace(CLEAN, old=unseen(*names)))
    assert "4 questions" in told.seen
    assert "1 about addresses, 2 about mail, 1 about services" in told.seen
    assert f"{DOMAIN} MX among them" in told.seen
    assert "still being asked" not in told.seen
    (told,) = judge(replace(CLEAN, old=unseen(("www.", "A"), tries=())))
    assert "1 of them are still being asked" in told.seen


def test_what_stands_in_the_way() -> None:
    """A block cannot be acknowledged; what can be, stands in the way until its code is named."""
    block, ask, warn, info = (
        Finding(code=severity, severity=severity, seen="x", remedy="y")  # type: ignore[arg-type]
        for severity in ("block", "acknowledge", "warn", "info")
    )
    everything = (block, ask, warn, info)
    assert blocking(everything, ()) == (block, ask)
    assert blocking(everything, ("block", "acknowledge")) == (block,)
    assert blocking((ask, warn, info), ("acknowledge",)) == ()


@pytest.mark.parametrize("name", ["acme.com", "acme.co.uk", "x.acme.com", "acme.zz"])
def test_name_that_may_be_a_domain(name: str) -> None:
    """A name below a public suffix may be somebody's domain, also below a TLD that the list does not know."""
    assert special_use(name) is None


def test_caa_of_several_records() -> None:
    """One record that admits the CA is enough."""
    caa = RRset(
        name=DOMAIN, type="CAA", ttl=1, contents=('0 issue "a.org"', '0 issue "letsencrypt.org"', '0 issuewild ";"')
    )
    assert allows(caa, ["letsencrypt.org"])
    assert not allows(caa, ["b.org"])


def test_document() -> None:
    """The document has every code that the pre-flight may tell, every phase and every proof."""
    document = (Path(__file__).parents[2] / "docs" / "byo.md").read_text("utf-8")
    every = {one.code for row in ROWS for one in judge(replace(CLEAN, **row[1]))}
    assert every | {"BYO-OLD-LAME"} == set(re.findall(r"^\| `(BYO-[A-Z-]+)`", document, re.MULTILINE))
    words = [*get_args(Phase), *(proof.value for proof in Proof)]
    assert [word for word in words if f"| `{word}` |" not in document] == []
