"""GoDaddy's API in its own words, in its two generations.

https://developer.godaddy.com/doc/endpoint/domains

1. The credential decides: `gd_pat_…` is a personal access token of the newer platform (v3), `key:secret` a
   classic key (v1), which ends with 2026. Each is refused where the other belongs.
2. v3 answers 202 and an operation that may still fail; v1 answers 204, and may give the old set for a while.
3. Two shapes of errors in v3; the code is in `code` or in `name`, in any letters, with blanks for underscores.
4. Without a credential that it can read, GoDaddy redirects to its sign-on page, which answers 200.
5. v1 gives contacts and the transfer code with a domain: they are not decoded.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from adapters.base import (
    AccountNotEligible,
    DomainNotInAccount,
    InvalidCredential,
    Locked,
    MissingPermission,
    NotSupported,
    RateLimited,
    RegistrarError,
    Rejected,
    Unavailable,
    UnknownHost,
)
from adapters.http import Http, Reply, Request, rate_limited, unexpected
from adapters.quoted import quoted

T = TypeVar("T")

BASE_URL = "https://api.godaddy.com"
_FORM = "a GoDaddy token is a personal access token gd_pat_…, or key:secret"
_NOT_ELIGIBLE = "GoDaddy does not open its API to this account; see its help on API access"
_CODES: dict[str, tuple[type[RegistrarError], str]] = {
    "UNABLE_TO_AUTHENTICATE": (InvalidCredential, "GoDaddy refuses the key, or it is one of its test environment"),
    "MALFORMED_CREDENTIALS": (InvalidCredential, "GoDaddy cannot read the key"),
    "ACCESS_DENIED": (AccountNotEligible, _NOT_ELIGIBLE),
    "ACCOUNT_NOT_ELIGIBLE": (AccountNotEligible, _NOT_ELIGIBLE),
    "UNSUPPORTED_TLD": (NotSupported, "GoDaddy's API does not serve this top-level domain"),
    "INACTIVE_DOMAIN": (Locked, "the domain is not active at GoDaddy"),
    "FAILED_NAME_SERVER_VALIDATION": (
        UnknownHost,
        "a nameserver is not known to the registry; register its host first",
    ),
    "MISSING_NAME_SERVER": (Rejected, "GoDaddy wants more nameservers"),
    "REGISTRY_REJECTED": (Rejected, "the registry refuses the change"),
}
_NOT_OURS = {"NOT_FOUND", "DOMAIN_NOT_FOUND", "RESOURCE_NOT_FOUND", "UNKNOWN_DOMAIN"}
_POLL_SECONDS = 5
_BUSY_SECONDS = 10
_READ, _UPDATE = "domains.domain:read", "domains.nameserver:update"
_REFUSED = "GoDaddy refuses the request"
_STATUSES: dict[int, tuple[type[RegistrarError], str]] = {
    401: (InvalidCredential, "GoDaddy refuses the token; it may have expired or been revoked"),
    403: (MissingPermission, f"the GoDaddy token may not do this; it needs {_READ} and {_UPDATE}"),
    409: (Locked, "the domain's state at GoDaddy does not allow the change, or one is under way"),
    400: (Rejected, _REFUSED),
    422: (Rejected, _REFUSED),
}


@dataclass(frozen=True)
class Key:
    """A credential: `gd_pat_…`, or `key:secret`."""

    text: str = field(repr=False)
    classic: bool

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read the written form; raises InvalidCredential."""
        found = text.strip()
        if re.fullmatch(r"gd_pat_[!-9;-~]{1,512}", found):
            return cls(found, classic=False)
        if re.fullmatch(r"[!-9;-~]{1,256}:[!-9;-~]{1,256}", found) and not found.startswith("gd_pat_"):
            return cls(found, classic=True)
        raise InvalidCredential(_FORM)


class Domain(msgspec.Struct, frozen=True):
    """What GoDaddy says of a domain, as far as it is used."""

    domain: str
    status: str
    name_servers: list[str] | None = msgspec.field(name="nameServers", default=None)


