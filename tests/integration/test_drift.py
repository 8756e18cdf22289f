"""Leftovers of former holders, drift, and what others write into a published zone."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from pdm_service.dev.servers import PowerDNS
from pdm_service.model import zone as zone_rules
from pdm_service.store.database import Database
from pdm_service.store.worklist import Worklist
from tests.dns_view import Api, records, rrset
from tests.eventually import eventually
from tests.service import ADDRESS, NAMESERVERS, Service, name

FOREIGN = "198.51.100.66"


@pytest.fixture
def auditing(new_service: Callable[..., Service]) -> Service:
    """A service whose audits follow each other closely."""
    one = new_service(PDM_AUDIT_INTERVAL="1s", PDM_RECONCILE_INTERVAL="1s").start()
    eventually(one.pools_ready)
    return one


def test_a_leftover_zone_hands_nothing_on(service: Service, api: Api, powerdns: PowerDNS) -> None:
    """A zone from somebody's past loses its records and keys before the next holder's name is served."""
    label = name()
    fqdn = f"{label}.{service.pool}"
    ns = {"name": f"{fqdn}.", "type": "NS", "ttl": 60, "records": [{"content": "ns.evil.test.", "disabled": False}]}
    old = {"name": f"evil.{fqdn}.", "type": "A", "ttl": 60, "records": [{"content": FOREIGN, "disabled": False}]}
    api.create(fqdn, dnssec=True, account="pdm-0123", nameservers=[], rrsets=[ns, old])
    old_keys = {key["dnskey"] for key in api.keys(fqdn)}
    service.publish(label)
    assert records(powerdns.dns_port, f"evil.{fqdn}", "A") == [ADDRESS]  # the wildcard's, not the old one's
    assert records(powerdns.dns_port, fqdn, "NS") == [f"{one}." for one in NAMESERVERS]
    assert not old_keys & {key["dnskey"] for key in api.keys(fqdn)}


def test_a_half_made_zone_is_made_whole(service: Service, api: Api, powerdns: PowerDNS) -> None:
    """An empty unsigned zone, as a crash of PowerDNS leaves it, does not stop a publication."""
    label = name()
    api.create(f"{label}.{service.pool}", nameservers=[])
    api.patch(f"{label}.{service.pool}", rrset(f"{label}.{service.pool}", "SOA"))
    body = service.publish(label)
    assert records(powerdns.dns_port, f"api.{label}.{service.pool}", "A") == [ADDRESS]
    assert service.get(label).json()["dnssec"]["ds"] or body


def test_foreign_records_survive_audits(auditing: Service, api: Api, powerdns: PowerDNS) -> None:
    """ACME TXT, external-dns records and LUA at a canonical name stay as they are while drift is repaired."""
    label = name()
    auditing.publish(label)
    fqdn = f"{label}.{auditing.pool}"
    lua = "A \"pickrandom({'192.0.2.77'})\""
    api.patch(
        fqdn,
        rrset(f"_acme-challenge.{fqdn}", "TXT", '"token"'),
        rrset(f"shop.{fqdn}", "A", FOREIGN),
        rrset(f"api.{fqdn}", "A"),
        rrset(f"api.{fqdn}", "LUA", lua),
        rrset(f"console.{fqdn}", "A", FOREIGN),
    )
    eventually(lambda: records(powerdns.dns_port, f"console.{fqdn}", "A") == [ADDRESS], 15)
    auditing.published(label)
    assert records(powerdns.dns_port, f"_acme-challenge.{fqdn}", "TXT") == ['"token"']
    assert records(powerdns.dns_port, f"shop.{fqdn}", "A") == [FOREIGN]
    assert records(powerdns.dns_port, f"api.{fqdn}", "A") == ["192.0.2.77"]
    zone = api.zone(fqdn)
    assert zone is not None
    assert {one["type"] for one in zone["rrsets"] if one["name"] == f"api.{fqdn}."} == {"LUA"}


@pytest.mark.parametrize("what", ["ds", "ns", "delegation", "record", "zone", "surplus"])
def test_drift_of_what_is_ours_is_repaired(auditing: Service, api: Api, powerdns: PowerDNS, what: str) -> None:
    """Whatever of ours is missing or wrong in DNS is brought back, counted and in the audit trail."""
    label = name()
    auditing.publish(label)
    fqdn, pool = f"{label}.{auditing.pool}", auditing.pool
    {
        "ds": lambda: api.patch(pool, rrset(fqdn, "DS")),
        "ns": lambda: api.patch(pool, rrset(fqdn, "NS", "ns.evil.test.")),
        "delegation": lambda: api.patch(pool, rrset(fqdn, "NS"), rrset(fqdn, "DS")),
        "record": lambda: api.patch(fqdn, rrset(f"*.{fqdn}", "A", FOREIGN)),
        "zone": lambda: api.delete(fqdn),
        "surplus": lambda: api.patch(fqdn, rrset(f"gitea.{fqdn}", "AAAA", "2001:db8::66")),
    }[what]()

    def repaired() -> bool:
        zone = api.zone(pool)
        child = api.zone(fqdn)
        if zone is None or child is None:
            return False
        mine = {
            one["type"]: {rec["content"] for rec in one["records"]}
            for one in zone["rrsets"]
            if one["name"] == f"{fqdn}."
        }
        keys = {ds for key in api.keys(fqdn) for ds in key["ds"] if ds.split()[2] == "2"}
        types = {one["type"] for one in child["rrsets"]}
        return mine == {"NS": {f"{one}." for one in NAMESERVERS}, "DS": keys} and types == {"SOA", "NS", "A"}

    eventually(repaired, 20, f"drift of {what} to be repaired")
    eventually(lambda: records(powerdns.dns_port, f"x.{fqdn}", "A") == [ADDRESS], 20)
    eventually(lambda: auditing.published(label))
    trail = auditing.client.get(f"/v1/allocations/{fqdn}/events").json()["events"]
    assert {"drifted", "published"} <= {one["action"] for one in trail}
    assert trail[-1]["outcome"] == "repaired"
    metrics = auditing.client.get("/metrics").text
    assert (
        float(next(line for line in metrics.splitlines() if line.startswith("pdm_drift_found_total")).split()[1]) >= 1
    )


def test_stray_delegations_are_removed_and_foreign_ones_kept(auditing: Service, api: Api) -> None:
    """A delegation to the platform that a release left behind goes.

    One that the database knows nothing of stays, and is told; so does one to somebody else's nameservers.
    """
    released = name()
    auditing.publish(released)
    auditing.release(released)
    auditing.gone(released)
    left, lost, foreign = (f"{label}.{auditing.pool}" for label in (released, name(), name()))
    hosts = [f"{one}." for one in NAMESERVERS]
    api.patch(
        auditing.pool,
        rrset(left, "NS", *hosts, ttl=300),
        rrset(lost, "NS", *hosts, ttl=300),
        rrset(foreign, "NS", "ns.partner.test."),
    )
    eventually(lambda: set(api.delegations(auditing.pool)) == {lost, foreign}, 15)

    def told() -> bool:
        return lost in {line.get("fqdn") for line in auditing.lines() if line["message"] == "stray delegation kept"}

    eventually(told, 15)
    assert set(api.delegations(auditing.pool)) == {lost, foreign}


def test_what_an_audit_takes_for_known(service: Service, database_url: str) -> None:
    """A name that is being released is known to an audit, so that its delegation is no stray while it goes."""
    published, leaving, reserved = name(), name(), name()
    service.publish(published)
    service.publish(leaving)
    service.execute(
        "UPDATE allocations SET state = 'releasing', dns_state = 'removing', due_at = now() + '1 h', expires_at = NULL"
        f" WHERE subdomain = '{leaving}'"
    )
    service.reserve(reserved)

    async def ask() -> dict[str, tuple[int, frozenset[str]] | None]:
        database = Database(database_url, 1)
        await database.open()
        known = await Worklist(database, timedelta(seconds=5), timedelta()).delegated(
            [f"{label}.{service.pool}" for label in (published, leaving, reserved)]
        )
        await database.close()
        return known

    known = asyncio.run(ask())
    assert {fqdn: what is None for fqdn, what in known.items()} == {
        f"{published}.{service.pool}": False, f"{leaving}.{service.pool}": True,
    }  # fmt: skip


def test_the_delegation_of_a_pool_below_another_one_is_no_stray(
    new_service: Callable[..., Service], api: Api, pool: str
) -> None:
    """A pool domain that is delegated from the pool above it keeps delegation and zone, whatever these look like."""
    below = f"eu.{pool}"
    api.create(pool, nameservers=[f"{one}." for one in NAMESERVERS])
    # Its zone reads like an allocation's: nothing but its being a pool domain protects it.
    api.create(below, nameservers=[f"{one}." for one in NAMESERVERS], account="pdm-0123")
    api.patch(pool, rrset(below, "NS", *(f"{one}." for one in NAMESERVERS), ttl=300))
    service = new_service(PDM_POOL_DOMAINS=f"{below},{pool}", PDM_AUDIT_INTERVAL="1s").start()
    eventually(service.pools_ready)

    def checked() -> dict[str, str]:
        return {one["poolDomain"]: one["checkedAt"] for one in service.client.get("/v1/pools").json()["pools"]}

    before = checked()
    eventually(lambda: all(at > before[domain] for domain, at in checked().items()), 10)
    assert api.delegations(pool) == {below: {"NS"}}
    assert api.zone(below) is not None
    assert service.client.get(f"/v1/allocations/{below}/events").status_code == 404


async def test_a_stray_above_a_held_name_is_left_alone(database_url: str, pool: str) -> None:
    """What lies above or below somebody's name is not condemned, and does not stop the audit."""
    database = Database(database_url, 3)
    await database.open()
    worklist = Worklist(database, timedelta(seconds=5), timedelta())
    assert await worklist.condemn(f"a.b.{pool}", pool)
    assert not await worklist.condemn(f"b.{pool}", pool)
    assert not await worklist.condemn(f"a.b.{pool}", pool)
    await database.close()


