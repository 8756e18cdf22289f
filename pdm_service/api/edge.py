"""Around every request: its id, its deadline to arrive, one log line, its metrics. Some are answered here at once."""

import asyncio
import re
from random import getrandbits
from time import monotonic
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

from pdm_service import deadline
from pdm_service.api import problems
from pdm_service.api.check import Shortcut
from pdm_service.errors import PayloadTooLarge, PdmError, RequestTimeout, StoreUnavailable, UnsupportedMediaType
from pdm_service.telemetry import logs
from pdm_service.telemetry.metrics import Metrics
from pdm_service.telemetry.tracing import Tracing

BODY_SECONDS = 8.0
"""How long a request's body may take to arrive."""

MAX_BODY_BYTES = 64 * 1024

_CUT_SECONDS = deadline.ANSWER_SECONDS + 0.8
"""What is still under way by then is called off: each step of it should have ended by itself."""
_SWEEP_SECONDS = 0.1
_TOO_SLOW = "this took too long, and may or may not have been done; send the same request again"

_TOO_LARGE = "a body may have 64 KiB at most"
_NOT_JSON = "send the body as JSON, with Content-Type: application/json"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_JSON = re.compile(rb"\s*application/(?:[a-z0-9.+-]*\+)?json\s*(?:;.*)?", re.IGNORECASE)


class Edge:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, shortcut: Shortcut, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._shortcut = shortcut
        self._metrics = metrics
        self._tracing = tracing
        self._log = logs.AccessLog()
        self._overdue = _Overdue()

    def at_once(self, scope: Any, target: bytes) -> tuple[bytes, bytes] | None:
        """Return (id, body) of the answer to a GET for which nobody has to wait; None: it is served as any other.

        `scope` is the request's, of which no more is read than its client, headers and extensions.
        """
        path, _, query = target.partition(b"?")
        if self._tracing.on or not path.endswith(b"/check"):
            return None
        start = monotonic()
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or _has_body(headers) or b"#" in query:
            return None
        try:
            found = self._shortcut(scope, path, query, headers)
        except Exception:  # noqa: BLE001 - a defect is told by the one place for it
            return None
        if found is None:
            return None
        request_id, seconds = _request_id(headers), monotonic() - start
        self._metrics.request("GET", found.route, 200, seconds)
        self._log.request(request_id, "GET", path.decode("latin-1"), 200, seconds, found.client)
        return request_id.encode(), found.body

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._tracing.on:
            with self._tracing.span(scope["method"], dict(scope["headers"])) as span:
                await self._serve(scope, receive, send)
                if span is not None:
                    route = scope.get("path_template") or "none"
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        start = deadline.begin()
        request = self._overdue.add(start)
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        logs.request_id.set(request_id)
        logs.client.set(None)
        status = 0
        body = _Body(receive) if _has_body(headers) else None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # What may still come of an unread body would be taken for the next request.
                last = [(b"connection", b"close")] if body is not None and not body.complete else []
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *last]
            await send(message)

        try:
            if body is not None:
                _refuse_unread(headers)
                receive = body.receive
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            if not self._overdue.called_off(request):
                raise
            if not status:
                await problems.refuse(StoreUnavailable(_TOO_SLOW), answer)
        except PdmError as error:
            if not status:
                await problems.refuse(error, answer)
        finally:
            self._overdue.remove(request)
            # Only routes that exist: a label made of what strangers type would grow without bound.
            route = scope.get("path_template") or "none"
            seconds = monotonic() - start
            method = scope["method"]
            self._metrics.request(method if route != "none" else "none", route, status or 500, seconds)
            self._log.request(request_id, method, scope["path"], status or 500, seconds, logs.client.get())


class _Overdue:
    """Calls off requests that run too long. One timer serves them all: one for each would cost a tenth of a check."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[Any], float] = {}
        """In the order of their ends, since all get the same time."""
        self._called_off: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, now: float) -> asyncio.Task[Any]:
        """Let the running task, which serves one request, run out of time some seconds from now."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs each request in a task
        self._running[task] = now + _CUT_SECONDS
        if self._timer is None:
            loop = task.get_loop()
            self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep, loop)
        return task

    def remove(self, request: asyncio.Task[Any]) -> None:
        """Forget a request that has ended."""
        self._running.pop(request, None)
        self._called_off.discard(request)

    def called_off(self, request: asyncio.Task[Any]) -> bool:
        """Return whether a request was cancelled here, and let it run on, so that its caller gets an answer."""
        if request not in self._called_off:
            return False
        request.uncancel()
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        for request in [one for one, end in self._running.items() if end <= now]:
            del self._running[request]
            self._called_off.add(request)
            request.cancel()
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep, loop) if self._running else None


def _request_id(headers: dict[bytes, bytes]) -> str:
    if (sent := headers.get(b"x-request-id")) and _REQUEST_ID.fullmatch(given := sent.decode("latin-1")):
        return given
    return "%032x" % getrandbits(128)  # noqa: UP031 - twice as fast as a format


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _refuse_unread(headers: dict[bytes, bytes]) -> None:
    """Raise what is wrong with a body by its headers alone."""
    length = headers.get(b"content-length", b"0")
    if len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
        raise PayloadTooLarge(_TOO_LARGE)
    if not _JSON.fullmatch(headers.get(b"content-type", b"")):
        raise UnsupportedMediaType(_NOT_JSON)


class _Body:
    """A request's body, which has to arrive in time; raises RequestTimeout."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._end = asyncio.get_running_loop().time() + BODY_SECONDS
        self.complete = False

    async def receive(self) -> Any:
        """Return the next message; raises RequestTimeout. Once the body is there, waiting has no deadline."""
        if self.complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestTimeout(f"the body did not arrive within {BODY_SECONDS:.0f} s") from error
        if message["type"] == "http.disconnect":
            # No defect, and nobody is left to read an answer: it ends as the request that it is, an unfinished one.
            raise RequestTimeout("the client went away before the body was there")
        self.complete = not message.get("more_body", False)
        return message
