"""The pool domains at their registrar: kept as the platform's, without a commit that waits for it."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapters.conformance.played import OLD, Answer, Domain, Server, limited, lose_reply, reply, silent
from pdm_service.dev.servers import PowerDNS
from tests.dns_view import Api
from tests.eventually import eventually
from tests.registrars import play
from tests.registrars.ovh import Ovh
from tests.service import NAMESERVERS, Service, at_once, name

PLATFORM = sorted(NAMESERVERS)


@pytest.fixture
def registrar(request: pytest.FixtureRequest, pool: str) -> Iterator[Server]:
    """A registrar that has the pool domain, with the platform's nameservers and no DS."""
    server = play(getattr(request, "param", "dynadot-api3"))
    server.domains[pool] = Domain(list(PLATFORM))
    yield server
    server.stop()
    assert server.wrong == []


@pytest.fixture
def guarded(new_service: Callable[..., Service], registrar: Server) -> Callable[..., Service]:
    """Start a service that guards its pool domain at the registrar."""

    def start(**more: str) -> Service:
        about = registrar.about
        environment = {
            "PDM_POOL_REGISTRAR": about.name,
            "PDM_POOL_REGISTRAR_TOKEN": registrar.token,
            f"PDM_REGISTRAR_{about.name.upper()}_URL": registrar.url,
            "PDM_RECONCILE_INTERVAL": "1s",
            **more,
        }
        return new_service(**environment).start()

    return start


def registration(service: Service) -> dict[str, Any]:
    """What /v1/pools tells of the pool domain at its registrar."""
    (pool,) = service.client.get("/v1/pools").json()["pools"]
    return pool.get("registration", {})


def in_order(service: Service) -> dict[str, Any]:
    return eventually(lambda: found if (found := registration(service)).get("state") == "in-order" else None, 15)


def ds_of(api: Api, pool: str) -> list[str]:
    """The DS (SHA-256) of the pool zone's keys, once there is a zone."""
    if api.zone(pool) is None:
        return []
    found = [ds.split() for key in api.keys(pool) for ds in key["ds"]]
    return sorted(" ".join([*ds[:3], "".join(ds[3:]).lower()]) for ds in found if ds[2] == "2")


def ds_at(registrar: Server, pool: str) -> list[str]:
    return sorted(
        f"{d['key_tag']} {d['algorithm']} {d['digest_type']} {d['digest'].lower()}" for d in registrar.domains[pool].ds
    )


def looked_again(service: Service, also: str = "") -> None:
    """Have the registrar looked at once more."""
    before = registration(service)["checkedAt"]
    service.execute(f"UPDATE pool_registrations SET due_at = now(){also}")
    eventually(lambda: registration(service)["checkedAt"] > before, 15)


def drifts(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["message"] == "pool registration drifted"]


# --- nameservers --------------------------------------------------------------------------------------


