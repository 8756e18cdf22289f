"""byo-manual from the reservation to a secured delegation, while a resolver keeps asking."""

import threading
import time
from typing import Self

from tests.byo.conftest import Byo
from tests.dns_view import secure
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS
from tests.tree import PLATFORM_NAMES, Tree, answers


class Witness:
    """Asks a validating resolver again and again, and keeps what was wrong."""

    def __init__(self, tree: Tree, name: str, allowed: set[str]) -> None:
        self._tree, self._name, self._allowed = tree, name, allowed
        self._stop = threading.Event()
        self.wrong: list[tuple[str, list[str]]] = []
        self.seen: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            rcode, found, _ = secure(self._tree.resolver.port, self._name, "A")
            self.seen |= set(found)
            if rcode != "NOERROR" or not set(found) <= self._allowed or not found:
                self.wrong.append((rcode, found))
            self._stop.wait(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def test_from_reserve_to_secured(byo: Byo, customer: str) -> None:
    """With the TXT proof the zone is served before the flip, and a resolver is never without an answer."""
    reserved = byo.reserve()
    assert reserved["nameservers"] == list(PLATFORM_NAMES)
    assert reserved["challenge"]["name"] == f"_openova-challenge.{customer}"
    with Witness(byo.tree, customer, {"192.0.2.1", ADDRESS}) as witness:
        unproven = byo.commit()
        assert (unproven.status_code, unproven.json()["dns"]) == (
            202,
            {**unproven.json()["dns"], "state": "pending", "needs": "proof"},
        )
        assert not byo.served()
        byo.prove()
        byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
        assert byo.get()["proof"] == "txt"
        assert byo.served()
        assert byo.delegation()["phase"] == "awaiting-customer"
        byo.tree.delegate(customer, PLATFORM_NAMES)
        byo.phase("live")
        (ds,) = byo.until("the DS to be given", lambda one: one["dnssec"].get("publish"))["dnssec"]["ds"]
        byo.until("CDS to be served", lambda _: answers(byo.tree.ours.addresses[1], customer, "CDS"))
        assert [one.lower() for one in answers(byo.tree.ours.addresses[1], customer, "CDS")] == [ds]
        assert len(answers(byo.tree.ours.addresses[1], customer, "CDNSKEY")) == 1
        byo.tree.delegate(customer, PLATFORM_NAMES, [ds])
        end = time.monotonic() + patient(20)
        while byo.delegation()["dnssec"] != "secure":
            assert time.monotonic() < end, byo.delegation()
            time.sleep(0.1)
        eventually(byo.secured, 10)
    assert witness.wrong == []
    assert ADDRESS in witness.seen
    assert byo.commit().status_code == 200
