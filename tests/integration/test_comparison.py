"""Names that nobody touches cost nothing: zones are compared by their serials, and a pool zone is not read again."""

import re
from collections.abc import Callable

from tests.dns_view import Api, rrset
from tests.eventually import eventually
from tests.service import NAMESERVERS, Service, name


def count(service: Service, metric: str) -> float:
    """A counter, all its labels together."""
    text = service.client.get("/metrics").text
    return sum(float(value) for value in re.findall(rf"^{re.escape(metric)}(?:\}})? ([0-9.e+]+)$", text, re.MULTILINE))


def read_whole(service: Service) -> float:
    return count(service, 'pdm_powerdns_calls_total{operation="get-zone-whole",outcome="ok"')


def compared(service: Service) -> float:
    return count(service, 'pdm_powerdns_calls_total{operation="list-zones",outcome="ok"')


def looked(service: Service) -> float:
    return count(service, 'pdm_publisher_attempts_total{outcome="unchanged"')


def after_comparisons(service: Service, number: int) -> None:
    before = compared(service)
    eventually(lambda: compared(service) >= before + number, 30)


def test_what_nobody_touches(new_service: Callable[..., Service], api: Api) -> None:
    """Each name is looked at once after its publication, and again when its zone changes; the pool zone likewise."""
    service = new_service(PDM_AUDIT_INTERVAL="1s", PDM_RECONCILE_INTERVAL="1s").start()
    eventually(service.pools_ready)
    labels = [name() for _ in range(4)]
    for label in labels:
        service.publish(label)
    eventually(lambda: looked(service) >= len(labels), 30)
    service.release(labels.pop())
    after_comparisons(service, 3)
    looks, reads = looked(service), read_whole(service)
    after_comparisons(service, 5)
    assert (looked(service), read_whole(service)) == (looks, reads), "nothing had changed"
    service.publish(name())
    eventually(lambda: looked(service) == looks + 1, 30)
    after_comparisons(service, 3)
    assert read_whole(service) == reads, "nobody but the service had changed it"
    looks += 1
    api.patch(f"{labels[0]}.{service.pool}", rrset(f"mail.{labels[0]}.{service.pool}", "A", "192.0.2.4"))
    eventually(lambda: looked(service) == looks + 1, 30)
    hosts = [f"{one}." for one in NAMESERVERS]
    api.patch(service.pool, rrset(f"{name()}.{service.pool}", "NS", *hosts[:1]))
    eventually(lambda: read_whole(service) == reads + 1, 30)
    after_comparisons(service, 4)
    assert (looked(service), read_whole(service)) == (looks + 1, reads + 1)


def test_a_zone_that_is_not_there(new_service: Callable[..., Service], api: Api) -> None:
    """A zone that is missing from the list has no serial that differs, and is made anew all the same."""
    service = new_service(PDM_AUDIT_INTERVAL="1s", PDM_RECONCILE_INTERVAL="1s").start()
    label = name()
    service.publish(label)
    eventually(lambda: looked(service) >= 1, 30)
    api.delete(f"{label}.{service.pool}")
    eventually(lambda: api.zone(f"{label}.{service.pool}") is not None, 30)
    service.published(label)
