"""Which scope each route needs, which query parameters it has, and the guards that hold every request to both."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.types import Guard

from pdm_service.callers import ANONYMOUS, EVERYBODY, NOBODY, Client, Scope, expired
from pdm_service.callers.buckets import Buckets, sender
from pdm_service.callers.gate import KNOWN, SHOWN, Gate, calling
from pdm_service.errors import InvalidQuery
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

    async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        await admit(gate, connection.scope, handler.opt)

    return [] if gate.open else [check]


def admitted(gate: Gate, scope: Any, route: Mapping[str, Any], credential: bytes | None) -> Client | None:
    """Return who makes a request, where that is known and they may; None where `admit` has to find out, or refuse."""
    if gate.open:
        return EVERYBODY
    extensions: dict[str, dict[Any, Any]] = scope.get("extensions") or {}
    if SHOWN in extensions:
        return None
    known = extensions.get(KNOWN, {})
    # Most connections bring one credential again and again.
    if (seen := known.get("seen")) is None or seen.credential != credential or not gate.holds(seen):
        if (seen := gate.known(credential, compat=route.get(_COMPAT, False))) is None:
            return None
        known["seen"] = seen if seen.lasts else None
    if not seen.client.may(route[_KEY]) or expired(seen.client):
        return None
    if not seen.kept:
        _keep(extensions, seen.client)
        seen.kept = True
    return seen.client


async def admit(gate: Gate, scope: Any, route: Mapping[str, Any]) -> None:
    """Find out who makes a request of a route that has these options, and note it; raises as the gate does."""
    needed = route.get(_KEY, frozenset())
    if gate.open or not needed:
        return
    extensions: dict[str, dict[Any, Any]] = scope.get("extensions") or {}
    found = await gate.admit(
        next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), None),
        scope["client"][0] if scope["client"] else "",
        needed,
        compat=route.get(_COMPAT, False),
        certificate=extensions.get(SHOWN, {}).get("certificate"),
    )
    calling.set(found)
    logs.client.set(found.id)
    _keep(extensions, found)


def _keep(extensions: Mapping[str, Mapping[Any, Any]], client: Client | None) -> None:
    """Have the connection of a client that is known kept longer than those of strangers."""
    keep = extensions.get(KNOWN, {}).get("keep")
    if client is not None and client is not NOBODY and callable(keep):
        keep()


def declared(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return the handlers; raises TypeError, at the start, for one that does not say what it needs.

    Those of /v1 refuse query parameters that they do not have, as they refuse unknown fields of a body.
    """
    found = list(handlers)
    if silent := [handler for handler in found if _KEY not in handler.opt]:
        raise TypeError(f"these routes do not say which scope they need: {silent}")
    for handler in found:
        # A check reads its query itself.
        if any(path.startswith("/v1/") for path in handler.paths) and "/v1/check" not in handler.paths:
            handler.guards = (*(handler.guards or ()), _only(_parameters(handler)))
    return found


def refuse_unknown(query: bytes, known: frozenset[str]) -> None:
    """Raise InvalidQuery for a query with a parameter that is not among the known ones."""
    given = {name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    if unknown := sorted(given - known):
        there = f"the parameters are {', '.join(sorted(known))}" if known else "this route takes none"
        raise InvalidQuery(f"{unknown[0][:60]!a} is not a query parameter; {there}")


def _only(known: frozenset[str]) -> Guard:
    async def refuse(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if query := connection.scope["query_string"]:
            refuse_unknown(query, known)

    return refuse


def _parameters(handler: HTTPRouteHandler) -> frozenset[str]:
    """Return the names of a handler's query parameters."""
    hints = get_type_hints(handler.fn, include_extras=True)
    return frozenset(
        meta.name or parameter
        for parameter, hint in hints.items()
        for meta in getattr(hint, "__metadata__", ())
        if isinstance(meta, QueryParameter)
    )


class Checks:
    """How many names a client may check in a minute: a guess at who is here costs as much as a typo."""

    def __init__(self, on_refusal: Callable[[str], None]) -> None:
        self._buckets = Buckets()
        self._on_refusal = on_refusal

    def allowed(self, client: Client, address: str) -> bool:
        """Count a check; return whether there was one left. In this replica alone."""
        limit = client.checks_per_minute
        if limit == 0 or self._buckets.take(sender(address) if client.id == ANONYMOUS else client.id, limit, limit):
            return True
        self._on_refusal("rate-limited")
        return False