class Failure(msgspec.Struct, frozen=True):
    """Why something was refused, or an operation failed."""

    code: Any = None
    name: Any = None
    message: Any = None
    retry_after: Any = msgspec.field(name="retryAfterSec", default=None)

    @property
    def spoken(self) -> bool:
        """Whether it has GoDaddy's form, so that GoDaddy has said it, and not something in between."""
        return any(isinstance(one, str) and one for one in (self.code, self.name, self.message))

    @property
    def busy(self) -> bool:
        """Whether it says that another request has to end first."""
        text = self.message if isinstance(self.message, str) else ""
        return (
            re.match(r"(the )?resource is being used( in another request)?\b", text.strip(), re.IGNORECASE) is not None
        )

    @property
    def word(self) -> str:
        """The code, wherever it stands; empty where there is none that may be shown."""
        code = next((text for text in (self.code, self.name) if isinstance(text, str) and text), "")
        known = re.sub(r"[ -]", "_", code).upper()
        if known in _CODES or known in _NOT_OURS:
            return known
        # Letters are not changed here: a credential that is sent back must not come to look like a code.
        return code if re.fullmatch(r"[A-Z_]{3,40}", code) else ""


class Operation(msgspec.Struct, frozen=True):
    """A change that GoDaddy carries out by itself (v3)."""

    status: str
    operation_id: str = msgspec.field(name="operationId", default="")
    domain: str = ""
    error: Failure | None = None


class Taken(msgspec.Struct, frozen=True):
    """A change that was taken, with the delay that GoDaddy wants before it is asked about it."""

    operation: Operation
    poll_after_seconds: int


class Api(Protocol):
    """What both generations can."""

    async def get_domain(self, domain: str) -> Domain:
        """Return a domain of the account."""
        ...

    async def set_nameservers(self, domain: str, nameservers: tuple[str, ...], key: str) -> Taken | None:
        """Send the set, under the key of this change; None if it is on record now."""
        ...


class V3:
    """The newer platform: https://developer.godaddy.com/openapi/domains-v3.json ."""

    def __init__(self, http: Http, url: str, key: Key, until: float) -> None:
        self._http = http
        self._url = f"{url}/v3/domains"
        self._key = key
        self._headers = {"authorization": f"Bearer {key.text}", "accept": "application/json"}
        self._until = until

    async def get_domain(self, domain: str) -> Domain:
        """GET /v3/domains/domain-names/{domain}; needs domains.domain:read."""
        request = Request(
            operation="domain", method="GET", url=f"{self._url}/domain-names/{domain}", headers=self._headers
        )
        return await self._http.read(request, _answer(lambda reply: reply.json(Domain), _READ), self._until)

    async def set_nameservers(self, domain: str, nameservers: tuple[str, ...], key: str) -> Taken | None:
        """PUT /v3/domains/domain-names/{domain}/nameservers; needs domains.nameserver:update."""
        request = Request(
            operation="nameservers",
            method="PUT",
            url=f"{self._url}/domain-names/{domain}/nameservers",
            headers={**self._headers, "content-type": "application/json", "idempotency-key": key},
            content=msgspec.json.encode(nameservers),
        )
        return await self._http.write(request, _answer(_taken_anew, _UPDATE, changes_with=self._key), self._until)

    async def get_operation(self, operation_id: str) -> Taken:
        """GET /v3/domains/operations/{id}."""
        request = Request(
            operation="operation", method="GET", url=f"{self._url}/operations/{operation_id}", headers=self._headers
        )
        return await self._http.read(request, _answer(_taken, _READ), self._until)


class V1:
    """The classic API: https://developer.godaddy.com/swagger/swagger_domains.json ."""

    def __init__(self, http: Http, url: str, key: Key, until: float) -> None:
        self._http = http
        self._url = f"{url}/v1/domains"
        self._key = key
        self._headers = {"authorization": f"sso-key {key.text}", "accept": "application/json"}
        self._until = until

    async def get_domain(self, domain: str) -> Domain:
        """GET /v1/domains/{domain}; 203 where GoDaddy could not find out everything."""
        request = Request(operation="domain", method="GET", url=f"{self._url}/{domain}", headers=self._headers)
        return await self._http.read(request, _answer(lambda reply: reply.json(Domain)), self._until)

    async def set_nameservers(self, domain: str, nameservers: tuple[str, ...], _: str) -> Taken | None:
        """PATCH /v1/domains/{domain}; knows no key."""
        request = Request(
            operation="nameservers",
            method="PATCH",
            url=f"{self._url}/{domain}",
            headers={**self._headers, "content-type": "application/json"},
            content=msgspec.json.encode({"nameServers": nameservers}),
        )
        return await self._http.write(request, _answer(_done, changes_with=self._key), self._until)


