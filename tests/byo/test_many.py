"""Many watched domains by one process; one with a dead parent among them."""

import re
from collections.abc import Callable

from tests import faulty
from tests.eventually import eventually
from tests.faulty import Faulty
from tests.patience import patient
from tests.service import Service
from tests.tree import OLD_NAMES, TLD, Tree, Zones, rr

COUNT = 200


def queries(service: Service) -> float:
    found = re.search(r"^pdm_dns_queries_total (\S+)", service.client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_two_hundred_domains(new_byo_service: Callable[..., Service], tree: Tree, domain: str) -> None:
    """All are looked at again and again with a bounded number of questions; a dead parent delays its own domain only."""
    domains = [f"n{number}{domain}" for number in range(COUNT)]
    for server in tree.tlds:
        delegations = [rr(one, "NS", *(f"{name}." for name in OLD_NAMES), ttl=2) for one in domains]
        Zones(server).patch(TLD, delegations)
    dead = Faulty(tree.address(), domain, (f"p.{domain}",), faulty.silent)
    tree.host(f"p.{domain}", dead.address)
    tree.delegate(domain, [f"p.{domain}"])
    lonely = f"sub.{domain}"
    try:
        service = new_byo_service(PDM_DELEGATION_INTERVAL="5s").start()
        for one in (lonely, *domains):
            assert service.client.post("/v1/reserve", json={"mode": "byo-manual", "domain": one}).status_code == 201

        def looks() -> list[dict]:
            return [service.client.get(f"/v1/delegations/{one}").json() for one in domains]

        first = {one["domain"]: one["checkedAt"] for one in eventually(looks, 60)}
        before = queries(service)
        eventually(lambda: all(first[one["domain"]] < one["checkedAt"] for one in looks()), 60)
        asked = queries(service) - before
        assert {one["phase"] for one in looks()} == {"awaiting-proof"}
        assert asked < COUNT * patient(40)
        assert "parent-unreachable" in str(service.client.get(f"/v1/delegations/{lonely}").json()["problems"])
    finally:
        dead.stop()
