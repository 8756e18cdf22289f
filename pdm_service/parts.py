"""Every part of one running service, built in reading order: one function a wing, each given the wings before it."""

import functools
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from adapters.all import entries, others
from adapters.all import registrars as all_registrars
from adapters.base import Registrar
from adapters.http import Http
from pdm_service import callers, glue, tls
from pdm_service.allocator import Allocator
from pdm_service.allocator.customer_domains import CustomerDomains
from pdm_service.allocator.declared import Declared
from pdm_service.allocator.pool_names import PoolNames
from pdm_service.allocator.reservations import Reservations
from pdm_service.byo.bare_change import BareChanges
from pdm_service.byo.flip import Flips
from pdm_service.byo.rdap import Rdap
from pdm_service.byo.registrar_change import RegistrarChanges
from pdm_service.byo.rollback import Rollbacks
from pdm_service.byo.survey import Surveyor
from pdm_service.callers import Rates
from pdm_service.callers.gate import Gate
from pdm_service.callers.token_review import TokenReview
from pdm_service.delegations.prober import Prober
from pdm_service.delegations.watch import Watch
from pdm_service.model.records import Nameserver
from pdm_service.names import policy
from pdm_service.names.policy import Policy
from pdm_service.pools.registration import Guard, GuardPace
from pdm_service.pools.zones import PoolZones
from pdm_service.powerdns import PowerDns
from pdm_service.publisher.comparison import Comparison
from pdm_service.publisher.leftovers import Leftovers
from pdm_service.publisher.nameservers import Nameservers
from pdm_service.publisher.outcome import Outcomes
from pdm_service.publisher.parent_zones import ParentZones
from pdm_service.publisher.publisher import Pace, Publisher
from pdm_service.registrars import Registrars
from pdm_service.settings import Settings
from pdm_service.settings.live_file import LiveFile, LiveFiles
from pdm_service.shares import Shares
from pdm_service.store.allocations import Allocations
from pdm_service.store.availability import Availability
from pdm_service.store.claims import Claims
from pdm_service.store.database import Database
from pdm_service.store.declarations import Declarations
from pdm_service.store.events import Trail
from pdm_service.store.follower import Follower
from pdm_service.store.holdings import Holdings
from pdm_service.store.lost import Lost
from pdm_service.store.pool_registrations import Registrations
from pdm_service.store.registrar_changes import Changes
from pdm_service.store.signals import Signals
from pdm_service.store.watches import Watches
from pdm_service.store.worklist import Worklist
from pdm_service.store.writable import Writable
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics
from pdm_service.telemetry.tracing import Tracing

_ATTEMPT_SHARE = 0.8
"""Of a lease: the rest is for what is still under way when the attempt is called off."""
_PUBLISHER_CONNECTIONS = 8
"""Half of them are for reading; each turn as the writer of a pool zone holds one of those."""
_REGISTRAR_CALLS = 16
"""Under way at one registrar, of all tenants."""


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """What the service reports of itself."""

    metrics: Metrics
    tracing: Tracing


def telemetry(settings: Settings) -> Telemetry:
    """Return metrics and traces."""
    return Telemetry(metrics=Metrics(), tracing=Tracing(settings.otlp_url))


@dataclass(frozen=True, kw_only=True)
class Store:
    """PostgreSQL."""

    callers: Database
    publishing: Database
    writable: Writable
    signals: Signals
    follower: Follower
    availability: Availability
    allocations: Allocations
    holdings: Holdings
    claims: Claims
    declarations: Declarations
    changes: Changes
    watches: Watches
    registrations: Registrations
    trail: Trail
    lost: Lost
    worklist: Worklist


