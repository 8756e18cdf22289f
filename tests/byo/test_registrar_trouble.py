"""A registrar that fails, answers late, or carries out later: right state, right words, nothing sent twice."""

import json
from typing import Any

import pytest

from adapters.conformance.played import Answer, Server, limited, lose_reply, reply, silent
from tests import faulty
from tests.byo.conftest import Byo, Registry
from tests.byo.test_crashes import changes
from tests.eventually import eventually
from tests.faulty import Faulty
from tests.patience import patient
from tests.registrars.ovh import Ovh
from tests.tree import OLD_NAMES, PLATFORM_NAMES


def applied_in_silence(server: Server, _: Any, seen: Any) -> bool:
    """Do what is asked, and never answer."""
    server.answer(seen)
    server.over.wait(30)
    return True


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Answer(403, json.dumps({"code": "ACCESS_DENIED"}).encode()), 403, "account-not-eligible"),
        (Answer(422, json.dumps({"code": "FAILED_NAME_SERVER_VALIDATION"}).encode()), 422, "unknown-nameserver"),
        (Answer(409, json.dumps({"code": "INACTIVE_DOMAIN"}).encode()), 409, "registry-locked"),
    ],
)
def test_refused_change(
    api: Byo, customer: str, registrar: Server, registry: Registry, answer: Answer, status: int, code: str
) -> None:
    """A change that the registrar refuses is told in its words; the domain stays the caller's, and is served."""
    registrar.fault(reply(answer), "write", times=1)
    api.reserve("byo-api")
    made = api.flip()
    assert (made.status_code, made.json()["error"]) == (status, code)
    assert api.get()["dns"] == {**api.get()["dns"], "state": "pending", "needs": "registrar-token"}
    assert api.undo()["lastChange"]["outcome"] == "failed"
    assert api.served()
    assert registrar.domains[customer].nameservers == list(OLD_NAMES)
    assert api.flip().status_code == 200
    api.phase("live")
    assert changes(registrar) == 2


