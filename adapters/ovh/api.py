"""OVH's API in its own words.

https://eu.api.ovh.com/console/?section=%2Fdomain

1. Requests are signed with OVH's clock, which /auth/time gives to anybody.
2. A wrong secret shows as 400 INVALID_SIGNATURE, and so does a wrong clock.
3. The nameservers come one by one: a list of ids, then each; an id may be gone by then.
4. The body field of an update is `nameServers`; OVH's own guide has `nameServer`, which is that of another call.
5. Error bodies have `errorCode` from the layer that checks credentials, `class` from the one behind.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

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
from adapters.ovh.signature import Key
from adapters.quoted import quoted

T = TypeVar("T")

ENDPOINTS = {
    "ovh-eu": "https://eu.api.ovh.com/1.0",
    "ovh-ca": "https://ca.api.ovh.com/1.0",
    "ovh-us": "https://api.us.ovhcloud.com/1.0",
}
_FORM = "an OVH token is applicationKey:applicationSecret:consumerKey"
_TRIES = 3
_RIGHTS = "GET, POST and PUT on /domain/{domain} and /domain/{domain}/*"
_FAILURES: dict[str, tuple[type[RegistrarError], str]] = {
    "INVALID_CREDENTIAL": (
        InvalidCredential,
        "OVH does not know the consumer key, it has expired, or it is of another region",
    ),
    "NOT_CREDENTIAL": (InvalidCredential, "OVH misses the consumer key"),
    "INVALID_KEY": (InvalidCredential, "OVH does not know the application key, or it is of another region"),
    "INVALID_SIGNATURE": (
        InvalidCredential,
        "OVH refuses the application secret, or the consumer key is not validated yet",
    ),
    "FORBIDDEN": (MissingPermission, "OVH forbids the call to this account, or from our address"),
    "Client::Forbidden": (MissingPermission, "an OVH policy forbids the call to this account"),
    "Client::NotFound": (
        DomainNotInAccount,
        "the domain is not in this OVH account, or the account is of another region",
    ),
}
_STATUSES: dict[int, tuple[type[RegistrarError], str]] = {
    400: (Rejected, "OVH refuses the request"),
    401: (InvalidCredential, "OVH refuses the token"),
    403: (MissingPermission, "OVH forbids the call"),
    409: (Locked, "OVH has a change of the domain under way; try again when it is done"),
    460: (Locked, "the domain has expired; renew it at OVH first"),
}


def parse(text: str) -> Key:
    """Read the written form of a credential; raises InvalidCredential."""
    parts = text.strip().split(":")
    if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", part) for part in parts):
        raise InvalidCredential(_FORM)
    return Key(*parts)


class Rule(msgspec.Struct, frozen=True):
    """A right of a credential; `*` in the path stands for anything, slashes too."""

    method: str
    path: str

    def allows(self, method: str, path: str) -> bool:
        """Return whether a call falls under the rule."""
        pattern = ".*".join(re.escape(part) for part in self.path.split("*"))
        return self.method.upper() == method and re.fullmatch(pattern, path) is not None


class Credential(msgspec.Struct, frozen=True):
    """What OVH says of the credential that asks."""

    status: str
    rules: list[Rule] = []
    allowed_ips: list[str] | None = msgspec.field(name="allowedIPs", default=None)


class Domain(msgspec.Struct, frozen=True, rename="camel"):
    """What OVH says of a domain."""

    domain: str
    """As OVH writes it, which need not be how it was asked for."""
    name_server_type: str = ""
    dnssec_supported: bool = True
    host_supported: bool = True
    """Whether its registry has nameservers with addresses of their own."""


class Nameserver(msgspec.Struct, frozen=True, rename="camel"):
    """One nameserver of a domain."""

    host: str
    to_delete: bool = False
    is_used: bool = True
    """Whether the registry has it."""


class Glue(msgspec.Struct, frozen=True):
    """The addresses of a nameserver inside a domain."""

    host: str
    ips: list[str] = []


class Task(msgspec.Struct, frozen=True):
    """A change that OVH carries out by itself."""

    id: int
    status: str
    function: str = ""
    comment: object = None


class DsRecord(msgspec.Struct, frozen=True):
    """The key that OVH makes a DS of."""

    algorithm: int
    flags: int
    public_key: str = msgspec.field(name="publicKey", default="")
    tag: int = 0
    status: str = ""
    as_terraform_writes_it: str = msgspec.field(name="publickey", default="")


class Clock:
    """How far OVH's clock is ahead of ours, in seconds, once known."""

    ahead: int | None = None


