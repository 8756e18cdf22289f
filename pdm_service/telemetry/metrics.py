"""Every metric that the service exports, with its help text. No names of customers in labels."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pdm_service import __version__

OUTCOMES = (
    "published",
    "changed",
    "repaired",
    "removed",
    "held",
    "unchanged",
    "failed",
    "rejected",
    "superseded",
    "interrupted",
)
CAUSES = ("powerdns-away", "powerdns-failed", "rejected", "not-seen", "no-answer", "database", "timeout", "defect")
AUTH_FAILURES = ("missing", "invalid", "expired", "scope", "limited", "unavailable")
REFUSALS = ("quota", "quarantined", "confusable", "brand", "rate-limited")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class _Requests(Collector):
    """Counts requests in one thread: with the locks of the library's counters that costs a tenth of a check."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, tuple[list[int], list[float]]] = {}
        """By route: how many took up to each of _SECONDS, or longer, and the sum."""

    def count(self, key: tuple[str, str, int], seconds: float) -> None:
        """Count a request by method, route and status."""
        self._counts[key] = self._counts.get(key, 0) + 1
        if (found := self._seconds.get(key[1])) is None:
            found = self._seconds[key[1]] = [0] * (len(_SECONDS) + 1), [0.0]
        found[0][bisect_left(_SECONDS, seconds)] += 1
        found[1][0] += seconds

    def collect(self) -> Iterator[Metric]:
        """Return the counts, and the times by route."""
        requests = CounterMetricFamily(
            "pdm_http_requests", "Requests answered, by route and status.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self._counts.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        times = HistogramMetricFamily("pdm_http_request_seconds", "Time to answer a request.", labels=["route"])
        for route, (counts, total) in self._seconds.items():
            bounds = [*(str(float(bound)) for bound in _SECONDS), "+Inf"]
            times.add_metric([route], list(zip(bounds, accumulate(counts), strict=True)), total[0])
        yield times


class Metrics:
    """The metrics of one running service."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        r = self._registry
        Info("pdm_build", "The running version.", registry=r).info({"version": __version__})
        self._requests = _Requests()
        r.register(self._requests)
        self._errors = Counter(
            "pdm_http_errors", "Requests that failed because of a defect of the service.", registry=r
        )
        self._calls = Counter(
            "pdm_powerdns_calls", "Calls of PowerDNS's API, by operation and outcome.", ["operation", "outcome"],
            registry=r,
        )  # fmt: skip
        self._call_seconds = Histogram(
            "pdm_powerdns_call_seconds", "Time of a call of PowerDNS's API.", ["operation"], buckets=_SECONDS,
            registry=r,
        )  # fmt: skip
        self._pending = Gauge("pdm_publisher_queue_depth", "Allocations whose DNS is not yet as wanted.", registry=r)
        self._oldest = Gauge(
            "pdm_publisher_queue_age_seconds", "How long the oldest of them has been waiting.", registry=r
        )
        self._attempts = Counter(
            "pdm_publisher_attempts", "Attempts to make DNS as wanted, by outcome.", ["outcome"], registry=r
        )
        self._attempt_seconds = Histogram(
            "pdm_publisher_attempt_seconds", "Time of such an attempt.", ["outcome"], buckets=_SECONDS, registry=r
        )
        self._batch = Histogram(
            "pdm_parent_batch_size", "Names in one change of a parent zone.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 100), registry=r,
        )  # fmt: skip
        self._drift = Counter("pdm_drift_found", "Published names whose DNS was found to differ.", registry=r)
        self._expired = Counter("pdm_reservations_expired", "Reservations removed after they expired.", registry=r)
        self._registrar_calls = Counter(
            "pdm_registrar_calls", "Requests to registrars, by operation and outcome.",
            ["registrar", "operation", "outcome"], registry=r,
        )  # fmt: skip
        self._registrar_seconds = Histogram(
            "pdm_registrar_call_seconds", "Time of a request to a registrar.", ["registrar"], buckets=_SECONDS,
            registry=r,
        )  # fmt: skip
        self._registration_checks = Counter(
            "pdm_pool_registration_checks", "Checks of pool domains at their registrar, by what was found.",
            ["state"], registry=r,
        )  # fmt: skip
        self._registration_repairs = Counter(
            "pdm_pool_registration_repairs", "Changes made there, of nameservers or DS.", ["what"], registry=r
        )
        self._delegations = Gauge("pdm_delegations", "Watched delegations by phase.", ["phase"], registry=r)
        self._looks = Counter(
            "pdm_delegation_looks", "Observations of delegations, by what was found.", ["phase"], registry=r
        )
        self._dns_queries = Counter("pdm_dns_queries", "DNS questions asked to observe delegations.", registry=r)
        self._auth_failures = Counter(
            "pdm_auth_failures", "Requests refused for their credential, by why.", ["reason"], registry=r
        )
        self._file_valid = Gauge(
            "pdm_file_valid", "Whether the last reading of a file that may change was usable.", ["file"], registry=r
        )
        self._refusals = Counter("pdm_refusals", "Names that were refused, by the rule.", ["reason"], registry=r)
        self._names = Gauge(
            "pdm_names_in_memory", "Taken names, by their looks, that checks are answered from.", registry=r
        )
        self._checks_asked = Counter(
            "pdm_checks_asked", "Checks for which PostgreSQL was asked, since memory was not new enough.", registry=r
        )
        self._allocations = Gauge(
            "pdm_allocations", "Allocations and open claims, by pool domain (or byo) and state.", ["pool", "state"],
            registry=r,
        )  # fmt: skip
        self._publish_seconds = Histogram(
            "pdm_publish_seconds", "From a commit until the nameservers answer as wanted.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800), registry=r,
        )  # fmt: skip
        self._failures = Counter("pdm_publisher_failures", "Attempts that failed, by cause.", ["cause"], registry=r)
        self._drift_repaired = Counter("pdm_drift_repaired", "Published names whose DNS was repaired.", registry=r)
        self._powerdns_up = Gauge("pdm_powerdns_up", "Whether PowerDNS's API answers.", registry=r)
        self._powerdns_failing = Gauge(
            "pdm_powerdns_failing", "Whether changes get nowhere though PowerDNS answers small questions.", registry=r
        )
        self._lost = Gauge(
            "pdm_lost_zones",
            "Zones with this service's mark in DNS that the database knows nothing of, by pool domain.",
            ["pool"], registry=r,
        )  # fmt: skip
        self._database_up = Gauge("pdm_database_up", "Whether PostgreSQL answers, with this schema.", registry=r)
        self._database_writable = Gauge(
            "pdm_database_writable", "Whether PostgreSQL takes writes: not read-only, nor waiting for a standby.",
            registry=r,
        )  # fmt: skip
        self._connections = Gauge(
            "pdm_database_connections", "Connections to PostgreSQL, by what they are for.", ["pool", "state"],
            registry=r,
        )  # fmt: skip
        self._database_failures = Counter(
            "pdm_database_failures", "Calls that PostgreSQL did not answer in time, or at all.", registry=r
        )
        self._pool_ready = Gauge("pdm_pool_ready", "Whether a pool zone is as it should be.", ["pool"], registry=r)
        self._registration_ok = Gauge(
            "pdm_pool_registration_ok", "Whether a pool domain's registrar has what it should, or soon will.", ["pool"],
            registry=r,
        )  # fmt: skip
        # A counter that appears with its first count has no increase that an alert could see.
        for counter, values in (
            (self._attempts, OUTCOMES),
            (self._failures, CAUSES),
            (self._auth_failures, AUTH_FAILURES),
            (self._refusals, REFUSALS),
        ):
            for value in values:
                counter.labels(value)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        if status == 500:
            self._errors.inc()
        self._requests.count((method, route, status), seconds)

    def powerdns_call(self, operation: str, outcome: str, seconds: float) -> None:
        """Count a call of PowerDNS's API."""
        self._calls.labels(operation, outcome).inc()
        self._call_seconds.labels(operation).observe(seconds)

    def backlog(self, pending: int, oldest_seconds: float) -> None:
        """Set what waits for the publisher."""
        self._pending.set(pending)
        self._oldest.set(oldest_seconds)

    def attempt(self, outcome: str, seconds: float) -> None:
        """Count an attempt of the publisher."""
        self._attempts.labels(outcome).inc()
        self._attempt_seconds.labels(outcome).observe(seconds)

    def batch(self, names: int) -> None:
        """Count a change of a parent zone."""
        self._batch.observe(names)

    def failure(self, cause: str) -> None:
        """Count an attempt that failed."""
        self._failures.labels(cause).inc()

    def published(self, seconds: float) -> None:
        """Count a name that was published for the first time, so long after its commit."""
        self._publish_seconds.observe(seconds)

    def allocations(self, census: Mapping[tuple[str, str], int]) -> None:
        """Set how many there are, by pool domain and state."""
        self._allocations.clear()
        for (pool, state), count in census.items():
            self._allocations.labels(pool, state).set(count)

    def names(self, looks: int) -> None:
        """Set how many looks of taken names are in memory."""
        self._names.set(looks)

    def check_asked(self) -> None:
        """Count a check that was not answered from memory."""
        self._checks_asked.inc()

    def up(self, *, database: bool, writable: bool, powerdns: bool) -> None:
        """Set whether the service's servers answer, and PostgreSQL takes writes."""
        self._database_up.set(database)
        self._database_writable.set(writable)
        self._powerdns_up.set(powerdns)

    def failing(self, *, failing: bool) -> None:
        """Set whether this replica leaves PowerDNS to the others."""
        self._powerdns_failing.set(failing)

    def lost(self, zones: Mapping[str, int]) -> None:
        """Set how many zones of unknown allocations there are, by pool domain."""
        self._lost.clear()
        for pool, count in zones.items():
            self._lost.labels(pool).set(count)

    def connections(self, pool: str, used: int, idle: int) -> None:
        """Set how many connections to PostgreSQL are in use, and wait."""
        self._connections.labels(pool, "used").set(used)
        self._connections.labels(pool, "idle").set(idle)

    def database_failure(self) -> None:
        """Count a call that PostgreSQL did not answer."""
        self._database_failures.inc()

    def pool(self, domain: str, *, ready: bool) -> None:
        """Set whether a pool zone is as it should be."""
        self._pool_ready.labels(domain).set(ready)

    def registration(self, domain: str, *, ok: bool) -> None:
        """Set whether a pool domain's registrar has what it should, or soon will."""
        self._registration_ok.labels(domain).set(ok)

    def drift_repaired(self) -> None:
        """Count a published name that was made as wanted again."""
        self._drift_repaired.inc()

    def drift(self) -> None:
        """Count a published name that DNS had otherwise."""
        self._drift.inc()

    def expired(self, reservations: int) -> None:
        """Count reservations that were removed after they expired."""
        self._expired.inc(reservations)

    def registrar_call(self, registrar: str, operation: str, outcome: str, seconds: float) -> None:
        """Count a request to a registrar."""
        self._registrar_calls.labels(registrar, operation, outcome).inc()
        self._registrar_seconds.labels(registrar).observe(seconds)

    def registration_checked(self, state: str) -> None:
        """Count a check of a pool domain at its registrar."""
        self._registration_checks.labels(state).inc()

    def registration_repaired(self, what: str) -> None:
        """Count a change of a pool domain at its registrar."""
        self._registration_repairs.labels(what).inc()

    def delegations(self, phases: Mapping[str, int]) -> None:
        """Set how many watched delegations are in each phase."""
        self._delegations.clear()
        for phase, count in phases.items():
            self._delegations.labels(phase).set(count)

    def looked(self, phase: str, queries: int) -> None:
        """Count an observation of a delegation."""
        self._looks.labels(phase).inc()
        self._dns_queries.inc(queries)

    def auth_failure(self, reason: str) -> None:
        """Count a request that was refused for its credential."""
        self._auth_failures.labels(reason).inc()

    def file(self, name: str, *, valid: bool) -> None:
        """Set whether a file that may change is usable as it is."""
        self._file_valid.labels(name).set(valid)

    def refusal(self, reason: str) -> None:
        """Count a name that was not given."""
        self._refusals.labels(reason).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
