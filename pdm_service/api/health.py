"""Health, readiness, metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from pdm_service.api.access import METRICS, PUBLIC
from pdm_service.api.problems import CALLED, documented
from pdm_service.telemetry.metrics import Metrics
from pdm_service.wire import Health, Readiness


def handlers(
    database_problem: Callable[[], Awaitable[str]],
    write_problem: Callable[[], Awaitable[str]],
    powerdns: Callable[[], tuple[Literal["ok", "unreachable", "failing"], str]],
    pool_domains: tuple[str, ...],
    registrars: tuple[str, ...],
    metrics: Metrics,
) -> list[HTTPRouteHandler]:
    """Return the routes for operators and their tools."""

    @get("/healthz", opt=PUBLIC)
    async def healthz() -> Response[Health]:
        healthy = not await database_problem()
        health = Health(
            status="ok" if healthy else "unhealthy",
            managed_domains=sorted(pool_domains),
            registrars=sorted(registrars),
        )
        return Response(health, status_code=200 if healthy else 503, headers=_retry(ok=healthy))

    # A restart would not bring the database back, so this route does not ask it.
    @get("/livez", opt=PUBLIC)
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz", opt=PUBLIC)
    async def readyz() -> Response[Readiness]:
        unusable, unwritable = await asyncio.gather(database_problem(), write_problem())
        ready = not (unusable or unwritable)
        # PowerDNS being away is no reason to send callers elsewhere: what they ask for is stored.
        condition, unreached = powerdns()
        readiness = Readiness(
            ready=ready,
            database="unreachable" if unusable else "no-writes" if unwritable else "ok",
            powerdns=condition,
            problem=unusable or unwritable or unreached or None,
        )
        return Response(readiness, status_code=200 if ready else 503, headers=_retry(ok=ready))

    @get("/metrics", media_type=MediaType.TEXT, responses=documented(*CALLED), opt=METRICS)
    async def prometheus() -> Response[bytes]:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [healthz, livez, readyz, prometheus]


def _retry(*, ok: bool) -> dict[str, str]:
    return {} if ok else {"Retry-After": "2"}
