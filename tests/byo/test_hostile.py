"""A customer's nameservers that want to hurt: what others notice while they are asked."""

import threading
import time
from collections.abc import Iterator
from statistics import quantiles

import pytest

from tests import faulty
from tests.byo.conftest import Byo
from tests.faulty import Behaviour, Faulty
from tests.patience import patient
from tests.service import name
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


@pytest.mark.parametrize("attacker", ATTACKS.values(), ids=ATTACKS.keys(), indirect=True)
def test_others_notice_nothing(byo: Byo, attacker: Faulty, domain: str) -> None:
    """While the domain is observed and its zone scanned, probes and checks are answered as ever."""
    service = byo.service
    byo.reserve()
    over = threading.Event()

    def observe() -> None:
        while not over.is_set():
            service.client.get(f"/v1/delegations/{domain}", params={"fresh": "true"})
            service.client.post("/v1/preflight", json={"domain": domain})

    asking = threading.Thread(target=observe)
    asking.start()
    took = []
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end or not attacker.seen:
            for path, query in (("/livez", {}), ("/v1/check", {"poolDomain": service.pool, "subdomain": name()})):
                began = time.monotonic()
                assert service.client.get(path, params=query).status_code == 200
                took.append(time.monotonic() - began)
            time.sleep(0.01)
    finally:
        over.set()
        asking.join()
    assert attacker.seen > 3
    assert quantiles(took, n=100)[98] < patient(P99_SECONDS), f"at most {max(took)}"
