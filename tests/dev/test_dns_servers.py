"""PowerDNS and Unbound of `pdm_service.dev` against their promises."""

from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import httpx
import pytest

from pdm_service.dev.servers import (
    PowerDNS,
    Resolver,
    ServerFailed,
    free_port,
    wait_until,
)
from tests.patience import patient

DEADLINE_SECONDS = patient(20)


def ask(port: int, name: str, kind: str = "A", seconds: float = 5.0) -> dns.message.Message:
    """One answer from a nameserver, with DNSSEC asked for."""
    return dns.query.udp(dns.message.make_query(name, kind, want_dnssec=True), "127.0.0.1", port=port, timeout=seconds)


def call(powerdns: PowerDNS, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One call of PowerDNS's API that must succeed."""
    url = f"{powerdns.api_url}/api/v1/servers/localhost/{path}"
    answer = httpx.request(method, url, json=body, headers={"X-API-Key": powerdns.api_key}).raise_for_status()
    return answer.json() if answer.content else None


def rrset(name: str, kind: str, *contents: str) -> dict[str, Any]:
    """One RRset in the API's words."""
    records = [{"content": content, "disabled": False} for content in contents]
    return {"name": name, "type": kind, "ttl": 300, "changetype": "REPLACE", "records": records}


def make_zone(powerdns: PowerDNS, zone: str, address: str) -> dict[str, Any]:
    """A signed zone with one address; gives its key, with its DNSKEY and DS records."""
    body = {
        "name": zone,
        "kind": "Native",
        "dnssec": True,
        "nameservers": [f"ns1.{zone}"],
        "rrsets": [rrset(zone, "A", address)],
    }
    call(powerdns, "POST", "zones", body)
    (key,) = call(powerdns, "GET", f"zones/{zone}/cryptokeys")
    return dict(key)


def delegate(powerdns: PowerDNS, parent: str, child: str, key: dict[str, Any]) -> None:
    """Put the child's NS and DS into its parent, instead of what stood there."""
    rrsets = [rrset(child, "NS", f"ns1.{child}"), rrset(child, "DS", key["ds"][1])]
    call(powerdns, "PATCH", f"zones/{parent}", {"rrsets": rrsets})


def test_powerdns_keeps_its_zones_and_address(powerdns: PowerDNS) -> None:
    """After a stop and after a kill, a start on the same ports answers with the zones it had."""
    make_zone(powerdns, "kept.test.", "192.0.2.1")
    for end in (powerdns.stop, powerdns.kill):
        end()
        assert powerdns.pid is None
        powerdns.start()
        assert "192.0.2.1" in ask(powerdns.dns_port, "kept.test.").to_text()


def test_powerdns_without_caches_shows_a_change_at_once(powerdns: PowerDNS) -> None:
    """A name that was just refused is answered as soon as the API has made its zone."""
    assert dns.rcode.REFUSED == ask(powerdns.dns_port, "fresh.test.").rcode()
    make_zone(powerdns, "fresh.test.", "192.0.2.2")
    assert "192.0.2.2" in ask(powerdns.dns_port, "fresh.test.").to_text()


def test_powerdns_frozen_hangs_and_thawed_goes_on(powerdns: PowerDNS) -> None:
    """A frozen server answers neither DNS nor its API; thawed it answers both."""
    powerdns.freeze()
    try:
        with pytest.raises(dns.exception.Timeout):
            ask(powerdns.dns_port, "example.test.", seconds=0.3)
        with pytest.raises(httpx.TimeoutException):
            httpx.get(powerdns.api_url, timeout=0.3)
    finally:
        powerdns.thaw()
    assert dns.rcode.REFUSED == ask(powerdns.dns_port, "example.test.", seconds=DEADLINE_SECONDS).rcode()
    assert httpx.codes.UNAUTHORIZED == httpx.get(f"{powerdns.api_url}/api/v1/servers").status_code


def test_resolver_validates_under_its_anchors(place: Path, powerdns: PowerDNS) -> None:
    """An answer under the right anchor is secure, under a wrong one it is bogus."""
    key = make_zone(powerdns, "right.test.", "192.0.2.3")["dnskey"]
    make_zone(powerdns, "wrong.test.", "192.0.2.4")
    stubs = dict.fromkeys(("right.test.", "wrong.test."), ("127.0.0.1", powerdns.dns_port))
    anchors = [f"{zone} IN DNSKEY {key}" for zone in stubs]
    with Resolver(place / "resolver", free_port(), stubs=stubs, anchors=anchors) as resolver:
        answer = ask(resolver.port, "right.test.")
        assert answer.flags & dns.flags.AD
        assert "192.0.2.3" in answer.to_text()
        assert dns.rcode.SERVFAIL == ask(resolver.port, "wrong.test.").rcode()


def test_resolver_forgets_a_denial_at_once(place: Path, powerdns: PowerDNS) -> None:
    """A name that was just denied, securely, is answered as soon as it is there."""
    anchor = f"pool.test. IN DNSKEY {make_zone(powerdns, 'pool.test.', '192.0.2.5')['dnskey']}"
    stubs = {"pool.test.": ("127.0.0.1", powerdns.dns_port)}
    with Resolver(place / "denial", free_port(), stubs=stubs, anchors=[anchor]) as resolver:
        missing = ask(resolver.port, "new.pool.test.")
        assert dns.rcode.NXDOMAIN == missing.rcode()
        assert missing.flags & dns.flags.AD
        call(powerdns, "PATCH", "zones/pool.test.", {"rrsets": [rrset("new.pool.test.", "A", "192.0.2.6")]})
        assert "192.0.2.6" in ask(resolver.port, "new.pool.test.").to_text()


def test_resolver_soon_forgets_old_keys(place: Path, powerdns: PowerDNS) -> None:
    """A child zone made anew with new keys is secure again within seconds, whatever the TTLs say."""
    anchor = f"parent.test. IN DNSKEY {make_zone(powerdns, 'parent.test.', '192.0.2.5')['dnskey']}"
    stubs = {"parent.test.": ("127.0.0.1", powerdns.dns_port)}
    child = "a.parent.test."

    def is_secure() -> bool:
        return bool(ask(resolver.port, child).flags & dns.flags.AD)

    with Resolver(place / "keys", free_port(), stubs=stubs, anchors=[anchor]) as resolver:
        delegate(powerdns, "parent.test.", child, make_zone(powerdns, child, "192.0.2.7"))
        assert is_secure()
        call(powerdns, "DELETE", f"zones/{child}")
        assert not is_secure()
        delegate(powerdns, "parent.test.", child, make_zone(powerdns, child, "192.0.2.8"))
        assert wait_until(is_secure, 5.0)


def test_resolver_follows_its_server_back(place: Path, powerdns: PowerDNS) -> None:
    """A nameserver that was away is asked again as soon as it is back, and the resolver too comes back."""
    make_zone(powerdns, "back.test.", "192.0.2.6")
    stubs = {"back.test.": ("127.0.0.1", powerdns.dns_port)}
    with Resolver(place / "back", free_port(), stubs=stubs, anchors=[]) as resolver:
        powerdns.kill()
        for _ in range(5):
            assert dns.rcode.SERVFAIL == ask(resolver.port, "back.test.", seconds=DEADLINE_SECONDS).rcode()
        powerdns.start()
        assert wait_until(lambda: "192.0.2.6" in ask(resolver.port, "back.test.").to_text(), 5.0)
        resolver.kill()
        resolver.start()
        assert "192.0.2.6" in ask(resolver.port, "back.test.").to_text()


def test_resolver_asks_nothing_outside(place: Path) -> None:
    """A name outside the stubs is refused at once, for nothing but loopback is ever asked."""
    with Resolver(place / "outside", free_port(), stubs={}, anchors=[]) as resolver:
        assert dns.rcode.SERVFAIL == ask(resolver.port, "www.example.com.", seconds=patient(2)).rcode()


def test_resolver_with_a_broken_anchor_says_so(place: Path) -> None:
    """An anchor that cannot be read makes the start fail with what the log said."""
    with pytest.raises(ServerFailed, match="anchor"):
        Resolver(place / "anchor", free_port(), stubs={}, anchors=["nonsense"]).start()