def test_nameservers_that_drifted(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """At start other nameservers are replaced by the platform's; that is logged, counted, and told."""
    registrar.domains[pool].nameservers = list(OLD)
    service = guarded()
    eventually(lambda: sorted(registrar.domains[pool].nameservers) == PLATFORM, 15)
    found = in_order(service)
    assert (found["registrar"], found["nameservers"]) == ("dynadot", PLATFORM)
    assert found["repairedAt"]
    assert found["checkedAt"]
    (line,) = drifts(service)
    assert (line["repairing"], line["nameservers"], line["poolDomain"]) == ("nameservers", list(OLD), pool)
    assert 'pdm_pool_registration_repairs_total{what="nameservers"} 1.0' in service.client.get("/metrics").text


def test_nameservers_in_order(guarded: Callable[..., Service], registrar: Server, pool: str, api: Api) -> None:
    """Where nothing differs nothing is written."""
    service = guarded()
    in_order(service)
    service.stop()
    registrar.read_only = True
    seen = len(registrar.seen)
    again = guarded()
    eventually(lambda: len(registrar.seen) > seen and in_order(again), 15)
    assert ds_at(registrar, pool) == ds_of(api, pool)


def test_nameservers_of_two_replicas(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """Replicas that start together change the nameservers once, however long that takes."""
    registrar.domains[pool].nameservers = list(OLD)
    registrar.fault(lambda server, *_: server.over.wait(1.5), "write")
    for service in at_once(3, lambda _: guarded()):
        in_order(service)
    assert len([seen for seen in registrar.writes if registrar.is_change(seen)]) == 1


def test_change_that_was_cut_off(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """A service that is killed while it changes the nameservers leaves a change that the next one brings to its end."""
    registrar.domains[pool].nameservers = list(OLD)
    registrar.fault(silent, "write", times=1)
    service = guarded()
    eventually(lambda: registrar.writes, 15)
    service.kill()
    # A dead replica's turn ends by itself after two minutes, and a change may be sent again after fifteen.
    service.execute("UPDATE pool_registrations SET lease_until = now(), moved_at = now() - interval '1 hour'")
    in_order(guarded())
    assert sorted(registrar.domains[pool].nameservers) == PLATFORM


def test_change_that_is_not_seen_at_once(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """A change that was sent a moment ago is not sent again."""
    registrar.domains[pool].nameservers = list(OLD)
    registrar.fault(_ignored, "write")
    service = guarded()
    eventually(lambda: registration(service).get("state") in {"changing", "failed"}, 15)
    sent = len(registrar.writes)
    looked_again(service)
    assert registration(service)["state"] == "changing"
    assert len(registrar.writes) == sent


def _ignored(server: Server, handler: Any, seen: Any) -> bool:
    """Say that a change is made, and don't make it."""
    before = {domain: list(one.nameservers) for domain, one in server.domains.items()}
    answer = server.answer(seen)
    for domain, nameservers in before.items():
        server.domains[domain].nameservers = nameservers
    return reply(answer)(server, handler, seen)


# --- DS -----------------------------------------------------------------------------------------------


def test_ds_that_is_missing(guarded: Callable[..., Service], registrar: Server, pool: str, api: Api) -> None:
    """The DS of the pool zone is set at a registrar that can, and told."""
    service = guarded()
    eventually(lambda: ds_at(registrar, pool) == ds_of(api, pool) != [], 15)
    assert eventually(lambda: in_order(service).get("ds"), 15) == ds_of(api, pool)


def test_ds_after_a_change(guarded: Callable[..., Service], registrar: Server, pool: str, api: Api) -> None:
    """A foreign DS goes before the nameservers change; ours comes when the old nameservers are forgotten."""
    registrar.domains[pool] = Domain(list(OLD), [_foreign()])
    service = guarded(PDM_POOL_DS_DELAY="2h")
    in_order(service)
    assert ds_at(registrar, pool) == []
    assert [line["repairing"] for line in drifts(service)] == ["ds", "nameservers"]
    looked_again(service, ", signed_at = NULL")
    assert ds_at(registrar, pool) == []
    service.execute(
        "UPDATE pool_registrations SET due_at = now(), moved_at = now() - interval '3 hours', signed_at = NULL"
    )
    eventually(lambda: ds_at(registrar, pool) == ds_of(api, pool) != [], 15)


def test_foreign_ds(guarded: Callable[..., Service], registrar: Server, pool: str, api: Api) -> None:
    """A foreign DS alone, which makes the pool domain bogus, is replaced at once."""
    registrar.domains[pool].ds = [_foreign()]
    guarded()
    eventually(lambda: ds_at(registrar, pool) == ds_of(api, pool) != [], 15)


def _foreign() -> dict[str, Any]:
    return {"key_tag": 4711, "algorithm": 13, "digest_type": 2, "digest": "ab" * 32}


@pytest.mark.parametrize("registrar", ["ovh"], indirect=True)
def test_registrar_that_takes_its_time(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """What the registrar carries out by itself is followed until it is on record, and not sent again."""
    registrar.domains[pool].nameservers = list(OLD)
    service = guarded()
    eventually(lambda: registration(service).get("state") == "changing", 15)
    looked_again(service)
    assert registration(service)["state"] == "changing"
    registrar.settle()
    looked_again(service)
    assert registration(service)["state"] == "in-order"
    assert len([seen for seen in registrar.writes if registrar.is_change(seen)]) == 1
    assert registration(service)["nameservers"] == PLATFORM


@pytest.mark.parametrize("registrar", ["ovh"], indirect=True)
def test_operation_that_vanished(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """An operation that the registrar knows no more holds nothing up: what is on record tells."""
    registrar.domains[pool].nameservers = list(OLD)
    service = guarded()
    eventually(lambda: registration(service).get("state") == "changing", 15)
    registrar.settle()
    looked_again(service, ", operation = 'never-heard-of'")
    assert registration(service)["state"] == "in-order"


def test_ds_that_cannot_be_read(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """Where the DS cannot be read that is told; the nameservers are mended all the same."""
    registrar.domains[pool].nameservers = list(OLD)
    broken = reply(Answer(200, b'{"GetDnssecResponse": {"ResponseCode": 0, "Status": "success"}}'))
    registrar.fault(lambda s, h, seen: seen.query["command"] == "get_dnssec" and broken(s, h, seen))
    service = guarded()
    found = eventually(lambda: one if (one := registration(service)).get("state") == "in-order" else None, 40)
    assert (found["nameservers"], sorted(registrar.domains[pool].nameservers)) == (PLATFORM, PLATFORM)
    assert "DS" in found["problem"]
    assert "ds" not in found


@pytest.mark.parametrize("registrar", ["ovh"], indirect=True)
def test_foreign_ds_that_takes_its_time(
    guarded: Callable[..., Service], registrar: Server, pool: str, api: Api
) -> None:
    """The nameservers are not changed before the removal of a foreign DS is on record."""
    assert isinstance(registrar, Ovh)
    foreign = {"algorithm": 13, "flags": 257, "publicKey": base64.b64encode(b"x" * 64).decode(), "tag": 0}
    registrar.domains[pool] = Domain(list(OLD), [{"key": foreign}])
    service = guarded()
    eventually(lambda: registration(service).get("state") == "changing", 15)
    looked_again(service)
    assert not [seen for seen in registrar.writes if registrar.is_change(seen)]
    registrar.settle()
    looked_again(service)
    assert [seen for seen in registrar.writes if registrar.is_change(seen)]


# --- beside the work ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [silent, limited(7200), reply(Answer(500)), lose_reply])
def test_commit_while_the_registrar_is_away(
    guarded: Callable[..., Service], registrar: Server, fault: Callable[..., bool]
) -> None:
    """Whatever the registrar does, a commit answers as ever."""
    registrar.fault(fault)
    service = guarded()
    eventually(service.pools_ready)
    eventually(lambda: registrar.seen, 15)
    label = name()
    token = service.reserve(label).json()["reservationToken"]
    assert service.commit(label, token).status_code == 200


def test_registrar_that_refuses(guarded: Callable[..., Service], registrar: Server) -> None:
    """What the registrar refuses is told as the registration's problem, and logged once, without the token."""
    wrong = registrar.wrong_token
    service = guarded(PDM_POOL_REGISTRAR_TOKEN=wrong)
    found = eventually(lambda: one if (one := registration(service)).get("state") == "failed" else None, 15)
    assert found["problem"]
    assert "nameservers" not in found
    (line,) = [line for line in service.lines() if line["message"] == "pool registration"]
    assert line["problem"] == found["problem"]
    assert wrong not in service.log.read_text()


def test_look_at_a_commit(guarded: Callable[..., Service], registrar: Server) -> None:
    """A commit causes a look when the last one is older than an hour, and not before."""
    service = guarded()
    in_order(service)
    service.execute(
        "UPDATE pool_registrations SET due_at = now() + interval '1 day', checked_at = now() - interval '50 minutes'",
    )
    before = len(registrar.seen)
    service.publish(name())
    assert len(registrar.seen) == before
    service.execute("UPDATE pool_registrations SET checked_at = now() - interval '61 minutes'")
    eventually(lambda: service.publish(name()) and len(registrar.seen) > before, 20)


def test_look_that_is_due(guarded: Callable[..., Service], registrar: Server, pool: str) -> None:
    """A day later the registrar is looked at again without any commit, and what drifted meanwhile is mended."""
    service = guarded()
    in_order(service)
    registrar.domains[pool].nameservers = list(OLD)
    service.execute("UPDATE pool_registrations SET due_at = now()")
    eventually(lambda: sorted(registrar.domains[pool].nameservers) == PLATFORM, 15)


def test_zone_that_is_not_served(
    guarded: Callable[..., Service], registrar: Server, pool: str, powerdns: PowerDNS
) -> None:
    """The nameservers are not changed to ones that do not serve the zone."""
    registrar.domains[pool].nameservers = list(OLD)
    registrar.read_only = True
    service = guarded(PDM_NAMESERVER_ADDRESSES="127.0.0.1:9")
    found = eventually(lambda: one if (one := registration(service)).get("state") == "failed" else None, 20)
    assert "nothing is changed" in found["problem"]


def test_without_a_pool_registrar(service: Service) -> None:
    """Without the setting the log says at start what is not looked after."""
    assert [line for line in service.lines() if line["message"] == "no pool registrar"]
    assert registration(service) == {}