def store(settings: Settings, reports: Telemetry) -> Store:
    """Return the tables, over one pool of connections for callers and one for the publisher."""
    # What callers ask for is found by an index. A plan that is made while a table is empty would go without, and be
    # kept until the statistics are renewed: a minute or so in which a new deployment is many times slower.
    # What has to go without all the same is priced so high then that PostgreSQL would compile it each time.
    database = Database(
        settings.database_url,
        settings.database_connections,
        reports.metrics.database_failure,
        enable_seqscan="off",
        jit="off",
    )
    publishing = Database(
        settings.database_url, _PUBLISHER_CONNECTIONS, reports.metrics.database_failure, synchronous_commit="off"
    )
    follower = Follower(settings.database_url, reports.metrics.names)
    availability = Availability(database, settings.confusables, follower, reports.metrics.check_asked)
    allocations = Allocations(database, availability, settings.ages)
    return Store(
        callers=database,
        publishing=publishing,
        writable=Writable(database),
        signals=Signals(follower.changed),
        follower=follower,
        availability=availability,
        allocations=allocations,
        holdings=Holdings(database),
        claims=Claims(database, settings.ages),
        declarations=Declarations(database, allocations, availability),
        changes=Changes(database),
        watches=Watches(database, settings.clock_ahead),
        registrations=Registrations(database),
        trail=Trail(database),
        lost=Lost(publishing),
        worklist=Worklist(publishing, settings.lease, settings.quarantine),
    )


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Who calls, over what, and which names they may have."""

    contexts: Callable[[], ssl.SSLContext] | None
    """What connections are secured with."""
    gate: Gate
    review: TokenReview | None
    policy: Callable[[], Policy]
    rates: Rates


def who_calls(settings: Settings, reports: Telemetry) -> Callers:
    """Return the gate, and the name policy."""
    clients = review = None
    if settings.auth_tokens_file is not None:
        clients = LiveFile(
            settings.auth_tokens_file, callers.read, lambda valid: reports.metrics.file("callers", valid=valid)
        )
    if settings.kubernetes_url is not None:
        review = TokenReview(settings.kubernetes_url, settings.kubernetes_token_file, settings.kubernetes_ca_file)
    if settings.anonymous:
        logs.announce("anonymous", {"open": "the compatibility routes for pools, to callers without a credential"})
    named: Callable[[], Policy] = functools.cache(Policy)
    if settings.policy_file is not None:
        named = LiveFile(settings.policy_file, policy.read, lambda valid: reports.metrics.file("policy", valid=valid))
    contexts = None
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        files = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
        contexts = LiveFiles(
            [file for file in files if file],
            functools.partial(tls.serving, *files),
            lambda valid: reports.metrics.file("tls", valid=valid),
        )
    gate = Gate(clients, review, anonymous=settings.anonymous, observe=reports.metrics.auth_failure)
    return Callers(contexts=contexts, gate=gate, review=review, policy=named, rates=Rates(settings.limits))


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Whom the service calls: registrars, and PowerDNS."""

    powerdns: PowerDns
    adapters: dict[str, Registrar]
    registrars: Registrars
    ways_out: list[Http] = field(default_factory=list)


def outside(settings: Settings, reports: Telemetry) -> Outside:
    """Return the clients of others' APIs."""

    def powerdns_called(operation: str, outcome: str, seconds: float) -> None:
        reports.metrics.powerdns_call(operation, outcome, seconds)
        reports.tracing.past(f"powerdns {operation}", outcome, seconds)

    def registrar_called(registrar: str, operation: str, outcome: str, seconds: float) -> None:
        reports.metrics.registrar_call(registrar, operation, outcome, seconds)
        reports.tracing.past(f"{registrar} {operation}", outcome, seconds)

    ways_out: list[Http] = []

    def way_out(registrar: str) -> Http:
        turn = Shares(_REGISTRAR_CALLS).turn
        ways_out.append(Http(registrar, registrar_called, ipv4_only=entries()[registrar].ipv4_only, turn=turn))
        return ways_out[-1]

    adapters = all_registrars(way_out, settings.registrar_urls, settings.registrar_options)
    for name, (_, package) in others().items():
        logs.announce("adapter of another package", {"registrar": name, "package": str(package)})
    trusted = None
    if settings.pdns_ca_file is not None:
        trusted = LiveFiles(
            [settings.pdns_ca_file],
            functools.partial(tls.trusting, settings.pdns_ca_file),
            lambda valid: reports.metrics.file("powerdns-ca", valid=valid),
        )
    powerdns = PowerDns(
        settings.pdns_base_url,
        settings.pdns_api_key,
        settings.pdns_server_id,
        settings.pdns_concurrency,
        powerdns_called,
        trusted,
    )
    return Outside(powerdns=powerdns, adapters=adapters, registrars=Registrars(adapters), ways_out=ways_out)


@dataclass(frozen=True, kw_only=True)
class Publishing:
    """DNS is made equal to the store."""

    nameservers: Nameservers
    leftovers: Leftovers
    comparison: Comparison
    publisher: Publisher
    outcomes: Outcomes


