"""The way out to a registrar: deadlines, limits, retries, silence about secrets, failures sorted.

An adapter describes a request and how to understand its reply. `Http.read` sends it again while that is
safe and there is time; `Http.write` sends it once. Provider by provider there is one `Http`, with its own
connections, so that a slow provider holds up nobody but its own customers.
"""

import asyncio
import functools
import http.cookiejar
import logging
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter
from typing import TypeVar
from urllib.parse import urlencode

import httpx
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_random_exponential,
)

from adapters.base import InvalidCredential, OutcomeUnclear, RateLimited, RegistrarError, Unavailable

T = TypeVar("T")

MAX_REPLY_BYTES = 1024 * 1024
_CALLS = 16
"""Under way at one registrar, unless whoever makes the `Http` has another way to share them."""
_KEPT = 8
"""Connections that are kept open between calls."""
_CONNECT_SECONDS = 3.0
_ATTEMPTS = 4
_SHORTEST_ATTEMPT = 0.3
"""An attempt with less time than this is not worth making, in seconds."""
_READ_BACK_SHARE = 0.35
"""Of the time that is left: kept from a write for the reading back."""
_DEFAULT_DELAY, _LONGEST_DELAY = 60, 24 * 3600
_LIBRARIES = (
    "httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks",
)  # fmt: skip

Turn = Callable[[], AbstractAsyncContextManager[None]]
Observe = Callable[[str, str, str, float], None]
"""Gets every request: registrar, operation, outcome, seconds."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request. Its repr shows no secret."""

    operation: str
    """A short word for metrics."""
    method: str
    url: str
    """Without anything secret: this is what libraries print."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)
    secret_query: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the request's target, but not to its URL."""


@dataclass(frozen=True)
class Reply:
    """One HTTP reply, its body whole and undecoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Return whether the status is one of success."""
        return 200 <= self.status < 300

    def json(self, shape: type[T]) -> T:
        """Return the body as `shape`; raises Unavailable, since a success that says nothing is none."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unavailable("the registrar gave an answer that cannot be understood") from None

    def retry_after(self) -> int | None:
        """Return the delay of Retry-After, a number of seconds or a date (RFC 9110 section 10.2.3)."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdecimal():
            return min(int(text[:9]), _LONGEST_DELAY)
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max(0, round((until - datetime.now(UTC)).total_seconds())), _LONGEST_DELAY)


Interpret = Callable[[Reply], T]
"""Returns what a reply means, or raises RegistrarError."""


def deadline(within: float) -> float:
    """Return the moment, on the event loop's clock, `within` seconds from now."""
    return asyncio.get_running_loop().time() + within


def rate_limited(reply: Reply, delay: int | None = None, code: str = "") -> RateLimited:
    """Return the failure for too many requests, with the delay of the header, else `delay`, else a minute."""
    asked = reply.retry_after()
    wait = asked if asked is not None else delay if delay is not None else _DEFAULT_DELAY
    return RateLimited(f"the registrar takes no more requests for now; try again in {wait} s", wait, code)


def unexpected(reply: Reply) -> RegistrarError:
    """Return the failure for a reply that is not in the provider's own words, by its status alone."""
    if reply.status == 429:
        return rate_limited(reply)
    if reply.status in {401, 403}:
        return InvalidCredential("the registrar refuses the credential", str(reply.status))
    failure = Unavailable(f"the registrar's API is failing: it answers with status {reply.status}")
    failure.retry_after_seconds = reply.retry_after() or failure.retry_after_seconds
    return failure


