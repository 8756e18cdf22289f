"""The HTTP application: its routes, and what runs from its start to its end."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from pdm_service import __version__, chores
from pdm_service.api import allocations, check, compat, domains, health, lists, platform, problems, registrars, verbs
from pdm_service.api.access import Checks, declared, guards
from pdm_service.api.edge import MAX_BODY_BYTES, Edge
from pdm_service.api.replies import teller
from pdm_service.errors import StoreUnavailable
from pdm_service.parts import Parts, build
from pdm_service.settings import Settings
from pdm_service.store import migrate

_STOP_SECONDS = 5.0


class Service:
    """One running service."""

    def __init__(self, settings: Settings, revision: str | None) -> None:
        """`revision` is the schema's that this release needs to be ready."""
        self._revision = revision
        self._parts = parts = build(settings)
        answers = check.Answers(parts.allocator.pool_names, Checks(parts.telemetry.metrics.refusal))
        shortcut = check.Shortcut(parts.callers.gate, answers)
        self._edge = Edge(self._routes(answers), shortcut, parts.telemetry.metrics, parts.telemetry.tracing)

    @property
    def contexts(self) -> Callable[[], ssl.SSLContext] | None:
        """What connections are secured with, each new one with what is returned then; None: they are not."""
        return self._parts.callers.contexts

    def app(self) -> Edge:
        """Return the HTTP application; its lifespan runs the background work."""
        return self._edge

    @property
    def at_once(self) -> Callable[[Any, bytes], tuple[bytes, bytes] | None] | None:
        """What answers some requests before the application (`Edge.at_once`)."""
        return self._edge.at_once

    def _handlers(self, answers: check.Answers) -> list[HTTPRouteHandler]:
        parts = self._parts
        settings, allocator, metrics = parts.settings, parts.allocator, parts.telemetry.metrics
        tell = teller(settings.nameservers)
        reach = parts.publishing.publisher.reach
        rates = parts.callers.rates
        return [
            *check.handlers(answers),
            *verbs.handlers(allocator, tell, rates),
            *allocations.handlers(allocator, tell),
            *lists.handlers(allocator, tell),
            *domains.handlers(allocator, tell, rates),
            *platform.handlers(settings.nameservers, parts.pools.zones.status, parts.pools.guard, parts.callers.policy),
            *compat.handlers(allocator, tell, answers, parts.callers.policy),
            *registrars.handlers(parts.outside.registrars, allocator.customer_domains, rates),
            *registrars.compat_handlers(parts.outside.registrars, parts.byo.bare_changes),
            *health.handlers(
                self.database_problem,
                parts.store.writable.problem,
                lambda: (reach.condition, reach.problem),
                settings.pool_domains,
                parts.outside.registrars.supported,
                metrics,
            ),
        ]

    def _routes(self, answers: check.Answers) -> Litestar:
        return Litestar(
            route_handlers=declared(self._handlers(answers)),
            guards=guards(self._parts.callers.gate),
            plugins=[problems.plugin],
            lifespan=[self._lifespan],
            openapi_config=OpenAPIConfig(
                title="pool-domain-manager", version=__version__, render_plugins=[JsonRenderPlugin()]
            ),
            request_max_body_size=MAX_BODY_BYTES,
            logging_config=None,
        )

    async def database_problem(self) -> str:
        """Return why the database is of no use, "" if it answers and has this release's schema, or a later one."""
        try:
            found = await migrate.revision(self._parts.store.callers)
        except StoreUnavailable as error:
            return error.detail
        if found is None or (self._revision is not None and found < self._revision):
            return "the database's schema is older than this release; `pdm migrate` brings it up to date"
        return ""

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        parts = self._parts
        await parts.store.callers.open()
        await parts.store.publishing.open()
        background = [asyncio.create_task(chore) for chore in chores.all_of(parts, self.database_problem)]
        try:
            yield
        finally:
            # Requests have been answered by now; what still runs can also go on elsewhere.
            await parts.publishing.publisher.stop(_STOP_SECONDS)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await _close(parts)


async def _close(parts: Parts) -> None:
    await parts.delegations.watch.close()
    await parts.outside.powerdns.close()
    await parts.byo.surveyor.close()
    await parts.byo.rdap.close()
    if parts.callers.review is not None:
        await parts.callers.review.close()
    for way_out in parts.outside.ways_out:
        await way_out.close()
    await parts.store.publishing.close()
    await parts.store.callers.close()
    await asyncio.to_thread(parts.telemetry.tracing.close)
