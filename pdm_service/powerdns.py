"""Typed client of the PowerDNS Authoritative HTTP API.

Calls in flight are limited, since the server's listen backlog is 10. Every call has a deadline,
since a server whose database hangs never answers. Nothing is retried here: the publisher reads
what is there and tries again. Whatever answers is PowerDNS only where it speaks as PowerDNS does: what something in
front of it says of a zone is not known, above all not that there is none.
https://doc.powerdns.com/authoritative/http-api/zone.html
"""

import asyncio
import functools
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec

from pdm_service import tls
from pdm_service.model.records import RRset
from pdm_service.model.zone import Observed

CALL_SECONDS = 5.0
RECTIFY_SECONDS = 120.0
_SHA256 = "2"  # the digest type to publish (RFC 8624 section 3.3)


class PowerDnsError(Exception):
    """A call that did not have its wanted effect, in words without secrets."""


class Unavailable(PowerDnsError):
    """The server cannot be reached, refuses the key, or does not answer as PowerDNS does."""

    def __init__(self, text: str, *, unclear: bool = False) -> None:
        """`unclear` says that it was asked for a change, which may have been made, or be made yet."""
        super().__init__(text)
        self.unclear = unclear


class Untrusted(Unavailable):
    """The server has no certificate that can be accepted, or does not speak TLS: nothing was sent to it."""


class Failed(PowerDnsError):
    """The server answered that it failed; the call may have had its effect."""


class Rejected(PowerDnsError):
    """The server refuses the content: repeating the call changes nothing."""


class ZoneExists(PowerDnsError):
    """A zone of that name is there already, whole or half-made."""


class _Record(msgspec.Struct):
    content: str
    disabled: bool = False


class _RRset(msgspec.Struct):
    name: str
    type: str
    ttl: int
    records: list[_Record]


class ZoneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A zone with the settings that matter to us."""

    name: str
    account: str = ""
    dnssec: bool = False
    api_rectify: bool = False
    nsec3param: str = ""
    nsec3narrow: bool = False
    soa_edit_api: str = ""
    serial: int = 0
    rrsets: list[_RRset]

    def sets(self) -> tuple[RRset, ...]:
        """Return the RRsets that are served; disabled records are not."""
        return tuple(
            RRset(name=rrset.name, type=rrset.type, ttl=rrset.ttl, contents=contents)
            for rrset in self.rrsets
            if (contents := tuple(record.content for record in rrset.records if not record.disabled))
        )


class _Key(msgspec.Struct):
    active: bool
    published: bool = True
    ds: list[str] = []
    dnskey: str = ""


class _Metadata(msgspec.Struct):
    kind: str
    metadata: list[str]


class _Server(msgspec.Struct):
    version: str


class _Config(msgspec.Struct):
    name: str
    value: str


class Listed(msgspec.Struct):
    """A zone in the list of all."""

    name: str
    serial: int
    account: str = ""


class _Error(msgspec.Struct):
    error: str


_T = TypeVar("_T")
# A connection that is closed is reset: of a call that was given up, what the server has not read yet it never will.
_RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
_DONE = {"POST": 201, "PATCH": 204, "DELETE": 204}
"""What PowerDNS answers to a change that is made."""
_LIST_TIMEOUT = httpx.Timeout(CALL_SECONDS, read=60.0)
"""For the list of all zones: the server thinks for seconds before it sends the first byte."""
_RRSETS = re.compile(r'(?<!\\)"rrsets": *\[')
_BETWEEN = re.compile(r"[\s\[,]*")
_LONGEST = 1_000_000
"""Of one object in a list, in characters."""
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol)


class PowerDns:
    """The API of one PowerDNS server, or of several behind one address that share a database."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        server_id: str,
        concurrency: int,
        observe: Callable[[str, str, float], None],
        trusted: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """`observe` gets every call: operation, outcome, seconds; `trusted` gives the CAs of a server with https."""

        def keyed(request: httpx.Request) -> httpx.Request:
            request.headers["X-API-Key"] = api_key
            return request

        def client(context: ssl.SSLContext | None) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                base_url=f"{base_url}/api/v1/servers",
                auth=keyed,  # a client shows its headers
                headers={"Accept": "application/json"},  # else it says in plain words what went wrong
                timeout=None,  # noqa: S113 - each call has a deadline of its own
                trust_env=False,
                transport=httpx.AsyncHTTPTransport(
                    # The server closes after each answer: a kept connection would only be found dead.
                    limits=httpx.Limits(max_keepalive_connections=0),
                    verify=context or True,
                    trust_env=False,
                    socket_options=[_RESET],
                ),
            )

        self._trusted: Callable[[], ssl.SSLContext | None] = trusted or (lambda: None)
        self._client = functools.lru_cache(maxsize=1)(client)
        self._server = f"/{quote(server_id, safe='')}"
        self._slots = asyncio.Semaphore(concurrency)
        self._observe = observe
        self.host = httpx.URL(base_url).host

    async def close(self) -> None:
        """Close all connections."""
        await self._client(self._trusted()).aclose()

    async def alive(self) -> None:
        """Return if the server answers; raises PowerDnsError. Asks nothing of its database."""
        await self.version()

    async def version(self) -> str:
        """Return the server's version."""
        return (await self._read(_Server, "server", "")).version

    async def config(self) -> dict[str, str]:
        """Return the server's settings."""
        return {entry.name: entry.value for entry in await self._read(list[_Config], "config", "/config")}

    async def listeners(self) -> list[tuple[str, int]]:
        """Return the addresses and ports where the server answers DNS, as it is configured."""
        config = await self.config()
        port = int(config.get("local-port", "53"))
        return [(host, port) for host in config.get("local-address", "").replace(",", " ").split()]

    async def create_zone(self, name: str, settings: Mapping[str, object], rrsets: Sequence[RRset]) -> None:
        """Create a zone, signed, with its settings and records, in one call; raises ZoneExists.

        Not atomic against a crash of the server: a zone that exists may be half-made.
        """
        body = {
            "name": name,
            "kind": "Native",
            "dnssec": True,
            "nameservers": [],
            "rrsets": [_words(rrset) for rrset in rrsets],
            **settings,
        }
        await self._call("create-zone", "POST", "/zones?rrsets=false", body)

    async def zone(self, name: str, *, rrset: str | None = None) -> ZoneSettings | None:
        """Return a zone with its RRsets (all, or those of the one name `rrset`), None if there is none."""
        query = f"?rrset_name={quote(rrset)}" if rrset else ""
        return await self._find(ZoneSettings, "get-zone", f"/zones/{_id(name)}{query}")

    async def zones(self) -> AsyncGenerator[Listed, None]:
        """Yield every zone that the server has, in its order; raises PowerDnsError.

        Read as a stream: of 100,000 zones PowerDNS sends 27 MB. Without the DNSSEC flag of each, which takes it most of
        the time.
        """
        async with aclosing(self._stream("list-zones", "/zones?dnssec=false")) as texts:
            async for listed in _objects(texts, Listed, "list-zones"):
                yield listed

    async def rrsets(self, name: str) -> AsyncGenerator[RRset, None]:
        """Yield every RRset of a zone that is served; raises PowerDnsError.

        Those of one name come one after the other. Read as a stream: 100,000 delegations are 44 MB.
        """
        async with aclosing(self._stream("get-zone-whole", f"/zones/{_id(name)}")) as texts:
            async for found in _objects(texts, _RRset, "get-zone-whole", behind=_RRSETS):
                if contents := tuple(record.content for record in found.records if not record.disabled):
                    yield RRset(name=found.name, type=found.type, ttl=found.ttl, contents=contents)

    async def _stream(self, operation: str, path: str) -> AsyncGenerator[str, None]:
        """Yield the text of a long answer as it comes; raises Unavailable."""
        client = self._client(self._trusted())
        async with self._slots:
            start, outcome = perf_counter(), "unavailable"
            try:
                async with client.stream("GET", self._server + path, timeout=_LIST_TIMEOUT) as reply:
                    outcome = "ok" if reply.is_success else str(reply.status_code)
                    if not reply.is_success:
                        raise Unavailable(f"PowerDNS does not tell ({operation}: {reply.status_code})")
                    async for text in reply.aiter_text():
                        yield text
            except httpx.HTTPError as error:
                raise Unavailable(f"PowerDNS does not answer ({operation}: {type(error).__name__})") from error
            finally:
                self._observe(operation, outcome, perf_counter() - start)

    async def ds(self, name: str) -> tuple[str, ...]:
        """Return the DS (SHA-256) of the zone's active keys, in canonical form; empty if it has none.

        Of the keys in the database, which is the truth: the server may go on serving keys whose
        creation failed.
        """
        return tuple(ds for ds, _ in await self.signing_keys(name))

    async def signing_keys(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return the DS (SHA-256, canonical form) and the DNSKEY of each active key of a zone."""
        keys = await self._find(list[_Key], "get-keys", f"/zones/{_id(name)}/cryptokeys") or ()
        found = [(ds.split(), key.dnskey) for key in keys if key.active and key.published for ds in key.ds]
        return tuple((" ".join([*ds[:3], "".join(ds[3:]).lower()]), key) for ds, key in found if ds[2] == _SHA256)

    async def observe(self, name: str) -> Observed | None:
        """Return what there is of a child zone, None if there is none."""
        zone = await self.zone(name)
        if zone is None:
            return None
        return Observed(account=zone.account, rrsets=zone.sets(), ds=await self.ds(name))

    async def patch(self, name: str, rrsets: Sequence[RRset]) -> None:
        """Replace RRsets of a zone, all or none of them; one without contents is deleted.

        Safe to repeat. Raises Rejected if one of them is refused.
        """
        await self._call("patch-zone", "PATCH", f"/zones/{_id(name)}", {"rrsets": [_change(one) for one in rrsets]})

    async def change_settings(self, name: str, settings: Mapping[str, object]) -> None:
        """Change settings of a zone; what is not named stays."""
        await self._call("change-zone", "PUT", f"/zones/{_id(name)}", settings)

    async def metadata(self, name: str) -> dict[str, list[str]]:
        """Return a zone's metadata by kind: the settings that were made, where the zone itself shows defaults."""
        found = await self._read(list[_Metadata], "get-metadata", f"/zones/{_id(name)}/metadata")
        return {entry.kind: entry.metadata for entry in found}

    async def rectify(self, name: str) -> None:
        """Bring the order of the zone's names, which the server keeps for denials, up to date.

        Takes a minute for a zone of 100,000 delegations.
        """
        await self._call("rectify-zone", "PUT", f"/zones/{_id(name)}/rectify", seconds=RECTIFY_SECONDS)

    async def delete_zone(self, name: str) -> None:
        """Delete a zone with its keys; one that is gone already is no error."""
        await self._call("delete-zone", "DELETE", f"/zones/{_id(name)}", missing_ok=True)

    async def flush(self, name: str) -> None:
        """Drop what the server's caches hold of a name."""
        await self._call("flush", "PUT", f"/cache/flush?domain={quote(name)}")

    async def _read(self, kind: type[_T], operation: str, path: str) -> _T:
        """Return what is there; raises PowerDnsError."""
        return _decoded(kind, operation, await self._call(operation, "GET", path))

    async def _find(self, kind: type[_T], operation: str, path: str) -> _T | None:
        """Return what is there, None if PowerDNS says that there is nothing; raises PowerDnsError."""
        reply = await self._call(operation, "GET", path, missing_ok=True)
        return None if reply.status_code == 404 else _decoded(kind, operation, reply)

    async def _call(
        self,
        operation: str,
        method: str,
        path: str,
        body: object = None,
        *,
        missing_ok: bool = False,
        seconds: float = CALL_SECONDS,
    ) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        changes = method != "GET"
        async with self._slots:
            start = perf_counter()
            outcome = "unavailable"
            try:
                async with asyncio.timeout(seconds):
                    reply = await self._client(self._trusted()).request(method, self._server + path, content=content)
                outcome = "ok" if reply.is_success else str(reply.status_code)
            except (httpx.HTTPError, TimeoutError) as error:
                if untrusted := tls.failure(error):
                    raise Untrusted(f"PowerDNS cannot be asked ({operation}): {untrusted}") from error
                msg = f"PowerDNS does not answer ({operation}: {type(error).__name__})"
                raise Unavailable(msg, unclear=changes and not isinstance(error, _NOTHING_SENT)) from error
            finally:
                self._observe(operation, outcome, perf_counter() - start)
        if reply.status_code in {401, 403}:
            raise Unavailable(f"PowerDNS refuses the API key ({operation}: {reply.status_code})")
        try:
            if not reply.is_success:
                _refused(operation, reply, missing_ok=missing_ok)
            elif reply.status_code != _DONE.get(method, reply.status_code):
                raise _strange(operation, reply, unclear=changes)
        except msgspec.DecodeError:
            raise _strange(operation, reply, unclear=changes) from None
        return reply


def _refused(operation: str, reply: httpx.Response, *, missing_ok: bool) -> None:
    """Raise what a refusal means; raises DecodeError where it is not PowerDNS's."""
    reason = msgspec.json.decode(reply.content, type=_Error).error[:300]
    if not (missing_ok and reply.status_code == 404):
        kind = {400: Rejected, 409: ZoneExists, 422: Rejected}.get(reply.status_code, Failed)
        raise kind(f"PowerDNS refused {operation}: {reply.status_code} {reason}")


def _decoded(kind: type[_T], operation: str, reply: httpx.Response) -> _T:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except msgspec.DecodeError as error:
        raise _strange(operation, reply) from error


def _strange(operation: str, reply: httpx.Response, *, unclear: bool = False) -> Unavailable:
    """Return the error for an answer that is none of PowerDNS's."""
    kind = reply.headers.get("Content-Type", "").partition(";")[0][:50]
    what = f"{len(reply.content)} bytes of {kind or 'no kind'}" if reply.content else "nothing"
    text = f"what answers is not PowerDNS's API ({operation}: {reply.status_code} with {what})"
    return Unavailable(text, unclear=unclear)


def _id(name: str) -> str:
    return quote(name, safe=".-")


def _words(rrset: RRset) -> dict[str, object]:
    records = [{"content": content, "disabled": False} for content in rrset.contents]
    return {"name": rrset.name, "type": rrset.type, "ttl": rrset.ttl, "records": records}


def _change(rrset: RRset) -> dict[str, object]:
    if not rrset.contents:
        return {"name": rrset.name, "type": rrset.type, "changetype": "DELETE"}
    return {**_words(rrset), "changetype": "REPLACE"}


async def _objects(
    texts: AsyncIterator[str], kind: type[_T], operation: str, *, behind: re.Pattern[str] | None = None
) -> AsyncGenerator[_T, None]:
    """Yield the objects of a list in JSON as it comes in: of the only one, or of that `behind` some text.

    Raises Unavailable where there is no such list, or it does not end.
    """
    decoder, text, ended = json.JSONDecoder(), "", False
    async for more in texts:
        if ended:
            continue  # what follows the list
        text += more
        if behind is not None:
            if (found := behind.search(text)) is None:
                text = text[-_LONGEST:]
                continue
            text, behind = text[found.end() :], None
        place = 0
        while match := _BETWEEN.match(text, place):
            try:
                value, place = decoder.raw_decode(text, match.end())
                yield msgspec.convert(value, kind)
            except json.JSONDecodeError:
                ended = text.startswith("]", match.end())
                break
            except msgspec.ValidationError:
                raise _no_list(operation) from None
        text = text[place:]
        if len(text) > _LONGEST:
            break
    if not ended:
        raise _no_list(operation)


def _no_list(operation: str) -> Unavailable:
    return Unavailable(f"what answers is not PowerDNS's API ({operation})")
