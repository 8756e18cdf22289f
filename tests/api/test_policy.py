"""Which names may be had, and by whom: brands, look-alikes, names that were released lately, quotas."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.api.test_callers import Caller, bob_sees_pools, line
from tests.eventually import eventually
from tests.service import Service, at_once, name

POLICY = f"""
platform = ["intranet"]
abuse = ["casino"]

[[brand]]
word = "omantel"
contains = true
client = "alice"
key = "{hashlib.sha256(b"opens-omantel").hexdigest()}"

[[brand]]
word = "bankmuscat"
"""
CALLERS = [
    line("alice", "key-alice", "allocate"),
    line("bob", "key-bob", "allocate", "check"),
    line("few", "key-few", "allocate", quotas={"reservations": 4}),
    line("names", "key-names", "allocate", quotas={"names": 3}),
    line("hourly", "key-hourly", "allocate", quotas={"reservationsPerHour": 5}),
    line("reseller", "key-reseller", "allocate", tenantQuotas={"names": 2}),
    line("metrics", "key-metrics", "metrics"),
]


@pytest.fixture(scope="module")
def settings(directory: Path) -> dict[str, str]:
    (directory / "policy.toml").write_text(POLICY)
    (directory / "policy-callers.jsonl").write_text("\n".join(CALLERS))
    return {
        "PDM_AUTH_TOKENS_FILE": str(directory / "policy-callers.jsonl"),
        "PDM_NAME_POLICY_FILE": str(directory / "policy.toml"),
        "PDM_CONFUSABLES": "refuse",
    }


@pytest.fixture(scope="module")
def service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, settings: dict[str, str]
) -> Iterator[Service]:
    for one in new_shared_service(directory, postgres, template, powerdns, **settings):
        eventually(lambda one=one: all(pool["state"] == "ready" for pool in bob_sees_pools(one)))
        yield one


@pytest.fixture
def alice(service: Service) -> Caller:
    return Caller(service, "alice")


@pytest.fixture
def bob(service: Service) -> Caller:
    return Caller(service, "bob")


def check(caller: Caller, label: str, **more: str) -> dict[str, object]:
    query = {"poolDomain": caller.service.pool, "subdomain": label, **more}
    return caller("GET", "/v1/check", params=query).json()


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("intranet", "reserved"), ("casino", "reserved"), ("my-c4sin0", "reserved"), ("casinova", None),
        ("omantel", "reserved"), ("my-oman-tel", "reserved"), ("bankmuscat", "reserved"), ("bankmuscats", None),
        ("login-bankmuscat", "reserved"), ("c0nsole", "reserved"), ("con-sole", "reserved"), ("consoles", None),
    ],
)  # fmt: skip
def test_label_of_the_deployments_lists(bob: Caller, label: str, reason: str | None) -> None:
    """What the deployment's file keeps back is reserved, for check and reserve alike, on all routes."""
    assert check(bob, label).get("reason") == reason
    compat = bob("GET", f"/api/v1/pool/{bob.service.pool}/check", params={"sub": label}).json()
    assert compat.get("reason") == reason
    reply = bob.reserve(label)
    assert reply.status_code == (422 if reason else 201), reply.text
    assert not reason or reply.json()["error"] == "reserved-name"
    wanted = {"poolDomain": bob.service.pool, "subdomain": f"{label}"}
    put = bob("PUT", f"/v1/allocations/{label}.{bob.service.pool}", params={"owner": "o"}, json=wanted)
    assert put.status_code == (422 if reason else 409)


def test_brand_is_opened_to_one_client_with_its_key(alice: Caller, bob: Caller) -> None:
    """A brand's name is given to the client that the key was made for, if it sends the key; to nobody else."""
    key = {"PDM-Allocation-Key": "opens-omantel"}
    body = {"poolDomain": alice.service.pool, "subdomain": "omantel"}
    assert bob("POST", "/v1/reserve", json=body, headers=key).json()["error"] == "reserved-name"
    assert alice("POST", "/v1/reserve", json=body).json()["error"] == "reserved-name"
    wrong = alice("POST", "/v1/reserve", json=body, headers={"PDM-Allocation-Key": "opens-x"})
    assert wrong.json()["error"] == "reserved-name"
    query = {"poolDomain": alice.service.pool, "subdomain": "omantel"}
    assert alice("GET", "/v1/check", params=query, headers=key).json()["available"] is True
    assert alice("POST", "/v1/reserve", json=body, headers=key).status_code == 201
    other = {"poolDomain": alice.service.pool, "subdomain": "omantel-south"}
    path = f"/v1/allocations/omantel-south.{alice.service.pool}"
    assert alice("PUT", path, params={"owner": "o"}, json=other).status_code == 422
    assert alice("PUT", path, params={"owner": "o"}, json=other, headers=key).status_code == 201


