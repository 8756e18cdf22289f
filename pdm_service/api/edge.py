"""Around every request: its id, its deadline to arrive, one log line, its metrics."""

import asyncio
import logging
import re
from time import perf_counter
from typing import Any
from uuid import uuid4

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from pdm_service import logs
from pdm_service.api import problems
from pdm_service.errors import PdmError, RequestTimeout, UnsupportedMediaType
from pdm_service.metrics import Metrics

BODY_SECONDS = 8.0
"""How long a request's body may take to arrive."""

_log = logging.getLogger("pdm_service.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_JSON = re.compile(rb"\s*application/(?:[a-z0-9.+-]*\+)?json\s*(?:;.*)?", re.IGNORECASE)


class Edge:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        logs.request_id.set(request_id)
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._serve(scope, headers, receive, answer)
        finally:
            self._account(scope, status, perf_counter() - start)

    async def _serve(self, scope: Any, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        if has_body and not _JSON.fullmatch(headers.get(b"content-type", b"application/json")):
            await _refuse(UnsupportedMediaType("send the body as application/json"), send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, _in_time(receive) if has_body else receive, answer)
        except RequestTimeout as error:
            if not started:
                await _refuse(error, send)

    def _account(self, scope: Any, status: int, seconds: float) -> None:
        # Only routes that exist: a label made of what strangers type would grow without bound.
        route = scope.get("path_template") or "none"
        method = scope["method"] if route != "none" else "none"
        self._metrics.request(method, route, status, seconds)
        fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 2)}
        logs.event(_log, logging.INFO, "request", fields)


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _in_time(receive: Receive) -> Receive:
    end = asyncio.get_running_loop().time() + BODY_SECONDS
    complete = False

    async def receive_in_time() -> Any:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError as error:
            msg = f"the body did not arrive within {BODY_SECONDS:.0f} s"
            raise RequestTimeout(msg) from error
        complete = not message.get("more_body", False)
        return message

    return receive_in_time


async def _refuse(error: PdmError, send: Send) -> None:
    headers = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": problems.encoded(error), "more_body": False})
