"""The check: the one route that is asked at every keystroke, answered before the framework where nobody has to wait."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from litestar import MediaType, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Operation, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.openapi.spec.enums import OpenAPIType
from litestar.response.base import ASGIResponse
from litestar.types import Scope
from msgspec import Struct
from msgspec.json import Encoder

from pdm_service import names
from pdm_service.allocator import Verdict
from pdm_service.allocator.pool_names import PoolNames
from pdm_service.api.access import CHECK, COMPAT_CHECK, Checks, admitted, refuse_unknown
from pdm_service.api.problems import documented
from pdm_service.callers import Client
from pdm_service.callers.gate import Gate, calling
from pdm_service.wire import CheckReply

_PATH = "/v1/check"
_PARAMETERS = frozenset({"poolDomain", "subdomain", "tenant"})
_COMPAT_TEMPLATE = "/api/v1/pool/{domain}/check"
_COMPAT_BEGIN, _COMPAT_END, _COMPAT_QUERY = b"/api/v1/pool/", b"/check", b"sub="
_SLOW_DOWN = Verdict(reason="rate-limited", detail="too many names were looked up; wait a little")
_encode = Encoder().encode


class Answers:
    """What a check says, whoever found out who asks."""

    def __init__(self, pool_names: PoolNames, checks: Checks) -> None:
        self._pool_names = pool_names
        self._checks = checks

    async def of_query(self, scope: Scope) -> bytes:
        """Return the body for a request of /v1/check; raises InvalidQuery, StoreUnavailable."""
        query = scope["query_string"]
        asked = _parsed(query)
        if not asked.keys() <= _PARAMETERS:
            refuse_unknown(query, _PARAMETERS)
        return await self.of_name(
            scope,
            asked.get("poolDomain", ""),
            asked.get("subdomain", ""),
            _allocation_key(scope),
            tenant=asked.get("tenant") or None,
        )

    async def of_name(
        self, scope: Scope, pool_domain: str, subdomain: str, key: str | None, *, tenant: str | None = None
    ) -> bytes:
        """Return the body for a name, of which an allocation key may open a brand; raises StoreUnavailable."""
        client = calling.get()
        verdict = _SLOW_DOWN
        if self._checks.allowed(client, _address(scope)):
            actor = client.actor(None)
            verdict = await self._pool_names.check(pool_domain, subdomain, actor, tenant=tenant, key=key)
        return _encode(_reply(verdict))

    def at_once(
        self, scope: Any, client: Client, pool_domain: str, subdomain: str, key: str | None, tenant: str | None
    ) -> bytes | None:
        """Return the body for a name, None where PostgreSQL has to be asked."""
        verdict = self._pool_names.check_at_once(pool_domain, subdomain, client.actor(None), tenant=tenant, key=key)
        if verdict is None:
            return None
        return _encode(_reply(verdict if self._checks.allowed(client, _address(scope)) else _SLOW_DOWN))


class Answer(Struct, frozen=True, gc=False):
    """What is answered with status 200."""

    route: str
    client: str | None
    """Who asked, where callers are told apart."""
    body: bytes


class Shortcut:
    """Answers a check as its route would, or leaves it to the route: what is unusual, wrong, refused, or has to wait.

    It changes and counts nothing before it is sure to answer.
    """

    def __init__(self, gate: Gate, answers: Answers) -> None:
        self._gate = gate
        self._answers = answers

    def __call__(self, scope: Any, path: bytes, query: bytes, headers: dict[bytes, bytes]) -> Answer | None:
        """Return the answer to a GET without a body, each of whose headers stands there once; None: none at once."""
        if path == b"/v1/check":
            route, needed, asked = _PATH, CHECK, _parsed(query)
            if not asked.keys() <= _PARAMETERS:
                return None
            pool_domain, subdomain = asked.get("poolDomain", ""), asked.get("subdomain", "")
            tenant = asked.get("tenant") or None
        elif path.startswith(_COMPAT_BEGIN) and path.endswith(_COMPAT_END) and query.startswith(_COMPAT_QUERY):
            # What the framework would read otherwise it reads itself.
            if b"%" in path or any(odd in query for odd in (b"%", b"+", b"&")):
                return None
            route, needed, tenant = _COMPAT_TEMPLATE, COMPAT_CHECK, None
            pool_domain = path[len(_COMPAT_BEGIN) : -len(_COMPAT_END)].decode("latin-1")
            subdomain = query[len(_COMPAT_QUERY) :].decode("latin-1")
            if "/" in pool_domain or not pool_domain:
                return None
        else:
            return None
        client = admitted(self._gate, scope, needed, headers.get(b"authorization"))
        if client is None:
            return None
        key = headers.get(b"pdm-allocation-key")
        body = self._answers.at_once(
            scope, client, pool_domain, subdomain, None if key is None else key.decode("latin-1"), tenant
        )
        return None if body is None else Answer(route, None if self._gate.open else client.id, body)


def handlers(answers: Answers) -> list[HTTPRouteHandler]:
    """Return the route, for the API's document and for what the shortcut passes on."""

    @get(
        _PATH,
        operation_class=CheckOperation,
        responses={
            200: ResponseSpec(CheckReply, description="OK", generate_examples=False),
            **documented(400, 401, 403, 429, 503),
        },
        opt=CHECK,
    )
    async def check(scope: Scope) -> ASGIResponse:
        return ASGIResponse(body=await answers.of_query(scope), media_type=MediaType.JSON)

    return [check]


@dataclass
class CheckOperation(Operation):
    """What the API's document says of a check, which reads its query itself."""

    def __post_init__(self) -> None:
        """Name the parameters."""
        text = Schema(type=OpenAPIType.STRING)
        self.parameters = [OpenAPIParameter(name=name, param_in="query", schema=text) for name in sorted(_PARAMETERS)]


def _parsed(query: bytes) -> dict[str, str]:
    """Return the parameters of a query; what is encoded, or stands there alone, takes five times as long to read."""
    text = query.decode("latin-1")
    if "%" in text or "+" in text:
        return dict(parse_qsl(text, keep_blank_values=True))
    try:
        return dict([part.split("=", 1) for part in text.split("&")])
    except ValueError:  # not every part is a name and a value
        return dict(parse_qsl(text, keep_blank_values=True))


def _address(scope: Scope) -> str:
    return (scope["client"] or ("",))[0]


def _allocation_key(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"pdm-allocation-key"]
    return found[0].decode("latin-1") if found else None


def _reply(verdict: Verdict) -> CheckReply:
    """Return the reply that says whether a name is free."""
    return CheckReply(
        available=verdict.reason is None,
        reason=verdict.reason,
        detail=verdict.detail,
        fqdn=verdict.fqdn,
        unicode=names.unicode(verdict.fqdn) if verdict.fqdn else None,
        suggestion=verdict.suggestion,
        warning=verdict.warning,
    )
