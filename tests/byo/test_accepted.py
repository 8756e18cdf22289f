"""A change that the registrar has accepted, or whose reply was lost, and that never comes: it ends."""

from typing import Any

import pytest

from adapters.conformance.played import Server, drop, lose_reply
from tests.byo.conftest import Byo, Registry
from tests.byo.test_crashes import changes
from tests.registrars.dynadot import Rest
from tests.registrars.godaddy import ByToken
from tests.registrars.ovh import Ovh
from tests.tree import OLD_NAMES, PLATFORM_NAMES

by_dynadot = pytest.mark.parametrize("registrar", ["dynadot-rest"], indirect=True)
by_token = pytest.mark.parametrize("registrar", ["godaddy-pat"], indirect=True)
by_ovh = pytest.mark.parametrize("registrar", ["ovh"], indirect=True)


def later(api: Byo, age: str) -> None:
    """Time passes for the changes at the registrar."""
    api.service.execute(f"UPDATE registrar_changes SET requested_at = now() - interval '{age}'")


def last(api: Byo) -> str:
    return api.undo()["lastChange"]["outcome"]


def accepted(api: Byo, registrar: Server, domain: str) -> None:
    """The customer's domain with a change that the registrar has accepted, and not made."""
    api.reserve("byo-api")
    made = api.flip()
    assert made.status_code == 200, made.text
    assert (last(api), changes(registrar)) == ("pending", 1)
    assert registrar.domains[domain].nameservers == list(OLD_NAMES)


@by_dynadot
def test_accepted_and_never_made(api: Byo, customer: str, registrar: Rest, registry: Registry) -> None:
    """Within its time it is waited for; afterwards registrar and parent are read: not there, it has failed, and is sent anew."""
    accepted(api, registrar, customer)
    later(api, "50 minutes")
    assert api.flip().status_code == 200
    assert (last(api), changes(registrar)) == ("pending", 1)
    registrar.waiting.clear()
    later(api, "61 minutes")
    registrar.instant = True
    assert api.flip().status_code == 200
    assert changes(registrar) == 2
    api.phase("live")
    assert "nameservers-failed" in api.events()


@by_dynadot
def test_way_back_from_what_was_never_made(api: Byo, customer: str, registrar: Rest, registry: Registry) -> None:
    """A rollback is refused while the change may come, and has nothing to do once it has ended."""
    accepted(api, registrar, customer)
    refused = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert (refused.status_code, refused.json()["error"]) == (409, "change-under-way")
    later(api, "30 days")
    made = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert made.status_code in {200, 202}, made.text
    assert (last(api), changes(registrar)) == ("failed", 1)
    assert registrar.domains[customer].nameservers == list(OLD_NAMES)


@by_dynadot
def test_accepted_and_made_late(api: Byo, customer: str, registrar: Rest, registry: Registry) -> None:
    """A change that is on record at last has been made, however late."""
    accepted(api, registrar, customer)
    registrar.settle()
    later(api, "30 days")
    assert api.flip().status_code == 200
    assert (last(api), changes(registrar)) == ("done", 1)


@by_dynadot
def test_parent_that_cannot_be_read(api: Byo, customer: str, registrar: Rest, registry: Registry) -> None:
    """Where the parent zone does not answer nothing is decided: it may have what the registrar does not tell."""
    accepted(api, registrar, customer)
    later(api, "30 days")
    for server in (api.tree.root, *api.tree.tlds):
        server.freeze()
    try:
        refused = api.post("/v1/rollback", fqdn=customer, **api.credential)
    finally:
        for server in (api.tree.root, *api.tree.tlds):
            server.thaw()
    assert (refused.status_code, refused.json()["error"]) == (409, "change-under-way")
    assert last(api) == "pending"


@by_dynadot
def test_parent_that_shows_what_the_registrar_does_not(
    api: Byo, customer: str, registrar: Rest, registry: Registry
) -> None:
    """What the parent zone shows has been made, whatever the registrar tells."""
    accepted(api, registrar, customer)
    registry.paused = True
    api.tree.delegate(customer, PLATFORM_NAMES)
    later(api, "30 days")
    assert api.flip().status_code == 200
    assert (last(api), changes(registrar)) == ("done", 1)