def test_lookalike_of_anothers_name(alice: Caller, bob: Caller) -> None:
    """A name that is easily mistaken for another client's is refused; for one's own it is not."""
    stem = name("il")
    assert alice.reserve(stem).status_code == 201
    alike = stem.replace("i", "l", 1)
    seen = check(bob, alike)
    assert (seen["available"], seen["reason"]) == (False, "confusable")
    reply = bob.reserve(alike)
    assert (reply.status_code, reply.json()["error"]) == (409, "conflict")
    wanted = {"poolDomain": bob.service.pool, "subdomain": alike}
    assert (
        bob("PUT", f"/v1/allocations/{alike}.{bob.service.pool}", params={"owner": "o"}, json=wanted).status_code == 409
    )
    assert check(alice, alike)["available"] is True
    assert alice.reserve(alike).status_code == 201


def test_lookalikes_at_once(service: Service, alice: Caller, bob: Caller) -> None:
    """Of two clients that want two names alike at one moment exactly one gets his."""
    for _ in range(8):
        stem = name("il")
        wanted = [(alice, stem), (bob, stem.replace("i", "l", 1))]
        replies = at_once(2, lambda i, wanted=wanted: wanted[i][0].reserve(wanted[i][1]).status_code)
        assert sorted(replies) == [201, 409]


def test_lookalike_is_told_where_it_is_allowed(new_service: Callable[..., Service], settings: dict[str, str]) -> None:
    """With the setting at its default a look-alike is given, with a warning to who takes it."""
    service = new_service(**{**settings, "PDM_CONFUSABLES": "warn"}).start()
    alice, bob = Caller(service, "alice"), Caller(service, "bob")
    stem = name("il")
    assert "warning" not in alice.reserve(stem).json()
    alike = stem.replace("i", "l", 1)
    assert "easily mistaken" in str(check(bob, alike)["warning"])
    reply = bob.reserve(alike)
    assert (reply.status_code, "easily mistaken" in reply.json()["warning"]) == (201, True)
    assert "warning" in bob.reserve("c0nsole").json()


def test_released_name_is_kept_for_its_last_holder(service: Service, alice: Caller, bob: Caller) -> None:
    """A released active name is nobody's but its last holder's, client and tenant; by check, reserve, PUT and look."""
    label = name("il")
    token = alice.reserve(label, tenant="acme").json()["reservationToken"]
    fqdn = f"{label}.{service.pool}"
    body = {"fqdn": fqdn, "reservationToken": token, "loadBalancerIP": "192.0.2.1"}
    assert alice("POST", "/v1/commit", json=body).status_code in {200, 202}
    assert alice("DELETE", f"/v1/allocations/{fqdn}").status_code in {200, 202}
    eventually(lambda: alice("GET", f"/v1/allocations/{fqdn}").status_code == 404, 15)
    assert check(bob, label)["reason"] == "quarantined"
    assert check(alice, label)["reason"] == "quarantined"
    assert check(alice, label, tenant="acme")["available"] is True
    for reply in (bob.reserve(label), alice.reserve(label), alice.reserve(label, tenant="other")):
        assert (reply.status_code, reply.json()["error"]) == (409, "conflict")
        assert "last holder" in reply.json()["detail"]
    wanted = {"poolDomain": service.pool, "subdomain": label}
    assert bob("PUT", f"/v1/allocations/{fqdn}", params={"owner": "acme"}, json=wanted).status_code == 409
    assert bob.reserve(label.replace("i", "l", 1)).status_code == 409
    assert alice.reserve(label, tenant="acme").status_code == 201


