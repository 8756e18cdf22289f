"""The composition root: everything is built and wired here."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from adapters.all import registrars
from adapters.base import Registrar
from adapters.http import Http
from pdm_service import __version__, callers
from pdm_service.allocator.customer_domains import Byo
from pdm_service.allocator.declared import Declared
from pdm_service.allocator.pool_names import Allocator
from pdm_service.api import allocations, compat, problems
from pdm_service.api import domains as byo_routes
from pdm_service.api import health as operations
from pdm_service.api import lists as looking
from pdm_service.api import registrars as registrar_routes
from pdm_service.api import verbs as v1
from pdm_service.api.access import Checks, declared, guards
from pdm_service.api.edge import MAX_BODY_BYTES, Edge
from pdm_service.api.replies import teller
from pdm_service.byo.flip import Flips
from pdm_service.byo.rdap import Rdap
from pdm_service.byo.survey import Surveyor
from pdm_service.callers.gate import Gate
from pdm_service.callers.token_review import TokenReview
from pdm_service.delegations.prober import Prober
from pdm_service.delegations.watch import Watch
from pdm_service.errors import StoreUnavailable
from pdm_service.model.records import Nameserver
from pdm_service.names import policy
from pdm_service.names.policy import Policy
from pdm_service.pools.registration import Guard, GuardPace
from pdm_service.pools.zones import PoolZones
from pdm_service.powerdns import PowerDns, PowerDnsError
from pdm_service.publisher.nameservers import Nameservers
from pdm_service.publisher.publisher import Pace, Publisher
from pdm_service.registrars import Registrars
from pdm_service.settings import Settings
from pdm_service.settings.live_file import Reread
from pdm_service.store.allocations import Store
from pdm_service.store.claims import Claims
from pdm_service.store.database import Database
from pdm_service.store.declarations import Declarations
from pdm_service.store.events import Trail
from pdm_service.store.pool_registrations import Registrations
from pdm_service.store.registrar_changes import Changes
from pdm_service.store.signals import Signals
from pdm_service.store.watches import Watches
from pdm_service.store.worklist import Worklist
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics
from pdm_service.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)

_ATTEMPT_SHARE = 0.8
"""Of a lease: the rest is for what is still under way when the attempt is called off."""
_STOP_SECONDS = 5.0
_PUBLISHER_CONNECTIONS = 6
_EXPIRED_KEPT = timedelta(hours=1)
_HOUSEKEEPING_SECONDS = 60


class Service:
    """All parts of one running service."""

    def __init__(self, settings: Settings, revision: str | None) -> None:
        """`revision` is the schema's that this release needs to be ready."""
        self._settings = settings
        self._revision = revision
        self.metrics = Metrics()
        self.tracing = Tracing(settings.otlp_url)
        self.signals = Signals()
        # What callers ask for is found by an index. A plan that is made while a table is empty would go without, and be
        # kept until the statistics are renewed: a minute or so in which a new deployment is many times slower.
        # What has to go without all the same is priced so high then that PostgreSQL would compile it each time.
        self._callers = Database(
            settings.database_url,
            settings.database_connections,
            self.metrics.database_failure,
            enable_seqscan="off",
            jit="off",
        )
        self._publishing = Database(
            settings.database_url, _PUBLISHER_CONNECTIONS, self.metrics.database_failure, synchronous_commit="off"
        )
        self.store = Store(self._callers, settings.confusables)
        self.trail = Trail(self._callers)
        worklist = Worklist(self._publishing, settings.lease, settings.quarantine)
        self._policy = self._named_by_file()
        self._review, self.gate = self._door()
        self.powerdns = PowerDns(
            settings.pdns_base_url,
            settings.pdns_api_key,
            settings.pdns_server_id,
            settings.pdns_concurrency,
            self._powerdns_called,
        )
        asked = Nameservers(settings.nameservers, settings.nameserver_addresses, self.powerdns)
        pace = Pace(
            reconcile=settings.reconcile_interval,
            audit=settings.audit_interval,
            attempt=settings.lease * _ATTEMPT_SHARE,
        )
        self.publisher = Publisher(
            worklist=worklist,
            signals=self.signals,
            powerdns=self.powerdns,
            nameservers=asked,
            names=settings.nameservers,
            pace=pace,
            metrics=self.metrics,
            tracing=self.tracing,
        )
        self.pools = PoolZones(
            domains=settings.pool_domains,
            nameservers=settings.nameservers,
            asked=asked,
            store=self.store,
            worklist=worklist,
            powerdns=self.powerdns,
            signals=self.signals,
            interval=settings.audit_interval,
            keep_strays=settings.keep_strays,
            metrics=self.metrics,
        )
        self._ways_out: list[Http] = []
        adapters = registrars(
            self._way_out, settings.registrar_urls, settings.ovh_endpoint, settings.namecheap_client_ip
        )
        self.registrars = Registrars(adapters)
        self.guard = self._guard(adapters, asked)
        self.prober = Prober(
            hints=settings.root_hints,
            port=settings.dns_port,
            addresses=(*_platform(settings), *settings.dns_addresses),
            allow_private=settings.dns_allow_private,
        )
        self.claims = Claims(self._callers)
        self.changes = Changes(self._callers)
        self.watch = Watch(
            watches=Watches(self._callers, settings.clock_ahead),
            claims=self.claims,
            changes=self.changes,
            prober=self.prober,
            nameservers=settings.nameservers,
            signals=self.signals,
            first=settings.delegation_interval,
            ds_registrars=self.registrars.that_set_ds,
            metrics=self.metrics,
        )
        self.rdap = Rdap(settings.rdap_url)
        surveyor = Surveyor(
            watch=self.watch,
            prober=self.prober,
            rdap=self.rdap,
            claims=self.claims,
            pool_domains=settings.pool_domains,
            nameservers=settings.nameservers,
            acme_issuers=settings.acme_issuers,
            enabled=bool(settings.root_hints),
        )
        self.allocator = Allocator(
            self.store,
            self.signals,
            settings.pool_domains,
            settings.reservation_ttl,
            self._policy,
            settings.confusables,
            None if self.guard is None else self.guard.committed,
            self.metrics.refusal,
        )
        self.declared = Declared(self.allocator, Declarations(self._callers, self.store), self.store)
        self.byo = Byo(
            allocator=self.allocator,
            store=self.store,
            claims=self.claims,
            watch=self.watch,
            surveyor=surveyor,
            flips=Flips(
                store=self.store,
                claims=self.claims,
                changes=self.changes,
                watch=self.watch,
                surveyor=surveyor,
                registrars=self.registrars,
                powerdns=self.powerdns,
                prober=self.prober,
                signals=self.signals,
                nameservers=settings.nameservers,
            ),
            registrars=self.registrars,
            pool_domains=settings.pool_domains,
        )

    def _powerdns_called(self, operation: str, outcome: str, seconds: float) -> None:
        self.metrics.powerdns_call(operation, outcome, seconds)
        self.tracing.past(f"powerdns {operation}", outcome, seconds)

    def _registrar_called(self, registrar: str, operation: str, outcome: str, seconds: float) -> None:
        self.metrics.registrar_call(registrar, operation, outcome, seconds)
        self.tracing.past(f"{registrar} {operation}", outcome, seconds)

    def _named_by_file(self) -> Callable[[], Policy]:
        if (path := self._settings.policy_file) is None:
            return functools.cache(Policy)
        return Reread(path, policy.read, lambda valid: self.metrics.file("policy", valid=valid))

    def _door(self) -> tuple[TokenReview | None, Gate]:
        settings = self._settings
        clients = review = None
        if settings.auth_tokens_file is not None:
            clients = Reread(
                settings.auth_tokens_file, callers.read, lambda valid: self.metrics.file("callers", valid=valid)
            )
        if settings.kubernetes_url is not None:
            review = TokenReview(settings.kubernetes_url, settings.kubernetes_token_file, settings.kubernetes_ca_file)
        if settings.anonymous:
            logs.announce("anonymous", {"open": "the compatibility routes for pools, to callers without a credential"})
        gate = Gate(clients, review, anonymous=settings.anonymous, observe=self.metrics.auth_failure)
        return review, gate

    def _way_out(self, registrar: str) -> Http:
        # Namecheap knows its callers by a list of IPv4 addresses.
        self._ways_out.append(Http(registrar, self._registrar_called, ipv4_only=registrar == "namecheap"))
        return self._ways_out[-1]

    def _guard(self, adapters: dict[str, Registrar], asked: Nameservers) -> Guard | None:
        settings = self._settings
        if settings.pool_registrar is None or settings.pool_registrar_token is None:
            return None
        return Guard(
            registrar=adapters[settings.pool_registrar],
            credential=settings.pool_registrar_token,
            domains=settings.pool_domains,
            nameservers=settings.nameservers,
            asked=asked,
            powerdns=self.powerdns,
            registrations=Registrations(self._callers),
            ready=lambda domain: self.pools.status[domain].ready,
            pace=GuardPace(tick=settings.reconcile_interval, ds_delay=settings.pool_ds_delay),
            metrics=self.metrics,
        )

    def app(self) -> Edge:
        """Return the HTTP application; its lifespan runs the background work."""
        return Edge(self._routes(), self.metrics, self.tracing)

    def _handlers(self) -> list[HTTPRouteHandler]:
        settings = self._settings
        tell = teller(settings.nameservers)
        checks = Checks(self.metrics.refusal)
        return [
            *v1.handlers(self.allocator, self.byo, tell, checks),
            *allocations.handlers(self.allocator, self.byo, self.declared, tell),
            *looking.handlers(self.allocator, self.trail, tell),
            *looking.platform(settings.nameservers, self.pools.status, self.guard, self._policy),
            *byo_routes.handlers(self.byo, self.watch, self.store, self.changes, tell),
            *compat.handlers(self.allocator, tell, checks, self._policy),
            *registrar_routes.handlers(self.registrars, self.byo),
            *registrar_routes.compat_handlers(self.registrars),
            *operations.handlers(
                self.database_ready,
                lambda: self.publisher.away,
                settings.pool_domains,
                self.registrars.supported,
                self.metrics,
            ),
        ]

    def _routes(self) -> Litestar:
        return Litestar(
            route_handlers=declared(self._handlers()),
            guards=guards(self.gate),
            plugins=[problems.plugin],
            lifespan=[self._lifespan],
            openapi_config=OpenAPIConfig(
                title="pool-domain-manager", version=__version__, render_plugins=[JsonRenderPlugin()]
            ),
            request_max_body_size=MAX_BODY_BYTES,
            logging_config=None,
        )

    async def database_ready(self) -> bool:
        """Tell whether the database answers and has this release's schema, or a later one."""
        try:
            found = await self.store.revision()
        except StoreUnavailable:
            return False
        return found is not None and (self._revision is None or found >= self._revision)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        await self._callers.open()
        await self._publishing.open()
        publishing = asyncio.create_task(self.publisher.run())
        works = [
            self.signals.listen(self._settings.database_url),
            self.pools.run(),
            self._housekeeping(),
            self._measuring(),
        ]
        if self._settings.root_hints:
            works.append(self.watch.run())
        else:
            logs.announce("no root hints", {"unwatched": "delegations of customers' domains"})
        if self.guard is None:
            logs.announce(
                "no pool registrar", {"poolDomains": self._settings.pool_domains, "unguarded": "nameservers, DS"}
            )
        else:
            works.append(self.guard.run())
        background = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            # Requests have been answered by now; what still runs can also go on elsewhere.
            await self.publisher.stop(_STOP_SECONDS)
            for task in (publishing, *background):
                task.cancel()
            await asyncio.gather(publishing, *background, return_exceptions=True)
            await self.powerdns.close()
            await self.rdap.close()
            if self._review is not None:
                await self._review.close()
            for way_out in self._ways_out:
                await way_out.close()
            await self._publishing.close()
            await self._callers.close()
            await asyncio.to_thread(self.tracing.close)

    async def _measuring(self) -> None:
        """Set, every now and then, what is measured rather than counted."""
        pause = min(15.0, self._settings.reconcile_interval.total_seconds())
        while True:
            try:
                await self._measure()
            except Exception:  # noqa: BLE001 - a defect must not end the work for ever
                _log.exception("measuring failed by a defect")
            await asyncio.sleep(pause)

    async def _measure(self) -> None:
        try:
            await self.powerdns.alive()
            powerdns = True
        except PowerDnsError:
            powerdns = False
        database = await self.database_ready()
        self.metrics.up(database=database, powerdns=powerdns)
        for name, pool in (("callers", self._callers), ("publisher", self._publishing)):
            self.metrics.connections(name, *pool.connections())
        for domain, status in self.pools.status.items():
            self.metrics.pool(domain, ready=status.ready and status.last_error is None)
        for domain, registration in (self.guard.status if self.guard else {}).items():
            self.metrics.registration(domain, ok=registration.state != "failed")
        with suppress(StoreUnavailable):
            self.metrics.allocations(await self.store.census())

    async def _housekeeping(self) -> None:
        while True:
            try:
                self.metrics.expired(await self.store.expire(_EXPIRED_KEPT) + await self.claims.expire())
                await self.store.end_quarantine()
                await self.trail.forget(self._settings.events_kept)
            except StoreUnavailable:
                pass
            except Exception:  # noqa: BLE001 - a defect must not end the work for ever
                _log.exception("removing expired reservations failed by a defect")
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)


def _platform(settings: Settings) -> tuple[Nameserver, ...]:
    """Return the configured addresses of the platform's nameservers, by name; one without a name is all of theirs."""
    return tuple(
        Nameserver(name, server.address, server.port)
        for server in settings.nameserver_addresses
        for name in ((server.name,) if server.name else settings.nameservers)
    )