class Http:
    """Connections to one registrar."""

    def __init__(
        self, registrar: str, observe: Observe | None = None, *, ipv4_only: bool = False, turn: Turn | None = None
    ) -> None:
        """Open nothing yet. `ipv4_only` is for registrars that know their callers by IPv4 address.

        `turn` gives the context that a call is made in, once it may be made.
        """
        self.registrar = registrar
        self._observe = observe
        self._ipv4_only = ipv4_only
        calls = asyncio.Semaphore(_CALLS)
        self._turn: Turn = turn or (lambda: calls)
        self._client: httpx.AsyncClient | None = None
        _silence()

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def read(self, request: Request, interpret: Interpret[T], until: float) -> T:
        """Return what the reply means; asks again while the registrar fails and there is time."""
        return await self._retrying(_may_be_read_again, until)(self._once, request, interpret, until)

    async def write(self, request: Request, interpret: Interpret[T], until: float) -> T:
        """Send a change once, and return what the reply means; raises OutcomeUnclear where that is not known.

        Some of the time is left, for reading back.
        """
        now = deadline(0)
        until = now + (until - now) * (1 - _READ_BACK_SHARE)
        try:
            return await self._retrying(_was_surely_not_done, until)(self._once, request, interpret, until)
        except Unavailable as failure:
            if not failure.sent:
                raise
            raise OutcomeUnclear("the registrar's reply was lost; the change may or may not have been made") from None

    def _retrying(self, again: Callable[[BaseException], bool], until: float) -> AsyncRetrying:
        def enough(state: RetryCallState) -> bool:
            late = deadline(state.upcoming_sleep) + _SHORTEST_ATTEMPT > until
            return late or state.attempt_number >= _ATTEMPTS

        return AsyncRetrying(retry=retry_if_exception(again), wait=_pause, stop=enough, reraise=True)

    async def _once(self, request: Request, interpret: Interpret[T], until: float) -> T:
        start, outcome = perf_counter(), "cancelled"
        try:
            answer = interpret(await self._send(request, until))
        except RegistrarError as failure:
            outcome = type(failure).__name__
            raise
        else:
            outcome = "ok"
            return answer
        finally:
            if self._observe is not None:
                self._observe(self.registrar, request.operation, outcome, perf_counter() - start)

    async def _send(self, request: Request, until: float) -> Reply:
        left = until - deadline(0)
        if left < _SHORTEST_ATTEMPT:
            raise Unavailable("the registrar did not answer in time", sent=False)
        if self._client is None:
            self._client = _client(ipv4_only=self._ipv4_only)
        # Each wait is shorter than the whole, so that what was not sent is known for it.
        waits = httpx.Timeout(left, connect=min(_CONNECT_SECONDS, left * 0.9))
        quiet = _quiet.set(True)
        try:
            async with AsyncExitStack() as turn, asyncio.timeout_at(until):
                await self._await_turn(turn, left * 0.5)
                return await self._exchange(self._client, request, waits)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError):
            raise Unavailable("the registrar cannot be reached", sent=False) from None
        except (TimeoutError, httpx.TimeoutException):
            raise Unavailable("the registrar did not answer in time") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL):
            raise Unavailable("the registrar closed the connection, or its answer is not HTTP") from None
        finally:
            _quiet.reset(quiet)

    async def _await_turn(self, turn: AsyncExitStack, seconds: float) -> None:
        # The pool has no limit of its own: callers that give up while they wait in it would eat it up.
        try:
            async with asyncio.timeout(seconds):
                await turn.enter_async_context(self._turn())
        except TimeoutError:
            raise Unavailable("too many requests to this registrar are under way", sent=False) from None

    async def _exchange(self, client: httpx.AsyncClient, request: Request, waits: httpx.Timeout) -> Reply:
        # A compressed body could unfold to any size.
        headers = {"accept-encoding": "identity", **request.headers}
        built = client.build_request(
            request.method, request.url, headers=headers, content=request.content, timeout=waits
        )
        if request.secret_query:
            target = built.url.raw_path + b"?" + urlencode(request.secret_query).encode()
            built.extensions = {**built.extensions, "target": target}
        response = await client.send(built, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_REPLY_BYTES:
                    raise Unavailable("the registrar's answer is far too long")
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, bytes(body))


# --- what may be sent again -------------------------------------------------------------------------


def _may_be_read_again(failure: BaseException) -> bool:
    return isinstance(failure, Unavailable | RateLimited)


def _was_surely_not_done(failure: BaseException) -> bool:
    return isinstance(failure, RateLimited) or (isinstance(failure, Unavailable) and not failure.sent)


_backoff = wait_random_exponential(multiplier=0.2, max=2.0)


def _pause(state: RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, RateLimited):
        return _backoff(state)
    return failure.again_seconds or failure.retry_after_seconds or 1.0


# --- clients ----------------------------------------------------------------------------------------


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _client(*, ipv4_only: bool) -> httpx.AsyncClient:
    """Return a client that verifies TLS, follows no redirect, keeps no cookie, and heeds the proxy settings."""
    mounts: dict[str, httpx.AsyncBaseTransport] = {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT)
    if ipv4_only and "all" not in urllib.request.getproxies():
        mounts["all://"] = httpx.AsyncHTTPTransport(verify=_tls(), limits=limits, local_address="0.0.0.0")  # noqa: S104
    # A cookie would be sent along with the next customer's credential.
    none = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(verify=_tls(), limits=limits, mounts=mounts, cookies=none, follow_redirects=False)


# --- silence ----------------------------------------------------------------------------------------

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def _unless_quiet(_: logging.LogRecord) -> bool:
    return not _quiet.get()


def _silence() -> None:
    """Have the libraries log nothing of our requests: URLs and headers hold secrets."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        if _unless_quiet not in logger.filters:
            logger.addFilter(_unless_quiet)