def test_reservation_that_ends_is_free_for_all(alice: Caller, bob: Caller) -> None:
    """What was never published is kept for nobody."""
    label = name()
    token = alice.reserve(label).json()["reservationToken"]
    body = {"fqdn": f"{label}.{alice.service.pool}", "reservationToken": token}
    assert alice("POST", "/v1/release", json=body).status_code == 200
    assert bob.reserve(label).status_code == 201


def test_quarantine_ends(service: Service, alice: Caller, bob: Caller) -> None:
    """When its time is over a name is anybody's."""
    label = name()
    alice.publish(label)
    path = f"/v1/allocations/{label}.{service.pool}"
    alice("DELETE", path)
    eventually(lambda: alice("GET", path).status_code == 404, 15)
    assert bob.reserve(label).status_code == 409
    service.execute(f"UPDATE quarantine SET until = now() WHERE fqdn = '{label}.{service.pool}'")
    assert bob.reserve(label).status_code == 201


def test_quota_of_open_reservations(service: Service) -> None:
    """A client with as many open reservations as it may have waits for one to end; a retry gets its own again."""
    caller = Caller(service, "few")
    key = {"Idempotency-Key": name()}
    body = {"poolDomain": service.pool, "subdomain": name()}
    first = caller("POST", "/v1/reserve", json=body, headers=key)
    assert [caller.reserve(name()).status_code for _ in range(2)] == [201, 201]
    own = caller("POST", "/v1/reserve", json={"mode": "byo-manual", "domain": f"{name()}.zz"})
    assert own.status_code == 201
    for reply in (
        caller.reserve(name()),
        caller("POST", "/v1/reserve", json={"mode": "byo-manual", "domain": f"{name()}.zz"}),
        caller("POST", f"/api/v1/pool/{service.pool}/reserve", json={"subdomain": name()}),
    ):
        assert (reply.status_code, reply.json()["error"]) == (429, "quota-exceeded")
        assert 0 < int(reply.headers["retry-after"]) <= 1801
    assert caller("POST", "/v1/reserve", json=body, headers=key).json() == first.json()
    caller("POST", "/v1/release", json={"fqdn": first.json()["fqdn"]})
    assert caller.reserve(name()).status_code == 201


def test_quota_of_names_counts_what_is_declared(service: Service) -> None:
    """Names count in every state, however they are held."""
    caller = Caller(service, "names")
    labels = [name() for _ in range(4)]
    for label in labels:
        wanted = {"poolDomain": service.pool, "subdomain": label}
        reply = caller("PUT", f"/v1/allocations/{label}.{service.pool}", params={"owner": "o"}, json=wanted)
        assert reply.status_code == (201 if label != labels[3] else 429)


def test_quota_of_a_tenant(service: Service) -> None:
    """Each of a client's tenants has a quota of its own; names for no tenant are not counted."""
    caller = Caller(service, "reseller")
    found = [caller.reserve(name(), tenant=tenant).status_code for tenant in ("a", "b") for _ in range(3)]
    assert found == [201, 201, 429] * 2
    assert caller.reserve(name()).status_code == 201


def test_quotas_hold_across_replicas_under_a_burst(
    new_service: Callable[..., Service], settings: dict[str, str]
) -> None:
    """However many requests come at once to however many replicas: not one name more than the quota."""
    services = [new_service(**settings).start() for _ in range(2)]
    for identity, limit in (("few", 4), ("hourly", 5)):
        found = at_once(32, lambda i, identity=identity: Caller(services[i % 2], identity).reserve(name()).status_code)
        assert sorted(found) == [201] * limit + [429] * (32 - limit), identity
    refused = Caller(services[0], "hourly").reserve(name())
    assert 3000 < int(refused.headers["retry-after"]) <= 3601
    tenants = at_once(24, lambda i: Caller(services[i % 2], "reseller").reserve(name(), tenant="t").status_code)
    assert sorted(tenants) == [201] * 2 + [429] * 22


def test_refusals_are_counted(service: Service, alice: Caller) -> None:
    """Why names were not given is counted, without a name in it."""
    text = Caller(service, "metrics")("GET", "/metrics").text
    for reason in ("quota", "quarantined", "confusable", "brand"):
        assert f'pdm_refusals_total{{reason="{reason}"}}' in text
    assert json.loads(line("x", "y", "check"))["id"] == "x"