def test_an_existing_pool_zone_is_brought_in_shape(
    new_service: Callable[..., Service], api: Api, powerdns: PowerDNS, pool: str
) -> None:
    """An unsigned pool zone with a long negative TTL becomes signed and narrow, and keeps foreign records."""
    soa = f"{NAMESERVERS[0]}. hostmaster.{pool}. 7 10800 3600 604800 86400"
    api.create(pool, nameservers=[f"{one}." for one in NAMESERVERS])
    api.patch(pool, rrset(pool, "SOA", soa, ttl=3600), rrset(pool, "MX", "10 mail.partner.test."))
    service = new_service().start()
    label = name()
    service.publish(label)
    zone = api.zone(pool)
    assert zone is not None
    assert zone["dnssec"]
    assert api.metadata(pool) == zone_rules.POOL_METADATA
    assert records(powerdns.dns_port, pool, "MX") == ["10 mail.partner.test."]
    assert int(records(powerdns.dns_port, pool, "SOA")[0].split()[6]) <= 300


@pytest.mark.parametrize("delegated", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_a_pool_zone_whose_creation_was_cut_off_is_completed(
    new_service: Callable[..., Service], api: Api, powerdns: PowerDNS, pool: str, *, signed: bool, delegated: bool
) -> None:
    """A pool zone without an SOA becomes whole, also when a delegation was written into it already."""
    api.create(pool, nameservers=[], dnssec=signed)
    api.patch(pool, rrset(pool, "SOA"))
    label = name()
    if delegated:
        api.patch(pool, rrset(f"{label}.{pool}", "NS", *(f"{one}." for one in NAMESERVERS), ttl=300))
    service = new_service().start()
    service.publish(label)
    eventually(service.pools_ready)
    assert records(powerdns.dns_port, pool, "NS") == [f"{one}." for one in NAMESERVERS]
    assert len(records(powerdns.dns_port, pool, "SOA")) == 1
    assert records(powerdns.dns_port, f"{label}.{pool}", "A") == [ADDRESS]
    assert api.metadata(pool) == zone_rules.POOL_METADATA
    assert service.client.get("/v1/pools").json()["pools"][0].get("problems", []) == []


def test_a_signed_pool_zone_keeps_its_keys(new_service: Callable[..., Service], api: Api, pool: str) -> None:
    """A pool zone signed before, with plain NSEC, keeps its keys when its denials change."""
    api.create(pool, nameservers=[f"{one}." for one in NAMESERVERS], dnssec=True)
    before = {key["dnskey"] for key in api.keys(pool)}
    new_service().start().publish(name())
    assert {key["dnskey"] for key in api.keys(pool)} == before
    assert api.metadata(pool) == zone_rules.POOL_METADATA