def publishing(settings: Settings, reports: Telemetry, stored: Store, beyond: Outside) -> Publishing:
    """Return the publisher, and what it asks the platform's nameservers with."""
    nameservers = Nameservers(settings.nameservers, settings.nameserver_addresses, beyond.powerdns)
    pace = Pace(
        reconcile=settings.reconcile_interval,
        look=settings.look_interval,
        audits_per_second=settings.audit_rate,
        attempt=settings.lease * _ATTEMPT_SHARE,
    )
    parents = ParentZones(stored.worklist, beyond.powerdns, reports.metrics.batch)
    leftovers = Leftovers(
        worklist=stored.worklist,
        trail=stored.trail,
        lost=stored.lost,
        powerdns=beyond.powerdns,
        parents=parents,
        signals=stored.signals,
        pool_domains=settings.pool_domains,
        keep_strays=settings.keep_strays,
        metrics=reports.metrics,
    )
    comparison = Comparison(
        worklist=stored.worklist,
        leftovers=leftovers,
        powerdns=beyond.powerdns,
        signals=stored.signals,
        nameservers=settings.nameservers,
        pool_domains=settings.pool_domains,
        metrics=reports.metrics,
    )
    publisher = Publisher(
        worklist=stored.worklist,
        signals=stored.signals,
        powerdns=beyond.powerdns,
        nameservers=nameservers,
        parents=parents,
        leftovers=leftovers,
        names=settings.nameservers,
        pace=pace,
        metrics=reports.metrics,
        tracing=reports.tracing,
    )
    return Publishing(
        nameservers=nameservers,
        leftovers=leftovers,
        comparison=comparison,
        publisher=publisher,
        outcomes=Outcomes(stored.allocations, stored.signals),
    )


@dataclass(frozen=True, kw_only=True)
class Pools:
    """The pool domains: their zones, and their registration where a registrar is set."""

    zones: PoolZones
    guard: Guard | None


def pools(settings: Settings, reports: Telemetry, stored: Store, beyond: Outside, published: Publishing) -> Pools:
    """Return what keeps the pool domains."""
    zones = PoolZones(
        domains=settings.pool_domains,
        nameservers=settings.nameservers,
        asked=published.nameservers,
        allocations=stored.allocations,
        worklist=stored.worklist,
        powerdns=beyond.powerdns,
        comparison=published.comparison,
        signals=stored.signals,
        interval=settings.audit_interval,
    )
    if settings.pool_registrar is None or settings.pool_registrar_token is None:
        logs.announce("no pool registrar", {"poolDomains": settings.pool_domains, "unguarded": "nameservers, DS"})
        return Pools(zones=zones, guard=None)
    guard = Guard(
        registrar=beyond.adapters[settings.pool_registrar],
        credential=settings.pool_registrar_token,
        domains=settings.pool_domains,
        nameservers=settings.nameservers,
        platform=glue.platform(_platform(settings), allow_private=settings.dns_allow_private),
        asked=published.nameservers,
        powerdns=beyond.powerdns,
        registrations=stored.registrations,
        ready=lambda domain: zones.status[domain].ready,
        pace=GuardPace(tick=settings.reconcile_interval, ds_delay=settings.pool_ds_delay),
        metrics=reports.metrics,
    )
    return Pools(zones=zones, guard=guard)


@dataclass(frozen=True, kw_only=True)
class Delegations:
    """Delegations are observed from the root down."""

    prober: Prober
    watch: Watch
    enabled: bool
    """Whether there is a way into the DNS."""


def delegations(settings: Settings, reports: Telemetry, stored: Store, beyond: Outside) -> Delegations:
    """Return the watch, and the way into the DNS."""
    prober = Prober(
        hints=settings.root_hints,
        port=settings.dns_port,
        addresses=(*_platform(settings), *settings.dns_addresses),
        allow_private=settings.dns_allow_private,
    )
    watch = Watch(
        watches=stored.watches,
        claims=stored.claims,
        changes=stored.changes,
        prober=prober,
        nameservers=settings.nameservers,
        signals=stored.signals,
        first=settings.delegation_interval,
        ds_registrars=beyond.registrars.that_set_ds,
        metrics=reports.metrics,
    )
    if not settings.root_hints:
        logs.announce("no root hints", {"unwatched": "delegations of customers' domains"})
    return Delegations(prober=prober, watch=watch, enabled=bool(settings.root_hints))


