"""The whole life of a name: by API, by DNS, and as a validating resolver sees it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS, Resolver, free_port
from tests.conftest import new_powerdns
from tests.dns_view import Api, ask, records, secure
from tests.eventually import eventually
from tests.service import ADDRESS, NAMESERVERS, Service, name, running

CANONICAL = ("", "anything.", "console.", "api.", "gitea.", "harbor.")


@pytest.fixture
def resolver(directory: Path, service: Service, api: Api, powerdns: PowerDNS) -> Iterator[Resolver]:
    """A validating resolver whose only trust anchor is the pool zone's key."""
    keys = [f"{service.pool}. IN DNSKEY {key['dnskey']}" for key in api.keys(service.pool)]
    stubs = {service.pool: ("127.0.0.1", powerdns.dns_port)}
    server = Resolver(directory / f"unbound-{service.port}", free_port(), stubs=stubs, anchors=keys)
    server.start()
    yield server
    server.stop()


def test_a_name_lives_from_check_to_gone(service: Service, api: Api, powerdns: PowerDNS, resolver: Resolver) -> None:
    """A committed name resolves as secure data with its DS in the parent; a released one is gone everywhere."""
    label = name("omantel")
    fqdn = f"{label}.{service.pool}"
    query = {"poolDomain": service.pool, "subdomain": label}
    assert service.client.get("/v1/check", params=query).json() == {"available": True, "fqdn": fqdn}
    held = service.reserve(label, createdBy="wizard").json()
    assert api.zone(fqdn) is None
    assert service.client.get("/v1/check", params=query).json()["reason"] == "reserved-state"

    reply = service.commit(label, held["reservationToken"], sovereignFQDN=fqdn)

    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["dns"]["state"] == "published"
    assert body["nameservers"] == list(NAMESERVERS)
    for prefix in CANONICAL:
        assert records(powerdns.dns_port, f"{prefix}{fqdn}", "A") == [ADDRESS]
        eventually(lambda prefix=prefix: secure(resolver.port, f"{prefix}{fqdn}", "A") == ("NOERROR", [ADDRESS], True))
    ds = [one.lower().replace(" ", "") for one in records(powerdns.dns_port, fqdn, "DS")]
    assert ds == [one.replace(" ", "") for one in body["dnssec"]["ds"]]
    assert api.delegations(service.pool) == {fqdn: {"NS", "DS"}}
    eventually(lambda: secure(resolver.port, f"free.{service.pool}", "A") == ("NXDOMAIN", [], True))

    assert service.release(label).status_code == 200

    assert api.zone(fqdn) is None
    assert api.delegations(service.pool) == {}
    eventually(lambda: secure(resolver.port, fqdn, "A") == ("NXDOMAIN", [], True))
    assert service.get(label).status_code == 404
    assert service.client.get("/v1/check", params=query).json()["available"]
    actions = [one["action"] for one in service.client.get(f"/v1/allocations/{fqdn}/events").json()["events"]]
    assert actions == ["reserved", "committed", "published", "released", "removed"]


def test_the_pool_zone_is_signed_and_denies_narrowly(service: Service, api: Api, powerdns: PowerDNS) -> None:
    """A pool zone is made signed, NSEC3 narrow, without rectify, with a short negative TTL."""
    zone = api.zone(service.pool)
    assert zone is not None
    assert (zone["dnssec"], zone["nsec3narrow"], zone["api_rectify"]) == (True, True, False)
    assert zone["nsec3param"].startswith("1 0 0")
    denial = ask(powerdns.dns_port, f"{name()}.{service.pool}", "A")
    assert denial.authority[0][0].minimum <= 300


def test_a_name_with_ipv6_only_has_no_a_records(service: Service, powerdns: PowerDNS) -> None:
    """Addresses become A or AAAA by their kind, in canonical form."""
    label = name()
    token = service.reserve(label).json()["reservationToken"]
    body = {"fqdn": f"{label}.{service.pool}", "reservationToken": token}
    reply = service.client.post("/v1/commit", json={**body, "loadBalancerIPs": ["2001:DB8::0:1", "2001:db8::2"]})
    assert reply.status_code == 200, reply.text
    assert reply.json()["loadBalancerIPs"] == ["2001:db8::1", "2001:db8::2"]
    assert records(powerdns.dns_port, f"console.{label}.{service.pool}", "AAAA") == ["2001:db8::1", "2001:db8::2"]
    assert records(powerdns.dns_port, f"console.{label}.{service.pool}", "A") == []


@pytest.fixture
def caching(directory: Path, postgres: Postgres) -> Iterator[PowerDNS]:
    """A PowerDNS with its caches as they come."""
    server = new_powerdns(directory, postgres, caches=True)
    yield server
    server.stop()


def test_a_name_asked_for_too_early_is_published_all_the_same(
    directory: Path, database_url: str, caching: PowerDNS, pool: str
) -> None:
    """Denials in PowerDNS's caches from before a commit neither hold it up nor outlive it."""
    with running(Service(directory, database_url, caching, pool)) as service:
        eventually(service.pools_ready)
        for _ in range(2):  # the second time over the caches of the first
            label = "early"
            fqdn = f"{label}.{pool}"
            token = service.reserve(label).json()["reservationToken"]
            for rtype in ("A", "DS", "DNSKEY", "SOA"):
                assert records(caching.dns_port, fqdn, rtype) == []
            assert service.commit(label, token).status_code == 200
            assert records(caching.dns_port, f"console.{fqdn}", "A") == [ADDRESS]
            assert len(records(caching.dns_port, fqdn, "DS")) == 1
            assert service.release(label).status_code == 200
            assert records(caching.dns_port, fqdn, "A") == []


def test_the_settings_of_the_contract_alone_suffice(new_service: Callable[..., Service], powerdns: PowerDNS) -> None:
    """Where the nameservers' names do not resolve yet, PowerDNS's own listener is asked."""
    service = new_service(PDM_NAMESERVER_ADDRESSES="").start()
    label = name()
    token = service.reserve(label).json()["reservationToken"]
    assert service.commit(label, token).status_code == 200
    assert records(powerdns.dns_port, f"{label}.{service.pool}", "A") == [ADDRESS]
