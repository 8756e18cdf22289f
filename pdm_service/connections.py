"""One HTTP connection: how large a request's head may be, how long each state of it may last, how many there are.

uvicorn's protocol has no limits of its own: what is kept of a head, how long an answer may stay unread, and how many
connections strangers may hold are decided here. Over TLS all of it holds as well, from before the handshake on.
"""

import asyncio
import logging
import resource
import ssl
from collections.abc import Callable
from random import getrandbits
from typing import Any, ClassVar

import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]

from pdm_service import tls
from pdm_service.api import problems
from pdm_service.callers import certificates
from pdm_service.callers.gate import KNOWN, SHOWN
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""How long the head of a request may take to arrive; that of the first one with the handshake before it."""
IDLE_SECONDS = 75.0
"""How long a connection stays open on which nothing is asked."""
UNREAD_SECONDS = 10.0
"""How long a client may leave an answer unread before its connection is cut."""
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8 * 1024
"""Of path and query."""
_MAX_PIPELINED = 16
_MAX_AT_ONCE = 16
"""Answers given while the bytes of one reading are parsed: others are served in between."""
_MOST = 1000
_OTHER_FILES = 300
"""What the rest of the process may have open: questions to nameservers, the database, PowerDNS, registrars."""

_TARGET_TOO_LONG = ("uri-too-long", 414, "path and query may have 8 KiB")
_HEAD_TOO_LARGE = ("head-too-large", 431, "the head of a request may have 64 KiB and 100 headers")
_TOO_MANY = ("too-many-requests", 429, "wait for the answers before you send more requests")
_OK = b"HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n\r\n"
_NO_HTTP = ("invalid-request", 400, "this is not an HTTP request")


AtOnce = Callable[[Any, bytes], tuple[bytes, bytes] | None]
"""Gives (id, JSON) of the answer to a GET by its scope and target, None if it has to be served by the application."""


class _RefusedError(Exception):
    """What was sent goes over a limit; raised within the parser, which ends with it."""


class _Connection(HttpToolsProtocol):
    """A connection whose every state ends.

    Where there are too many, the oldest one ends on which nothing is being answered, and that no client with a valid
    credential has used.
    """

    strangers: ClassVar[dict["_Connection", None]] = {}
    """By age."""
    at_once: ClassVar[AtOnce | None] = None
    """What answers some requests without a task of their own."""
    dated: ClassVar[list[tuple[bytes, bytes]] | None] = None
    date: ClassVar[bytes] = b""
    _at_once_left = 0
    _rested_at = 0.0
    _answered = False
    _asked: dict[str, Any]
    """What is read of a request that may be answered at once; its extensions are those of each request's scope."""
    _head_open = True
    _begun = False
    _body_came = False
    _kept = 0
    _refusal = _NO_HTTP
    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def unsent(self) -> int:
        """How many bytes of answers the client has not taken."""
        return self.transport.get_write_buffer_size()

    def known(self) -> None:
        """Count the connection as that of a client with a valid credential."""
        self.strangers.pop(self, None)

    # --- limits of size ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._body_came = False
        self._at_once_left = _MAX_AT_ONCE
        self._kept += len(data)
        super().data_received(data)
        if self._body_came or not self._begun:
            self._kept = 0
        elif self._kept > MAX_HEAD_BYTES + HIGH_WATER_LIMIT and not self.transport.is_closing():
            # The parser keeps what it has of a header that is not finished, in the head or behind the body.
            self._refusal = _HEAD_TOO_LARGE
            self.send_400_response("")
        self._mind()

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._begun = False
        if self._answered:
            self._answered = False
        else:
            super().on_message_complete()

    def on_message_begin(self) -> None:
        self._head_open = self._begun = True
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._refuse(_TOO_MANY)
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._head_open = False
        if len(self.url) > MAX_TARGET_BYTES:
            self._refuse(_TARGET_TOO_LONG)
        if len(self.headers) > MAX_HEADERS or (self._kept > MAX_HEAD_BYTES and self._size() > MAX_HEAD_BYTES):
            self._refuse(_HEAD_TOO_LARGE)
        at_once = type(self).at_once
        if at_once is None or not self._answer_at_once(at_once):
            super()._unset_keepalive_if_required()
            self._make_scope()
            super().on_headers_complete()

    def _make_scope(self) -> None:
        """Make what only a request needs that is not answered at once, as uvicorn does before it reads the head."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        self.scope["extensions"] = self._asked["extensions"]

    def _answer_at_once(self, at_once: AtOnce) -> bool:
        """Answer a request that need not wait, as if a task had; return whether it was answered."""
        parser = self.parser
        if not self.idle or not self._at_once_left or self.expect_100_continue or self.flow.write_paused:
            return False
        if parser.get_method() != b"GET" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return False
        self._asked["headers"] = self.headers
        if parser.should_upgrade() or (found := at_once(self._asked, self.url)) is None:
            return False
        self._at_once_left -= 1
        self._answered = True
        identity, body = found
        self.transport.write(_OK % (self._date(), len(body), identity) + body)
        self.server_state.total_requests += 1
        self._rest()
        return True

    def _date(self) -> bytes:
        """Return the header that the server renews each second."""
        kind = type(self)
        if kind.dated is not self.server_state.default_headers:
            kind.dated = self.server_state.default_headers
            kind.date = b"".join([b"%s: %s\r\n" % header for header in kind.dated])
        return kind.date

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, refusal: tuple[str, int, str]) -> None:
        self._refusal = refusal
        raise _RefusedError

    def send_400_response(self, _: str) -> None:
        """Answer what is no request, or too large for one, and close; not in the middle of another answer."""
        if not self.idle:
            self.transport.abort()
            return
        body = problems.problem(*self._refusal)
        content = msgspec.json.encode(body)
        head = (
            f"HTTP/1.1 {body.status} {body.title}\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
            f"content-length: {len(content)}\r\nx-request-id: {getrandbits(128):032x}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()
        self._cut_if_unread()

    # --- limits of time --------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._asked = {"client": self.client, "headers": [], "extensions": {KNOWN: {"keep": self.known, "seen": None}}}
        self._mind()
        self.strangers[self] = None
        if len(self.connections) > most():
            oldest = next((one for one in self.strangers if one.idle), next(iter(self.strangers)))
            self.strangers.pop(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.strangers.pop(self, None)
        self._head_open = False
        self._mind()
        self._read()
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cut_if_unread()

    def resume_writing(self) -> None:
        self._read()
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._rested_at = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._cut_if_unread()

    def _rest(self) -> None:
        """Have the connection end if nothing is asked for a while. One timer serves many answers."""
        self._rested_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._end_after(self.timeout_keep_alive)

    def _end_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection; what of an answer is unread by now stays so."""
        self.timeout_keep_alive_task = None
        if self._begun or not self.idle:
            return  # what follows it arms the timer anew, or ends the connection
        left = self._rested_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._end_after(left)
        else:
            self._end()

    def _end(self) -> None:
        if self.unsent:
            self.transport.abort()
        else:
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        """Do nothing: bytes between requests do not keep a connection alive, only a request does."""

    def _cut_if_unread(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _mind(self) -> None:
        if self._head_open and self._patience is None:
            self._patience = self.loop.call_later(HEAD_SECONDS, self._end)
        elif not self._head_open and self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Layer(SSLProtocol):  # type: ignore[misc]
    """TLS between a transport and a connection, which learns also from it that what was encrypted is not taken."""

    connection: "_Secured"

    def pause_writing(self) -> None:
        super().pause_writing()
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.connection.resume_writing()
        super().resume_writing()  # it may pause at once


class _Secured(_Connection):
    """A connection over TLS. Until its handshake is done it is a stranger's, on which nothing is being answered."""

    contexts: ClassVar[Callable[[], ssl.SSLContext]]
    _below: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake, and count the connection; called again, with the encrypted transport, after it.

        `loop.start_tls` would read what the client sends at once before TLS is there to get it, and
        `loop.create_server(ssl=…)` would count nobody who has not finished a handshake.
        """
        if self._below is not None:
            self._encrypted(transport)
            return
        super().connection_made(transport)
        if transport.is_closing():
            return
        self._below = transport
        ended = self.loop.create_future()
        ended.add_done_callback(self._shaken)
        layer = _Layer(
            self.loop,
            self,
            type(self).contexts(),
            ended,
            server_side=True,
            ssl_handshake_timeout=HEAD_SECONDS,
            ssl_shutdown_timeout=UNREAD_SECONDS,
        )
        layer.connection = self
        transport.set_protocol(layer)
        layer.connection_made(transport)

    def _encrypted(self, transport: Any) -> None:
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https"
        if peer := transport.get_extra_info("peercert"):
            self._asked["extensions"][SHOWN] = {"certificate": certificates.shown(peer)}

    def _shaken(self, ended: asyncio.Future[None]) -> None:
        """Clear up after a handshake that failed, of which nobody else tells."""
        if why := tls.failure(error := ended.exception()):
            logs.event(_log, logging.INFO, "no handshake", {"address": (self.client or [None])[0], "error": why})
        if self.transport is self._below:
            self.connection_lost(error if isinstance(error, Exception) else None)

    @property
    def unsent(self) -> int:
        """How many bytes of answers the client has not taken, encrypted or not."""
        below = self._below.get_write_buffer_size() if self._below else 0
        return super().unsent if self.transport is self._below else super().unsent + below

    def shutdown(self) -> None:
        """End when what is being answered has been; an idle client's consent to the end of TLS is not waited for."""
        super().shutdown()
        if self._below and self.transport.is_closing() and not self.unsent:
            self._below.close()


def most() -> int:
    """Return how many connections there may be: fewer than files may be open, as others need some too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_OTHER_FILES // 10, min(_MOST, files - _OTHER_FILES))


def protocol(contexts: Callable[[], ssl.SSLContext] | None, at_once: AtOnce | None) -> type[HttpToolsProtocol]:
    """Return the protocol for uvicorn: of plain connections, or of ones secured by what `contexts` gives for each.

    `at_once` is asked first for each GET.
    """
    quick = {"at_once": None if at_once is None else staticmethod(at_once)}
    if contexts is None:
        return type("_PlainConnection", (_Connection,), quick)
    return type("_SecuredConnection", (_Secured,), {"contexts": staticmethod(contexts), **quick})
