"""Ask a domain's registry for holds, locks and expiry: RDAP (RFC 9082, RFC 9083).

Which server a TLD has stands in IANA's bootstrap file (RFC 9224). What a registry does not say stays unknown:
nothing here raises for what servers do.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import quote, urljoin, urlsplit

import httpx
import msgspec

from pdm_service.model.observation import Registry

BOOTSTRAP = "https://data.iana.org/rdap/dns.json"
_KEPT_SECONDS = 86400.0
_RETRY_SECONDS = 300.0
_MAX_BYTES = 2 * 1024 * 1024
_REDIRECTS = 3
_CALLS = 16
"""Under way at all registries together."""


class _Bootstrap(msgspec.Struct):
    services: list[list[list[str]]]


class _Event(msgspec.Struct):
    action: str = msgspec.field(name="eventAction", default="")
    date: str = msgspec.field(name="eventDate", default="")


class _Domain(msgspec.Struct):
    status: list[str] = []
    events: list[_Event] = []


class Rdap:
    """RDAP servers, as IANA lists them, or one for all."""

    def __init__(self, base: str | None) -> None:
        """Open nothing yet. `base` is a server to ask for every domain, "" to ask none, None for IANA's list."""
        self._base = base
        self._client: httpx.AsyncClient | None = None
        self._slots = asyncio.Semaphore(_CALLS)
        self._servers: dict[str, str] = {}
        self._read_at = -_KEPT_SECONDS

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def lookup(self, domain: str, within: float) -> Registry | None:
        """Return what the registry says of a domain within `within` seconds, None if it does not."""
        if self._base == "":
            return None
        try:
            async with asyncio.timeout(within), self._slots:
                server = self._base or await self._server(domain)
                body = await self._get(f"{server.rstrip('/')}/domain/{quote(domain)}") if server else None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError):
            return None
        try:
            return _registry(msgspec.json.decode(body, type=_Domain)) if body else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    async def _server(self, domain: str) -> str | None:
        if monotonic() - self._read_at > _KEPT_SECONDS:
            body = await self._get(BOOTSTRAP)
            try:
                found = msgspec.json.decode(body or b"", type=_Bootstrap)
                self._servers = {tld.lower(): urls[0] for tlds, urls, *_ in found.services for tld in tlds if urls}
                self._read_at = monotonic()
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
                self._read_at = monotonic() - _KEPT_SECONDS + _RETRY_SECONDS
        return self._servers.get(domain.rpartition(".")[2])

    async def _get(self, url: str) -> bytes | None:
        """Return the body of a reply with status 200; follows a few redirects, never from https to http."""
        if self._client is None:
            # The pool has no limit of its own: callers that give up while they wait in it would eat it up.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=_CALLS)
            accept = {"Accept": "application/rdap+json, application/json"}
            self._client = httpx.AsyncClient(timeout=5, headers=accept, limits=limits)
        for _ in range(_REDIRECTS + 1):
            async with self._client.stream("GET", url) as reply:
                if not reply.is_redirect:
                    return await _body(reply) if reply.status_code == httpx.codes.OK else None
                following = urljoin(url, reply.headers.get("location", ""))
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                return None
            url = following
        return None


async def _body(reply: httpx.Response) -> bytes | None:
    found = bytearray()
    async for chunk in reply.aiter_bytes():
        found += chunk
        if len(found) > _MAX_BYTES:
            return None
    return bytes(found)


def _registry(domain: _Domain) -> Registry:
    return Registry(
        statuses=tuple(status.lower() for status in domain.status),
        expires_at=_latest(domain.events, "expiration"),
        registered_at=_latest(domain.events, "registration", "reregistration"),
    )


def _latest(events: list[_Event], *actions: str) -> datetime | None:
    """Return the last moment of events of these kinds (RFC 9083 section 10.2.3); what is no time does not count."""
    found = []
    for event in events:
        if event.action.lower() in actions:
            with suppress(ValueError):
                moment = datetime.fromisoformat(event.date)
                found.append(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return max(found, default=None)
