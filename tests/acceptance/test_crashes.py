"""kill -9 at random moments; afterwards allocations, zones and delegations are the same set."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.dns_view import Api, records
from tests.eventually import eventually
from tests.service import ADDRESS, Service, at_once, name

ROUNDS = 8
NAMES = 10


def test_killed_service_leaves_no_half_done_thing(new_service: Callable[..., Service], api: Api) -> None:
    """Whenever the service is killed amid commits and releases, its restart makes DNS equal to the allocations."""
    service = new_service().start()
    moments = random.Random(20261123)
    alive: dict[str, str] = {}
    for _ in range(ROUNDS):
        fresh = {name(): "" for _ in range(NAMES)}
        for label in fresh:
            fresh[label] = service.reserve(label).json()["reservationToken"]
        leaving = moments.sample(sorted(alive), len(alive) // 2)
        accepted = _storm_and_kill(service, fresh, leaving, moments.uniform(0.02, 0.5))
        service.start()
        for label, token in fresh.items():
            if label in accepted:
                assert service.get(label).json()["state"] == "active"
            # What the lost reply left open is settled by saying it again.
            assert service.commit(label, token).status_code in {200, 202}
        for label in leaving:
            assert service.release(label).status_code in {200, 202, 404}
        alive = {**{label: token for label, token in alive.items() if label not in leaving}, **fresh}
        _assert_same_set(service, api, set(alive), set(leaving))


def _storm_and_kill(service: Service, fresh: dict[str, str], leaving: list[str], after: float) -> set[str]:
    """Commit and release all at once, kill the service amid it; return the labels whose commit was acknowledged."""
    accepted = set()

    def commit(label: str) -> None:
        try:
            if service.commit(label, fresh[label]).status_code in {200, 202}:
                accepted.add(label)
        except httpx.HTTPError:
            pass

    def release(label: str) -> None:
        try:
            service.release(label)
        except httpx.HTTPError:
            pass

    killer = threading.Timer(after, service.kill)
    killer.start()
    with ThreadPoolExecutor(2 * NAMES) as executor:
        list(executor.map(commit, fresh))
        list(executor.map(release, leaving))
    killer.join()
    return accepted


def _assert_same_set(service: Service, api: Api, alive: set[str], gone: set[str]) -> None:
    pool = service.pool
    wanted = {f"{label}.{pool}" for label in alive}

    def settled() -> bool:
        listed = service.client.get("/v1/allocations", params={"limit": 500}).json()["allocations"]
        return (
            {one["fqdn"] for one in listed if one["dns"]["state"] == "published"}
            == wanted
            == {one["fqdn"] for one in listed}
        )

    eventually(settled, 25, "all allocations to be published, and no other to be there")
    assert api.delegations(pool) == {fqdn: {"NS", "DS"} for fqdn in wanted}
    for fqdn in wanted:
        keys = [ds for key in api.keys(fqdn) for ds in key["ds"] if ds.split()[2] == "2"]
        zone = api.zone(pool)
        assert zone is not None
        (delegated,) = (one for one in zone["rrsets"] if one["name"] == f"{fqdn}." and one["type"] == "DS")
        assert [one["content"] for one in delegated["records"]] == keys
    for label in gone:
        assert api.zone(f"{label}.{pool}") is None


def test_a_dead_replicas_work_is_taken_over(new_service: Callable[..., Service], powerdns: object) -> None:
    """What a killed replica had begun, another one finishes."""
    one, two = new_service(), new_service()
    one.start()
    two.start()
    labels = [name() for _ in range(NAMES)]
    tokens = [one.reserve(label).json()["reservationToken"] for label in labels]
    threading.Timer(0.05, one.kill).start()

    def commit(i: int) -> int:
        try:
            return one.commit(labels[i], tokens[i]).status_code
        except httpx.HTTPError:
            return 0

    at_once(NAMES, commit)
    for label, token in zip(labels, tokens, strict=True):
        assert two.commit(label, token).status_code in {200, 202}
        two.published(label, 15)
        assert records(powerdns.dns_port, f"{label}.{two.pool}", "A") == [ADDRESS]  # type: ignore[attr-defined]
