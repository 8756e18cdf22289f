"""What all played registrars share: an account with domains, a record of what was asked, faults on demand.

Whoever writes an adapter writes a subclass of Server, which plays the registrar by its documents.
"""

import base64
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import dns.dnssec
import dns.rdata

from adapters.base import About, Ds, Registrar
from adapters.http import Http, Observe

OLD = ("ns1.old.test", "ns2.old.test")
Kind = Literal["read", "write", "any"]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    """Without the query."""
    query: dict[str, str]
    target: str
    """As sent: path and query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    write: bool = False


@dataclass
class Answer:
    """One reply to send."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Domain:
    """One domain of the account."""

    nameservers: list[str] = field(default_factory=lambda: list(OLD))
    ds: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the provider knows of it, and no change of nameservers may touch."""


@dataclass
class Fault:
    """What goes wrong, with which requests, and how often."""

    behave: Callable[["Server", BaseHTTPRequestHandler, Seen], bool]
    """Returns whether the request has been dealt with."""
    on: Kind
    times: int


class Wrong(Exception):
    """A request that the provider would never get from a correct client."""


class Server:
    """A registrar. Subclasses play one by its documents.

    They check method, path, headers, signature and body strictly and raise Wrong for what a correct client
    never sends; the tests then fail, whatever the client made of the reply.
    """

    token: str
    """A credential that works, as customers write it."""
    wrong_token: str
    """One of the right form that the provider refuses."""
    malformed: tuple[str, ...]
    """Credentials of a wrong form."""
    can_set: bool | None = True
    """What validate has to find out of a credential with all rights."""
    limit_has_delay = True
    """Whether the provider says for how long it takes no more requests."""
    asynchronous = True
    """Whether it answers before a change is made, if the adapter's `about` says that it may."""

    def __init__(self) -> None:
        self.domains = {"example.com": Domain(), "other.org": Domain(["a.other.test", "b.other.test"])}
        self.glue: dict[str, list[str]] = {}
        """The addresses of nameservers, where the provider has them."""
        self.seen: list[Seen] = []
        self.wrong: list[str] = []
        self.read_only = False
        self.instant = False
        """Whether asynchronous changes are made at once."""
        self.faults: list[Fault] = []
        self.over = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def some_ds(self) -> tuple[Ds, Ds, Ds]:
        """Three DS for `example.com`, of keys with different tags."""
        return _ds("A"), _ds("B"), _ds("C")

    # --- what a subclass says ------------------------------------------------------------------------

    def adapter(self, http: Http) -> Registrar:
        """The adapter, pointed at this server."""
        raise NotImplementedError

    def answer(self, seen: Seen) -> Answer:
        """Answer a request by the provider's documents, changing the account if it says so."""
        raise NotImplementedError

    def is_write(self, seen: Seen) -> bool:
        """Tell whether a request would change something."""
        raise NotImplementedError

    def is_change(self, seen: Seen) -> bool:
        """Tell whether a write is the one that changes the nameservers; some providers want others before."""
        return seen.write

    def limited(self, delay: int) -> Answer:
        """The provider's way to say that there were too many requests."""
        return Answer(429, b"", {"Retry-After": str(delay)})

    def refusals(self, words: str = "Some words") -> list[Answer]:
        """Refusals in the provider's own form, in words and numbers that its documents don't have."""
        return []

    def occupied(self) -> Answer:
        """The provider's way to say that another request has to end first; only some have one."""
        raise NotImplementedError

    def begin(self) -> None:
        """Have what goes on asynchronously be under way, and not finished."""

    def settle(self) -> None:
        """Finish what goes on asynchronously."""

    # --- what tests say ------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the server is; subclasses add the path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def about(self) -> About:
        """What the adapter says of itself."""
        return self.adapter(Http("x")).about

    @property
    def writes(self) -> list[Seen]:
        """The requests that would have changed something."""
        return [one for one in self.seen if one.write]

    def fault(self, behave: Callable[..., bool], on: Kind = "any", times: int = 10**9) -> None:
        """Have the next requests of a kind meet a fault, so many times."""
        self.faults.append(Fault(behave, on, times))

    def http(self, observe: Observe | None = None) -> Http:
        """The way out for the adapter."""
        return Http(self.about.name, observe)

    def stop(self) -> None:
        """End the server, and what it keeps waiting."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- one request ---------------------------------------------------------------------------------

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        seen = Seen(handler.command, parts.path, dict(parse_qsl(parts.query)), handler.path, headers, body)
        try:
            if headers.get("cookie"):
                raise Wrong("a cookie")
            seen.write = self.is_write(seen)
            self.seen.append(seen)
            if seen.write and self.read_only:
                raise Wrong(f"a change while only reading was allowed: {seen.method} {seen.path}")
            if not self._fault(handler, seen):
                send(handler, self.answer(seen))
        except Wrong as wrong:
            self.wrong.append(str(wrong))
            send(handler, Answer(418, b"wrong"))

    def _fault(self, handler: BaseHTTPRequestHandler, seen: Seen) -> bool:
        for fault in self.faults:
            if fault.times > 0 and fault.on in {"any", "write" if seen.write else "read"}:
                fault.times -= 1
                if fault.behave(self, handler, seen):
                    return True
        return False


def _ds(letter: str) -> Ds:
    """The DS (SHA-256) of a made-up ECDSA key of example.com, with the key."""
    public = base64.b64encode(letter.encode() * 64).decode()
    key = dns.rdata.from_text("IN", "DNSKEY", f"257 3 13 {public}")
    ds = dns.dnssec.make_ds("example.com.", key, "SHA256")
    return Ds(ds.key_tag, int(ds.algorithm), int(ds.digest_type), ds.digest.hex(), 257, public)


def send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response(answer.status)
    for name, value in {"Content-Type": "application/json", "Set-Cookie": "s=1; Path=/", **answer.headers}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(answer.body)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is none of our business; a defect shows in the reply that is missing."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def log_message(self, *_: Any) -> None:
            pass

        def do(self) -> None:
            server.serve(self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do

    return Handler


# --- faults ---------------------------------------------------------------------------------------------


def lose_reply(server: Server, handler: BaseHTTPRequestHandler, seen: Seen) -> bool:
    """Do what is asked, then break off without a reply."""
    server.answer(seen)
    return drop(server, handler, seen)


def drop(_: Server, handler: BaseHTTPRequestHandler, __: Seen) -> bool:
    """Break off, having done nothing."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def silent(server: Server, _: BaseHTTPRequestHandler, __: Seen) -> bool:
    """Never answer."""
    server.over.wait(30)
    return True


