"""A check is answered from memory, and never older than a second, at whichever replica it is asked."""

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import httpx
import pytest

from tests.eventually import eventually
from tests.service import Service, at_once, name

OLD_SECONDS = 1.0
LOAD_SECONDS = 12.0
NAMES, ASKERS = 6, 3
FREE = "available"


class Step(NamedTuple):
    """Something that changed a name, or may have."""

    earliest: float
    latest: float
    now: str
    """What a check says after it."""


class Check(NamedTuple):
    """An answer, and when it was asked for and came."""

    asked: float
    answered: float
    label: str
    said: str


class Name:
    """Lives again and again, each step at either replica, and knows what it was when."""

    def __init__(self, replicas: tuple[Service, Service], until: float) -> None:
        self.replicas, self.until = replicas, until
        self.label = name()
        self.steps = [Step(0.0, 0.0, FREE)]
        self.random = random.Random(self.label)

    def live(self) -> None:
        while time.time() < self.until:
            self.random.choice([self.released, self.expired, self.published])()

    def said(self, now: str, call: Callable[[Service], httpx.Response]) -> httpx.Response:
        """Change something, which happens between its request and its reply."""
        begun = time.time()
        reply = call(self.random.choice(self.replicas))
        assert reply.is_success, reply.text
        if reply.status_code == 202 and now == FREE:
            eventually(lambda: self.replicas[0].get(self.label).status_code == 404, 30)
        self.steps.append(Step(begun, time.time(), now))
        return reply

    def rest(self) -> None:
        time.sleep(self.random.uniform(0, 2.5))

    def reserved(self, **more: object) -> httpx.Response:
        reply = self.said("reserved-state", lambda one: one.reserve(self.label, **more))
        self.rest()
        return reply

    def released(self) -> None:
        self.reserved()
        self.said(FREE, lambda one: one.release(self.label))
        self.rest()

    def expired(self) -> None:
        end = datetime.fromisoformat(self.reserved(ttlSeconds=4).json()["expiresAt"]).timestamp()
        self.steps.append(Step(end, end, FREE))
        time.sleep(max(0.0, end - time.time()))
        self.rest()

    def published(self) -> None:
        token = self.reserved().json()["reservationToken"]
        self.said("active-state", lambda one: one.commit(self.label, token))
        self.rest()
        self.said(FREE, lambda one: one.release(self.label))
        self.rest()

    def was(self, said: str, since: float, until: float) -> bool:
        """Whether the name may have been this at some time in between."""
        ends = [step.latest for step in self.steps[1:]] + [float("inf")]
        return any(
            step.now == said and step.earliest <= until and since <= end
            for step, end in zip(self.steps, ends, strict=True)
        )


@pytest.fixture
def replicas(new_service: Callable[..., Service]) -> tuple[Service, Service]:
    """Two replicas on one database."""
    both = new_service().start(ready=False), new_service().start(ready=False)
    for service in both:
        eventually(service.is_ready, 20)
        eventually(service.pools_ready, 20)
    return both


def counted(service: Service, metric: str) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))


def test_no_answer_is_older_than_a_second(replicas: tuple[Service, Service]) -> None:
    """While names are reserved, committed, released and expire, a check says what was true at most a second before."""
    end = time.time() + LOAD_SECONDS
    lives = [Name(replicas, end) for _ in range(NAMES)]
    checks: list[Check] = []
    ended = threading.Event()

    def ask(number: int) -> None:
        service, own = replicas[number % 2], random.Random(number)
        while not ended.is_set():
            label = own.choice(lives).label
            asked = time.time()
            found = service.client.get("/v1/check", params={"poolDomain": service.pool, "subdomain": label}).json()
            checks.append(Check(asked, time.time(), label, found.get("reason", FREE)))

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(2 * ASKERS)]
    for asker in askers:
        asker.start()
    try:
        at_once(NAMES, lambda number: lives[number].live())
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    by_label = {one.label: one for one in lives}
    old = [one for one in checks if not by_label[one.label].was(one.said, one.asked - OLD_SECONDS, one.answered)]
    assert not old, [(one, by_label[one.label].steps) for one in old[:3]]
    assert {one.said for one in checks} == {FREE, "reserved-state", "active-state"}
    asked = sum(counted(service, "pdm_checks_asked_total") for service in replicas)
    assert asked < len(checks)


def test_what_a_replica_has_done_it_says(replicas: tuple[Service, Service]) -> None:
    """Whoever has just reserved, committed or released a name is not told at the same replica that they have not."""
    service = replicas[0]

    def said() -> str:
        query = {"poolDomain": service.pool, "subdomain": label}
        return str(service.client.get("/v1/check", params=query).json().get("reason", FREE))

    for _ in range(5):
        label = name()
        assert said() == FREE
        token = service.reserve(label).json()["reservationToken"]
        assert said() == "reserved-state"
        assert service.commit(label, token).is_success
        assert said() == "active-state"
        released = service.release(label)
        assert released.status_code == 202 or said() == FREE
