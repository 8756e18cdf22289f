"""Metrics and logs where there is a lot to tell."""

import re
import time
from collections.abc import Callable

from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, Service

MANY = 2000


def test_metrics_at_many_allocations(new_service: Callable[..., Service]) -> None:
    """With 2,000 allocations there are as many series as with none but for the states, and they are told in time."""
    service = new_service(PDM_RECONCILE_INTERVAL="1s", PDM_LOG_LEVEL="info").start()
    eventually(service.pools_ready)
    service.publish("first")
    eventually(lambda: f'pdm_allocations{{pool="{service.pool}",state="active"}} 1.0' in metrics(service))
    before = series(service)
    service.execute(
        "INSERT INTO allocations (fqdn, span, mode, pool_domain, subdomain, state, reserved_at, token_digest,"
        " committed_at, load_balancer_ips, dns_state, dns_updated_at, due_at, owner, tenant)"
        f" SELECT 'marked-' || n || '.{service.pool}', name_span(n::text, n::text || '/'), 'pool', '{service.pool}',"
        f" 'marked-' || n, 'active', now(), '', now(), ARRAY['{ADDRESS}'], 'published', now(), now() + '1 h',"
        f" 'client-' || n, 'tenant-' || n FROM generate_series(1, {MANY}) AS n"
    )
    wanted = f'pdm_allocations{{pool="{service.pool}",state="active"}} {MANY + 1}.0'
    eventually(lambda: wanted in metrics(service))
    for n in range(200):
        service.client.get(f"/v1/allocations/marked-{n + 1}.{service.pool}")
        service.client.get(f"/v1/nowhere/marked-{n}")
    assert series(service) - before <= {
        line for line in series(service) if 'route="/v1/allocations' in line or 'route="none"' in line
    }
    assert "marked" not in metrics(service)
    took = []
    for _ in range(15):
        start = time.perf_counter()
        metrics(service)
        took.append(time.perf_counter() - start)
    # The bound of the promise to operators; the median, since the machine may be busy.
    assert sorted(took)[7] < patient(0.1)
    assert all(len(str(line)) < 2000 for line in service.lines())


def metrics(service: Service) -> str:
    return service.client.get("/metrics").text


def series(service: Service) -> set[str]:
    """All series, without their values."""
    return {re.sub(r" \S+$", "", line) for line in metrics(service).splitlines() if not line.startswith("#")}
