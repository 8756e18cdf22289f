"""One tenant's silent nameservers do not slow down another's domain; how much is the matter of `make bench`."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import flood
from tests.eventually import eventually
from tests.service import ADDRESS, Service
from tests.tree import OLD_NAMES, TLD, Tree, Zones, rr

FLOOD = 60


def test_a_flood_beside_a_customer(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, directory: Path
) -> None:
    """While 60 silent domains of one client are looked at, and asked for, another's is committed and looked at in time."""
    with flood.silent(tree) as names:
        domains = [f"f{number}-{uuid.uuid4().hex[:6]}.{TLD}" for number in range(FLOOD)]
        for server in tree.tlds:
            Zones(server).patch(TLD, [rr(one, "NS", *(f"{name}." for name in names)) for one in domains])
        late = f"late{customer}"
        tree.delegate(late, OLD_NAMES, tree.old_zone(late, rr(late, "A", "192.0.2.1")))
        service = new_byo_service(**flood.callers(directory)).start()
        url = str(service.client.base_url)
        with flood.client(url, "flood") as flooding, flood.client(url, "other") as other:
            for one in domains:
                flooding.post("/v1/reserve", json={"mode": "byo-manual", "domain": one}).raise_for_status()
            with ThreadPoolExecutor(8) as threads:
                asked = [threads.submit(flooding.get, f"/v1/delegations/{one}?fresh=true") for one in domains]

                def claimed(domain: str, *, shown: bool) -> dict[str, str]:
                    body = {"mode": "byo-manual", "domain": domain}
                    held = other.post("/v1/reserve", json=body).raise_for_status().json()
                    record = rr(held["challenge"]["name"], "TXT", f'"{held["challenge"]["value"]}"', ttl=1)
                    order = {"fqdn": domain, "reservationToken": held["reservationToken"], "loadBalancerIP": ADDRESS}
                    if shown:
                        tree.old_patch(domain, record)
                    reply = other.post("/v1/commit", json=order)
                    assert reply.status_code == (200 if shown else 202), reply.text
                    tree.old_patch(domain, record)
                    return order

                claimed(customer, shown=True)
                # The background sees the proof of a claim that is committed already.
                claimed(late, shown=False)
                eventually(lambda: other.get(f"/v1/allocations/{late}").json()["dns"]["state"] == "published", 10)
                for unasked in asked:
                    unasked.cancel()