@by_ovh
def test_operation_that_goes_on(api: Byo, customer: str, registrar: Ovh, registry: Registry) -> None:
    """As long as the registrar says that it works on a change it is waited for, and not sent again."""
    accepted(api, registrar, customer)
    for task in registrar.tasks.values():
        task["status"] = "doing"
    later(api, "30 days")
    assert api.flip().status_code == 200
    assert (last(api), changes(registrar)) == ("pending", 1)


@by_ovh
def test_operation_that_was_done_in_words_alone(api: Byo, customer: str, registrar: Ovh, registry: Registry) -> None:
    """A change that the registrar calls done, and that is on record nowhere, ends too."""
    accepted(api, registrar, customer)
    for task in registrar.tasks.values():
        task["status"] = "done"
    assert api.flip().status_code == 200
    assert (last(api), changes(registrar)) == ("pending", 1)
    later(api, "1 day")
    registrar.instant = True
    assert api.flip().status_code == 200
    assert changes(registrar) == 2
    api.phase("live")


@pytest.mark.parametrize("registrar", ["dynadot-rest", "ovh"], indirect=True)
def test_ds_that_never_comes(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A lost change of DS ends as well: the way back is not closed for ever."""
    registrar.instant = True
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    api.phase("live")
    api.until("the DS to be wanted", lambda one: one["dns"].get("needs") == "registrar-token", 30)
    registrar.fault(drop, "write")
    assert api.flip().status_code in {200, 202}
    assert last(api) == "requested"
    registrar.faults.clear()
    refused = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert (refused.status_code, refused.json()["error"]) == (409, "change-under-way")
    later(api, "30 days")
    reply = api.post("/v1/rollback", fqdn=customer, **api.credential)
    assert reply.status_code in {200, 202}, reply.text
    api.until("the former nameservers", lambda _: sorted(registrar.domains[customer].nameservers) == list(OLD_NAMES))


# --- repeats under a key ------------------------------------------------------------------------------


def on_the_change(fault: Any) -> Any:
    return lambda server, handler, seen: server.is_change(seen) and fault(server, handler, seen)


@by_token
@pytest.mark.parametrize("fault", [drop, lose_reply])
def test_lost_reply_where_repeats_are_known(
    api: Byo, customer: str, registrar: ByToken, registry: Registry, fault: Any
) -> None:
    """A change whose reply was lost is sent again under its own key, and made once, whether it had arrived or not."""
    registrar.fault(on_the_change(fault), "write", times=1)
    api.reserve("byo-api")
    made = api.flip()
    assert (made.status_code, made.json()["dns"]["needs"]) == (202, "registrar-token"), made.text
    assert last(api) == "requested"
    assert api.flip().status_code == 200
    assert last(api) == "pending"
    assert len(registrar.operations) == 1
    first, second = (seen.headers["idempotency-key"] for seen in registrar.writes)
    assert first == second
    registrar.settle()
    api.phase("live")
    assert api.flip().status_code == 200


@by_token
def test_another_change_has_another_key(api: Byo, customer: str, registrar: ByToken, registry: Registry) -> None:
    """A key is of one change: the one that follows a failed one has its own."""
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    for operation in registrar.operations.values():
        operation["status"] = "FAILED"
    assert api.flip().status_code == 200
    first, second = (seen.headers["idempotency-key"] for seen in registrar.writes)
    assert first != second
    assert all(16 <= len(key) <= 64 for key in (first, second))


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_lost_reply_where_repeats_are_not_known(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """Without keys nothing is sent again before its time is over."""
    registrar.fault(on_the_change(drop), "write", times=1)
    api.reserve("byo-api")
    assert api.flip().status_code == 202
    assert api.flip().status_code in {200, 202}
    assert changes(registrar) == 1
    later(api, "16 minutes")
    assert api.flip().status_code == 200
    assert changes(registrar) == 2