def failure_of(error: Failure | None, credential: str) -> RegistrarError:
    """Return the failure of an operation that GoDaddy took and could not carry out."""
    error = error or Failure()
    why = quoted(error.message, credential)
    kind, detail = _CODES.get(error.word, (Rejected, f"GoDaddy took the change, and could not carry it out{why}"))
    return kind(detail, error.word)


def _answer(read: Callable[[Reply], T], scope: str = "", *, changes_with: Key | None = None) -> Callable[[Reply], T]:
    """Return what understands a reply; `scope` is what a token needs for the call, where there are scopes.

    `changes_with` is the credential of a call that changes something: what is refused then was not made.
    """

    def interpret(reply: Reply) -> T:
        if reply.ok:
            return read(reply)
        raise _failure(reply, scope, changes_with)

    return interpret


def is_operation_id(text: str) -> bool:
    """Return whether a text may be the id of an operation, and may stand in a path."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", text) is not None


def _taken(reply: Reply) -> Taken:
    delay = reply.retry_after()
    return Taken(reply.json(Operation), _POLL_SECONDS if delay is None else max(1, delay))


def _taken_anew(reply: Reply) -> Taken:
    taken = _taken(reply)
    if not is_operation_id(taken.operation.operation_id):
        raise Unavailable("GoDaddy gave an answer that cannot be understood")
    return taken


def _done(reply: Reply) -> None:
    # 200 with an empty body is documented too, but also what an edge answers that lost its origin: it is read back.
    if reply.status != 204:
        raise Unavailable("GoDaddy gave an answer that cannot be understood")


def _failure(reply: Reply, scope: str, changes_with: Key | None) -> RegistrarError:
    if 300 <= reply.status < 400:
        return _redirected(reply)
    error = _error(reply)
    if reply.status == 429:
        return _too_many(reply, error or Failure())
    if error is None:
        return unexpected(reply)
    return _said(reply, error, scope, changes_with)


def _said(reply: Reply, error: Failure, scope: str, changes_with: Key | None) -> RegistrarError:
    """Return the failure that GoDaddy's own words mean."""
    if reply.status == 422 and error.busy:
        return RateLimited("GoDaddy works on another request for this domain; try again shortly", _BUSY_SECONDS,
                           again_seconds=1.0)  # fmt: skip
    if reply.status == 403 and scope and error.word not in _CODES:
        return MissingPermission(f"the GoDaddy token may not do this; it needs the scope {scope}", error.word)
    failure = _sorted(reply.status, error.word)
    in_general = isinstance(failure, Rejected) and error.word not in _CODES
    if changes_with and (in_general or (failure is None and error.spoken and 400 <= reply.status < 500)):
        return Rejected(_REFUSED + quoted(error.message, changes_with.text), error.word)
    return failure or unexpected(reply)


def _error(reply: Reply) -> Failure | None:
    try:
        return msgspec.json.decode(reply.body, type=Failure)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _too_many(reply: Reply, error: Failure) -> RegistrarError:
    waits = (reply.headers.get("ratelimit-reset", "").strip(), str(error.retry_after))
    # A longer number is a moment, or nonsense.
    return rate_limited(reply, next((int(text) for text in waits if re.fullmatch(r"[0-9]{1,5}", text)), None))


def _sorted(status: int, word: str) -> RegistrarError | None:
    """Return the failure of a status and a code, None where they may not be GoDaddy's own."""
    if status == 404 and word in _NOT_OURS:
        return DomainNotInAccount("the domain is not in this GoDaddy account", word)
    if status not in _STATUSES:
        return None
    kind, detail = _CODES.get(word, _STATUSES[status])
    return kind(detail, word)


def _redirected(reply: Reply) -> RegistrarError:
    try:
        host = urlsplit(reply.headers.get("location", "")).hostname or ""
    except ValueError:
        host = ""
    if host.endswith(".godaddy.com"):
        return InvalidCredential("GoDaddy does not take the token, and asks to sign in")
    return unexpected(reply)