class SignatureRefused(InvalidCredential):
    """OVH does not take a signature: a wrong secret, or a clock that has moved."""

    def __init__(self, meaning: RegistrarError) -> None:
        """`meaning` is the failure that it is by OVH's clock as just asked."""
        super().__init__(meaning.detail)
        self.meaning = meaning


class Api:
    """The calls, for one credential and until one deadline."""

    def __init__(self, http: Http, url: str, key: Key, clock: Clock, until: float) -> None:
        self._http = http
        self._url = url
        self._key = key
        self._clock = clock
        self._until = until

    async def current_credential(self) -> Credential:
        """GET /auth/currentCredential."""
        return await self._read("credential", "/auth/currentCredential", Credential)

    async def get_domain(self, domain: str) -> Domain:
        """GET /domain/{domain}."""
        return await self._read("domain", f"/domain/{domain}", Domain)

    async def nameservers(self, domain: str) -> list[Nameserver]:
        """GET /domain/{domain}/nameServer, and each of the ids; none where there is no such list."""
        try:
            return await self._each("nameserver", f"/domain/{domain}/nameServer", Nameserver)
        except DomainNotInAccount:
            return []

    async def ds_records(self, domain: str) -> list[DsRecord]:
        """GET /domain/{domain}/dsRecord, and each of the ids; raises RegistrarError."""
        try:
            return await self._each("ds", f"/domain/{domain}/dsRecord", DsRecord)
        except DomainNotInAccount:
            # Of a domain that is there, it is not known to mean that there is no DS.
            raise Unavailable("OVH does not give the DS of this domain") from None

    async def tasks(self, domain: str, function: str) -> list[Task]:
        """GET /domain/{domain}/task?function=…, and each of those under way."""
        path = f"/domain/{domain}/task?function={function}&status="
        ids = [one for status in ("todo", "doing") for one in await self._read("tasks", path + status, list[int])]
        return [task for one in ids if (task := await self._task_if_there(domain, one)) is not None]

    async def get_task(self, domain: str, task: int) -> Task:
        """GET /domain/{domain}/task/{id}."""
        return await self._read("task", f"/domain/{domain}/task/{task}", Task)

    async def _task_if_there(self, domain: str, task: int) -> Task | None:
        try:
            return await self.get_task(domain, task)
        except DomainNotInAccount:
            return None  # over and gone since the list was made

    async def make_external(self, domain: str) -> None:
        """PUT /domain/{domain}: other nameservers than OVH's; ends DNSSEC that OVH manages."""
        await self._write("external", "PUT", f"/domain/{domain}", {"nameServerType": "external"}, _taken)

    async def update_nameservers(self, domain: str, hosts: Sequence[str]) -> Task:
        """POST /domain/{domain}/nameServers/update."""
        body = {"nameServers": [{"host": host} for host in hosts]}
        return await self._write("update", "POST", f"/domain/{domain}/nameServers/update", body, _task)

    async def glue(self, domain: str, host: str) -> list[str]:
        """GET /domain/{domain}/glueRecord/{host}; none where there is no such record."""
        try:
            return (await self._read("glue", f"/domain/{domain}/glueRecord/{host}", Glue)).ips
        except DomainNotInAccount:
            return []

    async def set_glue(self, domain: str, host: str, addresses: Sequence[str], *, there: bool) -> Task:
        """POST /domain/{domain}/glueRecord, or …/{host}/update of one that is there."""
        path, body = f"/domain/{domain}/glueRecord", {"ips": list(addresses)}
        if there:
            return await self._write("update-glue", "POST", f"{path}/{host}/update", body, _task)
        return await self._write("set-glue", "POST", path, {"host": host, **body}, _task)

    async def update_ds(self, domain: str, keys: Sequence[DsRecord]) -> Task:
        """POST /domain/{domain}/dsRecord: replaces all."""
        body = {
            "keys": [
                {"algorithm": key.algorithm, "flags": key.flags, "publicKey": key.public_key, "tag": key.tag}
                for key in keys
            ]
        }
        return await self._write("set-ds", "POST", f"/domain/{domain}/dsRecord", body, _task)

    async def _each(self, operation: str, path: str, shape: type[T]) -> list[T]:
        for _ in range(_TRIES):
            ids = await self._read(f"{operation}s", path, list[int])
            try:
                return [await self._read(operation, f"{path}/{one}", shape) for one in ids]
            except DomainNotInAccount:
                continue  # one of them has gone since the list was made
        raise Unavailable("OVH's list of this domain's records does not hold still")

    async def _read(self, operation: str, path: str, shape: type[T]) -> T:
        return await self._call(operation, "GET", path, b"", lambda reply: reply.json(shape))

    async def _write(self, operation: str, method: str, path: str, body: object, read: Callable[[Reply], T]) -> T:
        return await self._call(operation, method, path, msgspec.json.encode(body), read)

    async def _call(self, operation: str, method: str, path: str, body: bytes, read: Callable[[Reply], T]) -> T:
        """Send a signed request; once more, with the clock set anew, where the signature is refused."""
        send = self._http.read if method == "GET" else self._http.write
        answer = _answer(read, f"{method} {path.partition('?')[0]}", None if method == "GET" else self._key)
        try:
            return await send(await self._request(operation, method, path, body), answer, self._until)
        except SignatureRefused:
            self._clock.ahead = None
        try:
            return await send(await self._request(operation, method, path, body), answer, self._until)
        except SignatureRefused as failure:
            raise failure.meaning from None

    async def _request(self, operation: str, method: str, path: str, body: bytes) -> Request:
        if self._clock.ahead is None:
            self._clock.ahead = await self._time() - round(time.time())
        url = self._url + path
        headers = self._key.headers(method, url, body, round(time.time()) + self._clock.ahead)
        if body:
            headers["content-type"] = "application/json"
        return Request(operation=operation, method=method, url=url, headers=headers, content=body or None)

    async def _time(self) -> int:
        """GET /auth/time, which needs no signature."""
        request = Request(operation="time", method="GET", url=f"{self._url}/auth/time")
        return await self._http.read(request, _answer(lambda reply: reply.json(int), "GET /auth/time"), self._until)


