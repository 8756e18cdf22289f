"""Gandi's API (v5) in its own words.

https://api.gandi.net/docs/domains/

1. A failure is JSON with `code` (the status again), `message`, `object` and `cause`; wrong parameters have `errors`.
2. 403 is said to a token that has expired or lacks a permission, and for domains of others alike.
3. Its limit is 1,000 requests a minute from one address: https://api.gandi.net/docs/reference/
4. Personal access tokens are sent as Bearer. The older API keys (`Apikey`) are on their way out, and not taken here:
   https://api.gandi.net/docs/authentication/
5. Contacts and the transfer code come with a domain: they are not decoded.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from adapters.base import (
    DomainNotInAccount,
    InvalidCredential,
    Locked,
    MissingPermission,
    RegistrarError,
    Rejected,
    Unavailable,
)
from adapters.http import Http, Reply, Request, rate_limited, unexpected
from adapters.quoted import quoted

T = TypeVar("T")

BASE_URL = "https://api.gandi.net/v5"
PERMISSION = "Manage domain name technical configurations"
_FORM = "a Gandi token is a personal access token, as Gandi shows it once"
_STATUSES: dict[int, tuple[type[RegistrarError], str]] = {
    400: (Rejected, "Gandi refuses the request"),
    401: (InvalidCredential, "Gandi refuses the token"),
    403: (MissingPermission, f'Gandi does not let this token do that; it may have expired, or lacks "{PERMISSION}"'),
    404: (DomainNotInAccount, "Gandi does not have the domain"),
    409: (Locked, "the domain's state at Gandi does not allow the change, or one is under way"),
    422: (Rejected, "Gandi refuses the request"),
}


@dataclass(frozen=True)
class Token:
    """A credential: a personal access token."""

    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Read the written form; raises InvalidCredential."""
        found = text.strip()
        if not re.fullmatch(r"[A-Za-z0-9_-]{10,256}", found):
            raise InvalidCredential(_FORM)
        return cls(found)


class Domain(msgspec.Struct, frozen=True):
    """What Gandi says of a domain, as far as it is used."""

    fqdn: str
    nameservers: list[str]
    status: list[str] = []
    """As EPP has them (RFC 5731 section 2.3)."""


class Listed(msgspec.Struct, frozen=True):
    """A domain in a list."""

    fqdn: str


class DnsKey(msgspec.Struct, frozen=True):
    """A DNSKEY whose DS Gandi has at the registry."""

    id: int | str
    key_tag: int = msgspec.field(name="keytag")
    algorithm: int
    digest_type: int
    digest: str
    type: str = "ksk"
    public_key: str = ""


class _Taken(msgspec.Struct, frozen=True):
    message: str


class _Failure(msgspec.Struct, frozen=True):
    code: Any = None
    message: Any = None
    errors: Any = None


class Api:
    """The endpoints, for one token and until one deadline."""

    def __init__(self, http: Http, url: str, token: Token, until: float) -> None:
        self._http = http
        self._url = f"{url}/domain/domains"
        self._token = token
        self._headers = {"authorization": f"Bearer {token.text}", "accept": "application/json"}
        self._until = until

    async def get_domain(self, domain: str) -> Domain:
        """GET /v5/domain/domains/{domain}."""
        return await self._read("domain", f"/{domain}", Domain)

    async def has(self, domain: str) -> bool:
        """GET /v5/domain/domains?fqdn=: return whether the token's list has the domain."""
        found = await self._read("domains", "?" + urlencode({"fqdn": domain}), list[Listed])
        return domain in {one.fqdn.lower() for one in found}

    async def set_nameservers(self, domain: str, nameservers: tuple[str, ...]) -> None:
        """PUT /v5/domain/domains/{domain}/nameservers; Gandi answers 202, and carries it out by itself."""
        await self._write("nameservers", "PUT", f"/{domain}/nameservers", {"nameservers": nameservers})

    async def dnskeys(self, domain: str) -> list[DnsKey]:
        """GET /v5/domain/domains/{domain}/dnskeys."""
        return await self._read("dnskeys", f"/{domain}/dnskeys", list[DnsKey])

    async def add_dnskey(self, domain: str, algorithm: int, public_key: str) -> None:
        """POST /v5/domain/domains/{domain}/dnskeys; Gandi makes the DS of it."""
        key = {"algorithm": algorithm, "type": "ksk", "public_key": public_key}
        await self._write("add dnskey", "POST", f"/{domain}/dnskeys", key)

    async def delete_dnskey(self, domain: str, key: int | str) -> None:
        """DELETE /v5/domain/domains/{domain}/dnskeys/{id}."""
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", str(key)):
            raise Unavailable("Gandi gave an answer that cannot be understood")
        await self._write("delete dnskey", "DELETE", f"/{domain}/dnskeys/{key}", None)

    async def _read(self, operation: str, path: str, shape: type[T]) -> T:
        request = Request(operation=operation, method="GET", url=self._url + path, headers=self._headers)
        return await self._http.read(request, _answer(lambda reply: reply.json(shape)), self._until)

    async def _write(self, operation: str, method: str, path: str, body: object) -> None:
        request = Request(
            operation=operation,
            method=method,
            url=self._url + path,
            headers={**self._headers, "content-type": "application/json"},
            content=None if body is None else msgspec.json.encode(body),
        )
        await self._http.write(request, _answer(lambda reply: reply.json(_Taken), refused=self._refused), self._until)

    def _refused(self, reply: Reply) -> RegistrarError:
        words = quoted(_words(reply), self._token.text) or ", for a reason that it does not document"
        return Rejected(f"Gandi refuses the change{words}", str(reply.status))


def _answer(
    read: Callable[[Reply], T], refused: Callable[[Reply], RegistrarError] = unexpected
) -> Callable[[Reply], T]:
    """Return what understands a reply; `refused` is what a refusal means that no document has."""

    def interpret(reply: Reply) -> T:
        if reply.ok:
            return read(reply)
        raise _failure(reply, refused)

    return interpret


def _failure(reply: Reply, refused: Callable[[Reply], RegistrarError]) -> RegistrarError:
    if reply.status == 429:
        return rate_limited(reply)
    if reply.status >= 500 or _words(reply) is None:
        return unexpected(reply)
    if reply.status not in _STATUSES:
        return refused(reply)
    kind, detail = _STATUSES[reply.status]
    return kind(detail, str(reply.status))


def _words(reply: Reply) -> str | None:
    """Return what Gandi says in a failure of its form, None for another one: an edge before it has its own pages."""
    try:
        found = msgspec.json.decode(reply.body, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.code == reply.status and isinstance(found.message, str):
        return found.message
    return "" if isinstance(found.errors, list) else None