@pytest.mark.parametrize("registrar", ["godaddy-key", "dynadot-api3"], indirect=True)
def test_lost_reply(api: Byo, registrar: Server, registry: Registry) -> None:
    """A change whose reply is lost is read back, and counts as made."""
    registrar.fault(lambda s, h, seen: registrar.is_change(seen) and lose_reply(s, h, seen), "write", times=9)
    api.reserve("byo-api")
    made = api.flip()
    assert made.status_code == 200, made.text
    assert api.undo()["lastChange"]["outcome"] == "done"
    assert changes(registrar) == 1


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_applied_without_an_answer(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A change after which the registrar falls silent is settled by the parent zone, without the token."""
    api.reserve("byo-api")
    registry.paused = True
    registrar.fault(lambda s, h, seen: registrar.is_change(seen) and _and_then_silence(s, h, seen), "write", times=1)
    made = api.flip()
    assert (made.status_code, made.json()["dns"]["needs"]) == (202, "registrar-token"), made.text
    assert "may or may not" in api.undo()["lastChange"]["problem"]
    registry.paused = False
    api.phase("live")
    api.until("nothing more to be needed", lambda one: "needs" not in one["dns"])
    assert api.undo()["lastChange"]["outcome"] == "done"
    assert changes(registrar) == 1


def _and_then_silence(server: Server, handler: Any, seen: Any) -> bool:
    server.fault(silent)
    return applied_in_silence(server, handler, seen)


@pytest.mark.parametrize("registrar", ["ovh"], indirect=True)
def test_carried_out_later(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A change that the registrar carries out later is followed: pending, then done; and is not sent again."""
    api.reserve("byo-api")
    made = api.flip()
    assert made.status_code == 200, made.text
    assert api.undo()["lastChange"]["outcome"] == "pending"
    assert registrar.domains[customer].nameservers == list(OLD_NAMES)
    assert api.flip().status_code == 200
    assert api.undo()["lastChange"]["outcome"] == "pending"
    registrar.settle()
    api.phase("live")
    eventually(lambda: api.undo()["lastChange"]["outcome"] == "done", 10)
    assert changes(registrar) == 1


@pytest.mark.parametrize("registrar", ["ovh"], indirect=True)
def test_failed_later(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A change that fails at the registrar later is told as failed by the next call, which tries anew."""
    assert isinstance(registrar, Ovh)
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    for task in registrar.tasks.values():
        task["status"] = "error"
    assert api.flip().status_code == 200
    registrar.settle()
    api.phase("live")
    assert changes(registrar) == 2
    assert sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (limited(120), 429, "rate-limited"),
        (reply(Answer(500)), 502, "api-unavailable"),
        (silent, 502, "api-unavailable"),
    ],
)
def test_away_from_the_start(api: Byo, customer: str, registrar: Server, fault: Any, status: int, code: str) -> None:
    """While the registrar does not answer nothing changes, and the same commit works later."""
    registrar.fault(fault)
    api.reserve("byo-api")
    made = api.flip()
    assert (made.status_code, made.json()["error"]) == (status, code)
    assert made.headers["Retry-After"]
    assert api.get()["state"] == "reserved"
    assert "needs" not in api.get()["dns"]
    registrar.faults.clear()
    assert api.flip().status_code == 200


def test_refused_token(api: Byo, registrar: Server) -> None:
    """A token that the registrar refuses gets nothing, and is in no log."""
    api.reserve("byo-api")
    api.credential["registrarToken"] = registrar.wrong_token
    made = api.flip()
    assert (made.status_code, made.json()["error"]) == (401, "invalid-token")
    assert api.get()["state"] == "reserved"
    assert registrar.wrong_token not in api.service.log.read_text()


def test_without_a_token(api: Byo) -> None:
    """A first commit of byo-api without the registrar's token is refused with the field's name."""
    api.reserve("byo-api")
    assert api.commit().json()["error"] == "unsupported-registrar"
    assert api.commit(registrar="dynadot").json()["error"] == "missing-token"


@pytest.mark.parametrize("registrar", ["cloudflare"], indirect=True)
def test_registrar_that_cannot(api: Byo, registrar: Server) -> None:
    """Where the registrar lets nobody change nameservers that is found by the pre-flight; nothing is proven by it."""
    api.reserve("byo-api")
    made = api.flip()
    assert made.json()["error"] == "preflight-blocked"
    assert "BYO-API-SCOPE" in [one["code"] for one in made.json()["problems"]]
    assert api.get()["state"] == "reserved"


# --- the way back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_no_way_back_to_a_lame_server(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A rollback is refused where the former nameservers do not serve the domain any more."""
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    api.tree.forget_old(customer)
    refused = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert (refused.status_code, refused.json()["problems"][0]["code"]) == (409, "BYO-OLD-LAME")
    assert changes(registrar) == 1
    assert api.served()


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_no_way_back_over_somebody_elses_change(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A rollback is refused where somebody has changed the nameservers since."""
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    registrar.domains[customer].nameservers = ["ns1.third.test", "ns2.third.test"]
    refused = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert (refused.status_code, refused.json()["problems"][0]["code"]) == (409, "BYO-REGISTRAR-DIFFERS")
    assert changes(registrar) == 1


def test_nothing_to_undo(api: Byo, customer: str, registrar: Server) -> None:
    """Without a change of ours there is nothing to undo."""
    api.reserve("byo-api")
    assert api.post("/v1/rollback", fqdn=customer, **api.credential).json()["error"] == "not-found"
    assert api.service.client.get(f"/v1/allocations/{customer}/undo").json()["error"] == "no-undo-sheet"


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_slow_registrar_and_slow_nameservers(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """However slow all are, the caller has an answer before he gives up, and the same commit goes on."""
    slow = Faulty(api.tree.address(), customer, OLD_NAMES, faulty.slow(2.5))
    api.tree.host(f"ns.x{customer}", slow.address)
    api.tree.delegate(customer, [f"ns.x{customer}", OLD_NAMES[0]])
    registrar.domains[customer].nameservers = [f"ns.x{customer}", OLD_NAMES[0]]
    api.reserve("byo-api")
    registrar.fault(slowly(3.0))
    try:
        made = api.flip()
    finally:
        slow.stop()
    assert made.elapsed.total_seconds() < patient(15)
    assert made.status_code in {200, 202, 502}, made.text
    registrar.faults.clear()
    service = api.service
    service.execute("UPDATE registrar_changes SET requested_at = now() - interval '20 minutes'")
    eventually(lambda: api.flip().status_code == 200, 30)
    assert changes(registrar) <= 2


def slowly(seconds: float) -> Any:
    """Answer as ever, but late."""

    def behave(server: Server, _: Any, __: Any) -> bool:
        server.over.wait(seconds)
        return False

    return behave