def _answer(read: Callable[[Reply], T], call: str, changes_with: Key | None = None) -> Callable[[Reply], T]:
    """Return what understands a reply; `changes_with` is the credential of a call that changes something."""

    def interpret(reply: Reply) -> T:
        if reply.ok:
            return read(reply)
        raise _failure(reply, call, changes_with)

    return interpret


class _Error(msgspec.Struct, frozen=True):
    code: str = msgspec.field(name="errorCode", default="")
    kind: str = msgspec.field(name="class", default="")
    message: str = ""
    details: object = None

    @property
    def missing(self) -> str:
        """The actions that a policy does not allow, by OVH's names for them; empty where none are told."""
        found = self.details.get("unauthorizedActionsByIAM") if isinstance(self.details, dict) else None
        names = re.findall(
            r"\b[a-z][A-Za-z]{1,30}:apiovh:[A-Za-z/]{1,60}(?![\w-])", found if isinstance(found, str) else ""
        )
        return ", ".join(names[:5])


def _failure(reply: Reply, call: str, changes_with: Key | None) -> RegistrarError:
    try:
        error = msgspec.json.decode(reply.body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return unexpected(reply)
    if reply.status == 429:
        return rate_limited(reply)
    if reply.status == 400 and error.code == "INVALID_SIGNATURE":
        kind, detail = _FAILURES[error.code]
        return SignatureRefused(kind(detail, error.code))
    if reply.status == 400 and (error.code == "QUERY_TIME_OUT" or error.message == "Query out of time"):
        return SignatureRefused(Unavailable("OVH's clock and ours do not agree", sent=False))
    if (failure := _by_word(reply.status, error, call)) is not None:
        return failure
    kind, detail = _STATUSES.get(reply.status, (Unavailable, "OVH's API is not in order"))
    if changes_with and kind is Unavailable and 400 <= reply.status < 500 and (error.code or error.kind):
        kind, detail = _STATUSES[400]
    if changes_with and kind is Rejected:
        detail += quoted(error.message, changes_with.text)
    return kind(detail, str(reply.status))


def _by_word(status: int, error: _Error, call: str) -> RegistrarError | None:
    """Return the failure that OVH's own word for it means; `call` is the right that it took."""
    if status == 403 and error.code == "NOT_GRANTED_CALL":
        return MissingPermission(f"the OVH token lacks the right {call}; create one that has {_RIGHTS}", error.code)
    if status == 403 and error.kind == "Client::Forbidden" and error.missing:
        return MissingPermission(f"an OVH policy does not allow this account {error.missing}", error.kind)
    for word in (error.code, error.kind):
        if status in {400, 403, 404} and word in _FAILURES:
            kind, detail = _FAILURES[word]
            return kind(detail, word)
    return None


def _task(reply: Reply) -> Task:
    return reply.json(Task)


def _taken(reply: Reply) -> None:
    if reply.body.strip() not in {b"", b"null"}:
        raise Unavailable("OVH gave an answer that cannot be understood")
