"""What a customer takes along: as it was found, but for what cannot stand beside the platform's records."""

import pytest

from pdm_service.byo import imports
from pdm_service.errors import InvalidFormat
from pdm_service.model.observation import OldZone
from pdm_service.model.records import RRset

DOMAIN = "acme.com"
CA = ("letsencrypt.org",)


def zone(*rrsets: tuple[str, str, tuple[str, ...]], ttl: int = 300) -> OldZone:
    found = tuple(RRset(name=f"{name}.", type=rtype, ttl=ttl, contents=contents) for name, rtype, contents in rrsets)
    return OldZone(domain=DOMAIN, asked=(), rrsets=found, wildcard=False, unanswered=())


def listed(*rrsets: tuple[str, str]) -> list[tuple[str, str]]:
    """Name and type of RRsets, as a commit lists them."""
    return [(f"{name}.", rtype) for name, rtype in rrsets]


def imported(old: OldZone | None, listed: list[tuple[str, str]], issuers: tuple[str, ...]) -> tuple[RRset, ...]:
    return imports.taken(DOMAIN, old, imports.choice(DOMAIN, listed), issuers)


def test_import() -> None:
    """An RRset is copied under its name, with a TTL of an hour at most."""
    old = zone((DOMAIN, "MX", ("10 mx.old.net.", "20 mx2.old.net.")), ttl=86400)
    wanted = RRset(name="acme.com.", type="MX", ttl=3600, contents=("10 mx.old.net.", "20 mx2.old.net."))
    assert imported(old, listed((DOMAIN, "MX"), (DOMAIN, "MX")), CA) == (wanted,)
    assert imported(zone(ttl=5), [], CA) == ()


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        (DOMAIN, "SOA"), (DOMAIN, "NS"), (DOMAIN, "DS"), (DOMAIN, "DNSKEY"), (DOMAIN, "CDS"), (DOMAIN, "A"), (DOMAIN, "AAAA"),
        (DOMAIN, "CNAME"), ("console.acme.com", "CNAME"), ("*.acme.com", "A"), ("api.acme.com", "A"), ("gitea.acme.com", "NS"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported(name: str, rtype: str) -> None:
    """What the platform's own records take the place of is refused by name."""
    with pytest.raises(InvalidFormat, match=rtype):
        imported(zone((name, rtype, ("x",))), listed((name, rtype)), CA)


def test_what_was_not_found() -> None:
    """What the old nameservers did not show, and what lies elsewhere, is refused by name."""
    with pytest.raises(InvalidFormat, match=r"www\.acme\.com"):
        imported(zone(), listed(("www.acme.com", "A")), CA)
    with pytest.raises(InvalidFormat, match="not found"):
        imported(None, listed(("www.acme.com", "A")), CA)
    with pytest.raises(InvalidFormat, match=r"other\.com"):
        imported(zone(("other.com", "A", ("192.0.2.1",))), listed(("other.com", "A")), CA)


def test_cname_beside_other_data() -> None:
    """A CNAME stands alone (RFC 1034 section 3.6.2)."""
    old = zone(("x.acme.com", "CNAME", ("y.",)), ("x.acme.com", "TXT", ('"t"',)))
    with pytest.raises(InvalidFormat, match="CNAME"):
        imported(old, listed(("x.acme.com", "CNAME"), ("x.acme.com", "TXT")), CA)


def test_caa_that_excludes_the_platforms_ca() -> None:
    """The platform's CA is added to a CAA that would keep it from issuing, and to no other."""
    strict = zone((DOMAIN, "CAA", ('0 issue "digicert.com"',)))
    (made,) = imported(strict, listed((DOMAIN, "CAA")), CA)
    assert made.contents == ('0 issue "digicert.com"', '0 issue "letsencrypt.org"')
    loose = zone((DOMAIN, "CAA", ('0 iodef "mailto:a@b"',)))
    assert imported(loose, listed((DOMAIN, "CAA")), CA)[0].contents == ('0 iodef "mailto:a@b"',)
