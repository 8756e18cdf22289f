"""Which scope each route needs, and the guard that holds every request to it."""

from collections.abc import Callable, Iterable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from pdm_service.callers import ANONYMOUS, Client, Scope
from pdm_service.callers.buckets import Buckets
from pdm_service.callers.gate import Gate, calling
from pdm_service.telemetry import logs

_KEY, _COMPAT = "scopes", "compat"

PUBLIC: dict[str, Any] = {_KEY: frozenset()}
"""Shows nobody's data: health, readiness, the API's document."""
CHECK: dict[str, Any] = {_KEY: frozenset({Scope.CHECK, Scope.ALLOCATE})}
ALLOCATE: dict[str, Any] = {_KEY: frozenset({Scope.ALLOCATE})}
REGISTRAR: dict[str, Any] = {_KEY: frozenset({Scope.REGISTRAR})}
METRICS: dict[str, Any] = {_KEY: frozenset({Scope.METRICS})}
ADMIN: dict[str, Any] = {_KEY: frozenset({Scope.ADMIN})}
COMPAT_CHECK: dict[str, Any] = {**CHECK, _COMPAT: True}
"""Also without a credential, where `PDM_ANONYMOUS` says so."""
COMPAT_ALLOCATE: dict[str, Any] = {**ALLOCATE, _COMPAT: True}


def guards(gate: Gate) -> list[Guard]:
    """Return the guards of all routes: none where every caller is trusted."""

    async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        needed = handler.opt.get(_KEY, frozenset())
        if not needed:
            return
        address = connection.client.host if connection.client else ""
        compat = handler.opt.get(_COMPAT, False)
        found = await gate.admit(connection.headers.get("authorization"), address, needed, compat=compat)
        calling.set(found)
        logs.client.set(found.id)

    return [] if gate.open else [admit]


def declared(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return the handlers; raises TypeError, at the start, for one that does not say what it needs."""
    found = list(handlers)
    if silent := [handler for handler in found if _KEY not in handler.opt]:
        raise TypeError(f"these routes do not say which scope they need: {silent}")
    return found


class Checks:
    """How many names a client may check in a minute: a guess at who is here costs as much as a typo."""

    def __init__(self, on_refusal: Callable[[str], None]) -> None:
        self._buckets = Buckets()
        self._on_refusal = on_refusal

    def allowed(self, client: Client, address: str) -> bool:
        """Count a check; return whether there was one left. In this replica alone."""
        limit = client.checks_per_minute
        if limit == 0 or self._buckets.take(address if client.id == ANONYMOUS else client.id, limit, limit):
            return True
        self._on_refusal("rate-limited")
        return False
