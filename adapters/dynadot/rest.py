"""Dynadot's newer API, REST v2, in its own words. A beta: its replies are read with patience.

https://www.dynadot.com/domain/api-document

1. Every request is signed here, over its path and the exact bytes of its body. Dynadot does not look at the
   signature when nameservers are read: only the domain's own page proves that the secret is right.
2. The body has a code of its own, which may say error where the status says success.
3. 202 says that a change was taken, not that it was made; no operation can be asked about.
4. A PUT of a DS takes one, with all six members, and adds it or replaces the one of its key tag. DELETE removes all.
5. Nameservers are read as texts or as objects with a name; on Dynadot's own DNS there is no list of them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from adapters.base import (
    Ds,
    InvalidCredential,
    Locked,
    RegistrarError,
    Rejected,
    Unavailable,
)
from adapters.dynadot import words
from adapters.dynadot.signature import Key
from adapters.dynadot.state import State, state_of
from adapters.http import Http, Reply, Request, rate_limited, unexpected

T = TypeVar("T")

_STATUSES: dict[int, tuple[type[RegistrarError], str]] = {
    401: (InvalidCredential, "Dynadot refuses the API key"),
    403: (Rejected, "Dynadot forbids the request to this account, or for this domain"),
    409: (Locked, "the domain's state at Dynadot forbids it; its page there says why"),
}


class _Error(msgspec.Struct, frozen=True):
    description: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    code: int | str
    message: str = ""
    data: dict[str, object] | None = None
    error: _Error | None = None


class Rest:
    """The calls, for one key and until one deadline."""

    def __init__(self, http: Http, url: str, key: Key, until: float) -> None:
        self._http = http
        self._url = f"{url}/restful/v2"
        self._key = key
        self._until = until

    async def state(self, domain: str) -> State:
        """GET /domains/{domain}, and /nameservers below it where the domain's page does not have them."""
        try:
            info = await self._read("domain", f"/domains/{domain}", _info)
        except Unavailable:
            # Nothing that is indispensable stands on that page alone.
            info = {}
        settings = info.get("glueinfo")
        if settings is None:
            settings = await self._read("nameservers", f"/domains/{domain}/nameservers", _data)
        return state_of(info, settings)

    async def set_nameservers(self, domain: str, hosts: tuple[str, ...]) -> bool:
        """PUT /domains/{domain}/nameservers; False where it was taken, but may not be made yet."""
        body = msgspec.json.encode({"nameserver_list": hosts})
        return await self._write("set-nameservers", "PUT", f"/domains/{domain}/nameservers", body, _is_made)

    async def hosts(self) -> dict[str, str]:
        """GET /nameservers; they are called by their name."""
        return await self._read("hosts", "/nameservers", _hosts)

    async def register_host(self, host: str, address: str) -> None:
        """POST /nameservers/register."""
        body = msgspec.json.encode({"nameserver": {"server_name": host, "ip": address}})
        await self._write("register-host", "POST", "/nameservers/register", body, lambda *_: None)

    async def set_addresses(self, called: str, addresses: Sequence[str]) -> None:
        """PUT /nameservers/{nameserver}/set_ip."""
        body = msgspec.json.encode({"ip_list": list(addresses)})
        await self._write("set-addresses", "PUT", f"/nameservers/{called}/set_ip", body, lambda *_: None)

    async def get_ds(self, domain: str) -> tuple[Ds, ...]:
        """GET /domains/{domain}/dnssec."""
        return await self._read("dnssec", f"/domains/{domain}/dnssec", _ds)

    async def add_ds(self, domain: str, ds: Ds) -> None:
        """PUT /domains/{domain}/dnssec, for one DS."""
        fields = {
            "key_tag": ds.key_tag, "digest_type": str(ds.digest_type), "digest": ds.digest,
            "algorithm": str(ds.algorithm), "flags": "", "public_key": "",
        }  # fmt: skip
        body = msgspec.json.encode(fields)
        await self._write("set-dnssec", "PUT", f"/domains/{domain}/dnssec", body, lambda *_: None)

    async def clear_ds(self, domain: str) -> None:
        """DELETE /domains/{domain}/dnssec."""
        await self._write("clear-dnssec", "DELETE", f"/domains/{domain}/dnssec", b"", lambda *_: None)

    async def _read(self, operation: str, path: str, read: Callable[[Reply, _Envelope], T]) -> T:
        request = self._request(operation, "GET", path, b"")
        return await self._http.read(request, _answer(read, Unavailable, self._key), self._until)

    async def _write(
        self, operation: str, method: str, path: str, body: bytes, read: Callable[[Reply, _Envelope], T]
    ) -> T:
        request = self._request(operation, method, path, body)
        return await self._http.write(request, _answer(read, Rejected, self._key), self._until)

    def _request(self, operation: str, method: str, path: str, body: bytes) -> Request:
        url = self._url + path
        headers = {**self._key.headers(urlsplit(url).path, str(uuid4()), body), "accept": "application/json"}
        if method != "GET":
            headers["content-type"] = "application/json"
        return Request(operation=operation, method=method, url=url, headers=headers, content=body or None)


def _answer(read: Callable[[Reply, _Envelope], T], otherwise: type[RegistrarError], key: Key) -> Callable[[Reply], T]:
    def interpret(reply: Reply) -> T:
        if 300 <= reply.status < 400:
            raise unexpected(reply)
        try:
            body = msgspec.json.decode(reply.body, type=_Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body = _Envelope(code="")
        # What is not of this form may be anything, also a credential: an error about it would hold it.
        text = str(body.code).strip()
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise (words.misunderstood() if reply.ok else unexpected(reply))
        code = int(text)
        if reply.ok and 200 <= code < 300:
            return read(reply, body)
        raise _failure(reply, code if reply.ok else reply.status, body, otherwise, key)

    return interpret


def _failure(reply: Reply, status: int, body: _Envelope, otherwise: type[RegistrarError], key: Key) -> RegistrarError:
    if status == 429:
        limit = rate_limited(reply)
        limit.again_seconds = words.PACE if reply.retry_after() is None else None
        return limit
    if status < 400:
        return words.misunderstood()
    description = body.error.description if body.error else ""
    if (failure := words.known(description, body.message)) is not None:
        return failure
    if status >= 500:
        return Unavailable("Dynadot's API is failing")
    kind, detail = _STATUSES.get(status, (otherwise, ""))
    return kind(detail) if detail else words.refused(kind, description, key.text)


def _data(_: Reply, body: _Envelope) -> dict[str, object]:
    return words.plain(body.data)


def _info(_: Reply, body: _Envelope) -> dict[str, object]:
    return words.plain(words.plain(body.data).get("domaininfo"))


def _is_made(reply: Reply, body: _Envelope) -> bool:
    return reply.status != 202 and str(body.code) != "202"


def _hosts(_: Reply, body: _Envelope) -> dict[str, str]:
    return {name: name for name in words.hosts_of(words.plain(body.data).get("nameserverlist"))}


def _ds(_: Reply, body: _Envelope) -> tuple[Ds, ...]:
    return words.ds_of(body.data)