def drip(server: Server, handler: BaseHTTPRequestHandler, _: Seen) -> bool:
    """Answer byte by byte, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not server.over.wait(0.05):
        handler.wfile.write(b" ")
    return True


def limited(delay: int) -> Callable[..., bool]:
    """Say that there were too many requests."""

    def behave(server: Server, handler: BaseHTTPRequestHandler, _: Seen) -> bool:
        send(handler, server.limited(delay))
        return True

    return behave


def reply(answer: Answer) -> Callable[..., bool]:
    """Answer something else."""

    def behave(_: Server, handler: BaseHTTPRequestHandler, __: Seen) -> bool:
        send(handler, answer)
        return True

    return behave


_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_ENTITIES = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<ApiResponse Status="OK" xmlns="http://api.namecheap.com/xml.response"><CommandResponse>&b;</CommandResponse></ApiResponse>"""

NONSENSE = {
    "html": Answer(200, _HTML, {"Content-Type": "text/html"}),
    "html 502": Answer(502, _HTML, {"Content-Type": "text/html"}),
    "empty": Answer(200, b""),
    "empty 503": Answer(503, b""),
    "not utf-8": Answer(200, b"\xff\xfe{"),
    "nested without end": Answer(200, b"[" * 100_000),
    "of another shape": Answer(200, b'{"a": [1, 2, {"b": null}]}'),
    "a list": Answer(200, b'["x"]'),
    "a number": Answer(200, b"0.5"),
    "null": Answer(200, b"null"),
    "over 1 MiB": Answer(200, b'{"a":"' + b"x" * 2_000_000 + b'"}'),
    "entities": Answer(200, _ENTITIES, {"Content-Type": "application/xml"}),
    "compressed": Answer(200, b"\x1f\x8b\x08\x00\x00", {"Content-Encoding": "gzip"}),
    "redirect": Answer(302, b"", {"Location": "http://127.0.0.1:9/sso"}),
    "not found by an edge": Answer(404, _HTML, {"Content-Type": "text/html"}),
}
"""Replies that no provider's documents have."""
