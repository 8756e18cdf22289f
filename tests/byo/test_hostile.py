"""A customer's nameservers that want to hurt: what others notice while they are asked."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles

import pytest

from tests import faulty
from tests.byo.conftest import Byo
from tests.faulty import Behaviour, Faulty
from tests.patience import patient
from tests.service import Service, name
from tests.tree import Tree

ATTACKS = {
    "deep names in a datagram": faulty.deep_names(1232),
    "deep names in a large datagram": faulty.deep_names(16_000),
    "deep names in a stream": faulty.deep_names(65_000),
    "keys with one tag": faulty.many_keys(60),
    "very many keys": faulty.many_keys(120),
    "a flood": faulty.flooding(2000),
}
SECONDS = 6.0
P99_SECONDS = 0.4
"""It is a tenth of that where nothing else runs; other tests run beside this one."""


@pytest.fixture
def attacker(request: pytest.FixtureRequest, tree: Tree, byo: Byo, domain: str) -> Iterator[Faulty]:
    """The only nameserver of the customer's domain."""
    behave: Behaviour = request.param
    made = Faulty(tree.address(), domain, (f"ns.x{domain}",), behave)
    tree.host(f"ns.x{domain}", made.address)
    tree.delegate(domain, [f"ns.x{domain}"])
    yield made
    made.stop()


def answered_beside(service: Service, attack: Callable[[], object], enough: Callable[[], bool]) -> list[float]:
    """Return how long probes and checks took, in seconds, while the attack is made again and again."""
    over = threading.Event()

    def attacking() -> None:
        while not over.is_set():
            attack()

    took = []
    with ThreadPoolExecutor(1) as threads:
        going = threads.submit(attacking)
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end or not (enough() or going.done()):
                for path, query in (("/livez", {}), ("/v1/check", {"poolDomain": service.pool, "subdomain": name()})):
                    began = time.monotonic()
                    assert service.client.get(path, params=query).status_code == 200
                    took.append(time.monotonic() - began)
                time.sleep(0.01)
        finally:
            over.set()
        going.result()
    return took


def p99(took: list[float]) -> float:
    return quantiles(took, n=100)[98]


@pytest.mark.parametrize("attacker", ATTACKS.values(), ids=ATTACKS.keys(), indirect=True)
def test_others_notice_nothing(byo: Byo, attacker: Faulty, domain: str) -> None:
    """While the domain is observed and its zone scanned, probes and checks are answered as ever."""
    byo.reserve()

    def observe() -> None:
        byo.service.client.get(f"/v1/delegations/{domain}", params={"fresh": "true"})
        byo.service.client.post("/v1/preflight", json={"domain": domain})

    took = answered_beside(byo.service, observe, lambda: attacker.seen > 0)
    assert attacker.seen > 3
    assert p99(took) < patient(P99_SECONDS), f"at most {max(took)}"


def largest(domain: str) -> dict[str, str]:
    """Zone files that take long to read: as many records as are taken, or as many lines and words as a body has."""
    records = "".join(f"h{number}.{domain}. 60 IN A 192.0.2.{number % 250}\n" for number in range(1000))
    parts = " ".join(['""'] * 100)
    texts = "".join(f"t{number} TXT {parts}\n" for number in range(110))
    return {
        "records": records,
        "texts": texts,
        "open": "x TXT (" + "\n" * 3900 + "a " * 28_000,
        "one": 'x TXT "' + "\\000" * 12_000,
    }


@pytest.mark.parametrize("kind", largest("x.zz"))
def test_a_large_zone_file(byo: Byo, customer: str, kind: str) -> None:
    """While zone files of the largest kind are read, probes and checks of others are answered as ever."""
    byo.reserve()
    text = largest(customer)[kind]
    seen: list[int] = []

    def send() -> None:
        seen.append(byo.commit(importZonefile=text).status_code)

    took = answered_beside(byo.service, send, lambda: len(seen) > 1)
    assert set(seen) <= {202, 422}, seen
    assert p99(took) < patient(P99_SECONDS), f"at most {max(took)}"
