"""kill -9, or PostgreSQL away, between any two steps of a flip: it goes on, or asks for the token; nothing is sent twice
blindly, and what was to be taken along is there."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from adapters.conformance.played import Server, drop
from pdm_service.dev.servers import Postgres
from tests.byo.conftest import Byo, Registry, at
from tests.eventually import eventually
from tests.outage import away
from tests.patience import patient
from tests.service import Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree, answers, rr


class Hold:
    """Holds the n-th request to the registrar up, before or after it is carried out."""

    def __init__(self, number: int, *, done: bool) -> None:
        self.left = number
        self.done = done
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, server: Server, handler: Any, seen: Any) -> bool:
        self.left -= 1
        if self.left != 0:
            return False
        if self.done:
            server.answer(seen)
        self.reached.set()
        self.let_go.wait(30)
        return drop(server, handler, seen)


DKIM = "mycorp1._domainkey"


@pytest.fixture
def customer(customer: str, tree: Tree) -> str:
    """A customer's domain with a record that is found only by its name."""
    tree.old_patch(customer, rr(f"{DKIM}.{customer}", "TXT", '"k=rsa; p=x"', ttl=2))
    return customer


def flip(byo: Byo) -> httpx.Response:
    return byo.flip(**{"import": [{"name": f"{DKIM}.{byo.domain}", "type": "TXT"}]})


def taken_along(byo: Byo) -> bool:
    return answers(byo.tree.ours.addresses[0], f"{DKIM}.{byo.domain}", "TXT") == ['"k=rsa; p=x"']


def changes(registrar: Server) -> int:
    return len([seen for seen in registrar.writes if registrar.is_change(seen)])


@pytest.mark.parametrize(
    ("number", "done"), [(1, False), (2, False), (3, False), (4, False), (4, True), (5, False)],
    ids=["validating", "before the change", "looking first", "change not made", "change made", "reading back"],
)  # fmt: skip
@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_kill_during_a_flip(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server, registry: Registry,
    number: int, done: bool,
) -> None:  # fmt: skip
    """Whatever the service was doing at the registrar when it died, the same commit ends it with one change made."""
    service = new_byo_service(**at(registrar)).start()
    byo = Byo(service, tree, customer)
    byo.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    byo.reserve("byo-api")
    hold = Hold(number, done=done)
    registrar.fault(hold)
    flipping = threading.Thread(target=lambda: _ignore(lambda: flip(byo)), daemon=True)
    flipping.start()
    eventually(lambda: hold.reached.is_set() or not flipping.is_alive(), 20)
    service.kill()
    hold.let_go.set()
    assert hold.reached.is_set()
    sent = changes(registrar)
    assert sent == (number >= 4)
    made = sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)

    service.execute("UPDATE watches SET lease_until = now()")  # it would end by itself
    service.start()
    found = byo.get()
    if found["state"] == "active" and not made:
        assert found["dns"]["needs"] == "registrar-token"
    if number >= 3:
        assert byo.undo()["nameservers"] == list(OLD_NAMES)
        assert byo.undo()["lastChange"]["wanted"] == list(PLATFORM_NAMES)
    if number >= 3 and not made:  # noted, and perhaps sent: nobody knows
        reply = flip(byo)
        assert (reply.status_code, changes(registrar)) == (202, sent), reply.text
        service.execute("UPDATE registrar_changes SET requested_at = now() - interval '20 minutes'")
    eventually(lambda: flip(byo).status_code == 200, 25)
    assert sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)
    assert changes(registrar) == (sent if made else sent + 1)
    assert taken_along(byo)
    byo.phase("live")
    assert byo.undo()["nameservers"] == list(OLD_NAMES)
    assert registrar.token not in service.log.read_text()


@pytest.mark.parametrize("number", [1, 3, 4], ids=["validating", "looking first", "changing"])
@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_database_away_during_a_flip(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server, registry: Registry,
    postgres: Postgres, database_url: str, number: int,
) -> None:  # fmt: skip
    """PostgreSQL goes while the registrar is asked: the same commit ends it later, with one change made."""
    byo = Byo(new_byo_service(**at(registrar)).start(), tree, customer)
    byo.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    byo.reserve("byo-api")
    reached, gone = threading.Event(), threading.Event()
    left = [number]

    def hold(*_: object) -> bool:
        left[0] -= 1
        if left[0] == 0:
            reached.set()
            gone.wait(30)
        return False

    registrar.fault(hold)
    with ThreadPoolExecutor() as threads:
        flipping = threads.submit(flip, byo)
        assert reached.wait(patient(20))
        with away(postgres, database_url):
            gone.set()
            reply = flipping.result()
            assert reply.status_code in {202, 502, 503}, reply.text
    # Of a change that was noted before it is not known whether it was made, until it is read back.
    eventually(lambda: flip(byo).status_code == 200, 30)
    assert sorted(registrar.domains[customer].nameservers) == list(PLATFORM_NAMES)
    assert changes(registrar) == 1
    assert taken_along(byo)


def _ignore(call: Callable[[], httpx.Response]) -> None:
    try:
        call()
    except httpx.HTTPError:
        pass


def test_kill_while_the_zone_is_made(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server, registry: Registry
) -> None:
    """A flip whose zone could not be served yet leaves the domain the caller's, and asks for the token again."""
    service = new_byo_service(PDM_PDNS_BASE_URL="http://127.0.0.1:9", **at(registrar)).start()
    byo = Byo(service, tree, customer)
    byo.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    byo.reserve("byo-api")
    reply = flip(byo)
    assert (reply.status_code, reply.json()["dns"]["needs"]) == (202, "registrar-token")
    assert byo.undo()["nameservers"] == list(OLD_NAMES)
    assert changes(registrar) == 0
    service.kill()
    service.environment["PDM_PDNS_BASE_URL"] = tree.ours.api_url
    service.start()
    eventually(byo.served, 20)
    assert byo.get()["dns"] == {**byo.get()["dns"], "state": "pending", "needs": "registrar-token"}
    assert flip(byo).status_code == 200
    byo.phase("live")
    assert changes(registrar) == 1
    assert taken_along(byo)
