"""Cloudflare's API in its own words. All of it only reads.

https://developers.cloudflare.com/api/

1. Success is `success` in the body; `messages` hold numbers on success too, and mean nothing.
2. A token of a wrong form is 400 with code 6003, not 401.
3. Code 9109 has several meanings: its message decides, from its start.
4. A token that an account owns (`cfat_…`) is refused by the user's verify call though it is good.
5. HTTP 200 of a verify call does not mean a usable token: its status does.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

import msgspec

from adapters.base import (
    AddressNotAllowed,
    DomainNotInAccount,
    InvalidCredential,
    MissingPermission,
    RateLimited,
    RegistrarError,
    Unavailable,
)
from adapters.http import Http, Reply, Request, rate_limited, unexpected

T = TypeVar("T")

BASE_URL = "https://api.cloudflare.com/client/v4"
_PAGES = 20
_LOCKED_OUT_SECONDS = 600
_MALFORMED = {6003, 6103, 6111}
_NO_SUCH = {7000, 7003}
_STATUSES: dict[int, tuple[type[RegistrarError], str]] = {
    401: (InvalidCredential, "Cloudflare refuses the token"),
    403: (MissingPermission, "the Cloudflare token may not read this; it needs Zone Read, for this domain"),
    404: (DomainNotInAccount, "Cloudflare does not have that in this account"),
}


@dataclass(frozen=True)
class Token:
    """A credential: an API token of a user, or of an account (`cfat_…`)."""

    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Read the written form; raises InvalidCredential."""
        found = text.strip()
        if re.fullmatch(r"[0-9a-f]{37}", found):
            raise InvalidCredential("that is Cloudflare's global API key; make an API token instead")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", found):
            raise InvalidCredential("a Cloudflare token is one word of letters, digits, '_' and '-'")
        return cls(found)

    @property
    def of_account(self) -> bool:
        """Return whether an account owns the token."""
        return self.text.startswith("cfat_")


class Account(msgspec.Struct, frozen=True):
    """The account that has a zone."""

    id: str


class Zone(msgspec.Struct, frozen=True):
    """A zone, which is no proof that the domain is registered with Cloudflare."""

    id: str
    name: str
    account: Account
    status: str = ""
    name_servers: list[str] | None = None


class Registration(msgspec.Struct, frozen=True):
    """A domain that is registered with Cloudflare."""

    domain_name: str
    status: str = ""


class Dnssec(msgspec.Struct, frozen=True):
    """How Cloudflare signs a zone."""

    status: str
    key_tag: int | None = None
    algorithm: str | None = None
    digest_type: str | None = None
    digest: str | None = None
    flags: int | None = None
    public_key: str | None = None


class _Verified(msgspec.Struct, frozen=True):
    status: str


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Page(msgspec.Struct, frozen=True):
    total_pages: int = 1


class _Failed(msgspec.Struct, frozen=True):
    success: bool
    errors: list[_Error] = []


class Api:
    """The calls, for one token and until one deadline."""

    def __init__(self, http: Http, url: str, token: Token, until: float) -> None:
        self._http = http
        self._url = url
        self._token = token
        self._until = until

    async def find_zones(self, name: str) -> list[Zone]:
        """GET /zones?name=…, all pages, for the zones of exactly that name: each account may have one.

        https://developers.cloudflare.com/api/resources/zones/methods/list/
        """
        found: list[Zone] = []
        for number in range(1, _PAGES + 1):
            path = f"/zones?name={quote(name)}&page={number}"
            zones, last = await self._read("zones", path, _zones)
            found += [zone for zone in zones if zone.name.lower() == name]
            if number >= last:
                break
        return sorted(found, key=lambda zone: zone.status != "active")

    async def get_registration(self, account: str, domain: str) -> Registration:
        """GET /accounts/{account}/registrar/registrations/{domain}.

        https://developers.cloudflare.com/api/resources/registrar/
        """
        path = f"/accounts/{_id(account)}/registrar/registrations/{domain}"
        return await self._read("registration", path, _result(Registration))

    async def get_dnssec(self, zone: str) -> Dnssec:
        """GET /zones/{zone}/dnssec.

        https://developers.cloudflare.com/api/resources/dns/subresources/dnssec/methods/get/
        """
        return await self._read("dnssec", f"/zones/{_id(zone)}/dnssec", _result(Dnssec))

    async def verify(self) -> str:
        """GET /user/tokens/verify; return the token's status. Refused for tokens that an account owns.

        https://developers.cloudflare.com/api/resources/user/subresources/tokens/methods/verify/
        """
        return (await self._read("verify", "/user/tokens/verify", _result(_Verified))).status

    async def _read(self, operation: str, path: str, read: Callable[[Reply], T]) -> T:
        headers = {"authorization": f"Bearer {self._token.text}", "accept": "application/json"}
        request = Request(operation=operation, method="GET", url=self._url + path, headers=headers)
        return await self._http.read(request, _answer(read), self._until)


def _answer(read: Callable[[Reply], T]) -> Callable[[Reply], T]:
    def interpret(reply: Reply) -> T:
        try:
            answer = msgspec.json.decode(reply.body, type=_Failed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise (_misunderstood() if reply.ok else unexpected(reply)) from None
        if reply.ok and answer.success:
            return read(reply)
        raise _failure(reply, answer.errors)

    return interpret


def _zones(reply: Reply) -> tuple[list[Zone], int]:
    class Zones(msgspec.Struct):
        result: list[Zone]
        result_info: _Page = _Page()

    found = reply.json(Zones)
    return found.result, found.result_info.total_pages


def _result(shape: type[T]) -> Callable[[Reply], T]:
    whole = msgspec.defstruct("Whole", [("result", shape)])
    return lambda reply: reply.json(whole).result  # type: ignore[attr-defined]


def _failure(reply: Reply, errors: list[_Error]) -> RegistrarError:
    error = errors[0] if errors else _Error()
    code = str(error.code) if error.code else ""
    codes = {one.code for one in errors}
    if reply.status == 429:
        return rate_limited(reply, code=code)
    if codes & _MALFORMED:
        return InvalidCredential("Cloudflare cannot read the token; it has to be an API token", code)
    if error.code == 9109:
        return _by_message(error.message, code)
    if reply.status == 403 and (
        name := re.search(r"requires permission '(com\.cloudflare\.[a-z._-]{3,80})'", error.message)
    ):
        return MissingPermission(f"the Cloudflare token lacks the permission {name[1]}", code)
    status = 404 if codes & _NO_SUCH else reply.status
    kind, detail = _STATUSES.get(status, (Unavailable, "Cloudflare's API is failing"))
    return kind(detail, code)


def _by_message(message: str, code: str) -> RegistrarError:
    starts: tuple[tuple[str, RegistrarError], ...] = (
        ("Invalid access token", InvalidCredential("Cloudflare refuses the token", code)),
        ("Cannot use the access token from location", AddressNotAllowed(
            "Cloudflare does not take this token from our address; it has a filter of addresses", code)),
        ("Max auth failures reached", RateLimited(
            "Cloudflare has locked us out after refused tokens; try again later", _LOCKED_OUT_SECONDS, code)),
    )  # fmt: skip
    known = next((failure for start, failure in starts if message.startswith(start)), None)
    return known or MissingPermission(_STATUSES[403][1], code)


def _id(text: str) -> str:
    return quote(text, safe="")


def _misunderstood() -> Unavailable:
    return Unavailable("Cloudflare gave an answer that cannot be understood")