def _platform(settings: Settings) -> tuple[Nameserver, ...]:
    """Return the configured addresses of the platform's nameservers, by name; one without a name is all of theirs."""
    return tuple(
        Nameserver(name, server.address, server.port)
        for server in settings.nameserver_addresses
        for name in ((server.name,) if server.name else settings.nameservers)
    )


@dataclass(frozen=True, kw_only=True)
class Byo:
    """A customer's domain moves."""

    rdap: Rdap
    surveyor: Surveyor
    flips: Flips
    rollbacks: Rollbacks
    bare_changes: BareChanges


def byo(settings: Settings, stored: Store, beyond: Outside, published: Publishing, observed: Delegations) -> Byo:
    """Return the steps of a customer's domain to the platform, and back."""
    rdap = Rdap(settings.rdap_url)
    surveyor = Surveyor(
        watch=observed.watch,
        prober=observed.prober,
        rdap=rdap,
        claims=stored.claims,
        pool_domains=settings.pool_domains,
        nameservers=settings.nameservers,
        acme_issuers=settings.acme_issuers,
        enabled=observed.enabled,
    )
    hosts = glue.platform(_platform(settings), allow_private=settings.dns_allow_private)
    changes = RegistrarChanges(stored.changes, observed.watch, beyond.registrars, hosts)
    flips = Flips(
        outcomes=published.outcomes,
        claims=stored.claims,
        changes=stored.changes,
        registrar_changes=changes,
        watch=observed.watch,
        surveyor=surveyor,
        registrars=beyond.registrars,
        powerdns=beyond.powerdns,
        prober=observed.prober,
        nameservers=settings.nameservers,
    )
    rollbacks = Rollbacks(
        outcomes=published.outcomes,
        changes=stored.changes,
        registrar_changes=changes,
        watch=observed.watch,
        registrars=beyond.registrars,
        prober=observed.prober,
        nameservers=settings.nameservers,
    )
    bare_changes = BareChanges(beyond.registrars, observed.watch, hosts)
    return Byo(rdap=rdap, surveyor=surveyor, flips=flips, rollbacks=rollbacks, bare_changes=bare_changes)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All of them."""

    settings: Settings
    telemetry: Telemetry
    store: Store
    callers: Callers
    outside: Outside
    publishing: Publishing
    pools: Pools
    delegations: Delegations
    byo: Byo
    allocator: Allocator


def build(settings: Settings) -> Parts:
    """Build every part; opens no connection yet."""
    reports = telemetry(settings)
    stored = store(settings, reports)
    called = who_calls(settings, reports)
    beyond = outside(settings, reports)
    published = publishing(settings, reports, stored, beyond)
    kept = pools(settings, reports, stored, beyond, published)
    observed = delegations(settings, reports, stored, beyond)
    moving = byo(settings, stored, beyond, published, observed)
    return Parts(
        settings=settings,
        telemetry=reports,
        store=stored,
        callers=called,
        outside=beyond,
        publishing=published,
        pools=kept,
        delegations=observed,
        byo=moving,
        allocator=_allocator(settings, reports, stored, called, beyond, published, kept, observed, moving),
    )


def _allocator(
    settings: Settings, reports: Telemetry, stored: Store, called: Callers, beyond: Outside, published: Publishing,
    kept: Pools, observed: Delegations, moving: Byo,
) -> Allocator:  # fmt: skip
    reservations = Reservations(stored.holdings, settings.reservation_ttl)
    pool_names = PoolNames(
        allocations=stored.allocations,
        availability=stored.availability,
        reservations=reservations,
        outcomes=published.outcomes,
        pool_domains=settings.pool_domains,
        policy=called.policy,
        confusables=settings.confusables,
        on_commit=kept.guard.committed if kept.guard else lambda _: None,
        on_refusal=reports.metrics.refusal,
    )
    customer_domains = CustomerDomains(
        allocations=stored.allocations,
        claims=stored.claims,
        reservations=reservations,
        outcomes=published.outcomes,
        watch=observed.watch,
        surveyor=moving.surveyor,
        flips=moving.flips,
        rollbacks=moving.rollbacks,
        registrars=beyond.registrars,
        pool_domains=settings.pool_domains,
    )
    return Allocator(
        pool_names=pool_names,
        customer_domains=customer_domains,
        declared=Declared(pool_names, stored.declarations, stored.allocations, published.outcomes),
        reservations=reservations,
        allocations=stored.allocations,
        claims=stored.claims,
        holdings=stored.holdings,
        changes=stored.changes,
        trail=stored.trail,
        watch=observed.watch,
    )
