"""The way out: TLS, proxies, limits, what is logged."""

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from adapters import http as module
from adapters.base import RateLimited, Unavailable
from adapters.http import MAX_REPLY_BYTES, Http, Reply, Request, deadline, rate_limited
from tests.patience import patient

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that note each request line in a list and answer with a body."""
    servers: list[ThreadingHTTPServer] = []

    def start(
        seen: list[str], tls: ssl.SSLContext | None = None, wait: threading.Event | None = None, body: bytes = b"body"
    ) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.requestline)
                if wait is not None:
                    wait.wait(10)
                with contextlib.suppress(ConnectionError):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"{'https' if tls else 'http'}://localhost:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
async def way_out() -> AsyncIterator[Http]:
    one = Http("test")
    yield one
    await one.close()


def body(reply: Reply) -> bytes:
    return reply.body


def get(url: str) -> Request:
    return Request(operation="get", method="GET", url=url)


@pytest.fixture
def fresh_tls() -> Iterator[None]:
    """Read the trusted authorities anew, before and after."""
    module._tls.cache_clear()
    yield
    module._tls.cache_clear()


@pytest.mark.usefixtures("fresh_tls")
async def test_certificate_of_an_unknown_authority(serve: Serve, way_out: Http) -> None:
    """TLS is verified: a server with a certificate of an unknown authority is not talked to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    seen: list[str] = []
    with pytest.raises(Unavailable) as caught:
        await way_out.read(get(serve(seen, context)), body, deadline(patient(1)))
    assert not caught.value.sent
    assert not seen


@pytest.mark.usefixtures("fresh_tls")
async def test_certificate_of_a_known_authority(
    serve: Serve, way_out: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority of one's own can be made known by SSL_CERT_FILE; the name is checked all the same."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    good, bad = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(good)
    authority.issue_cert("elsewhere.test").configure_cert(bad)
    assert await way_out.read(get(serve([], good)), body, deadline(patient(5))) == b"body"
    with pytest.raises(Unavailable):
        await way_out.read(get(serve([], bad)), body, deadline(patient(1)))


@pytest.mark.parametrize("ipv4_only", [False, True])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_proxy_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str, ipv4_only: bool
) -> None:
    """Requests go through the proxy that the environment names, and past it where it says so."""
    proxied: list[str] = []
    direct: list[str] = []
    url = serve(direct)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, serve(proxied))
    one = Http("test", ipv4_only=ipv4_only)
    await one.read(get("http://registrar.test/x"), body, deadline(patient(5)))
    assert proxied == ["GET http://registrar.test/x HTTP/1.1"]
    await one.close()
    monkeypatch.setenv("NO_PROXY", "localhost")
    other = Http("test", ipv4_only=ipv4_only)
    await other.read(get(url), body, deadline(patient(5)))
    assert len(proxied) == len(direct) == 1
    await other.close()


async def test_reply_that_is_too_long(serve: Serve, way_out: Http) -> None:
    """A reply of 1 MiB is read, one of more is refused, whatever is in it."""
    whole = serve([], body=b" " * MAX_REPLY_BYTES)
    assert len(await way_out.read(get(whole), body, deadline(patient(5)))) == MAX_REPLY_BYTES
    with pytest.raises(Unavailable, match="too long"):
        await way_out.read(get(serve([], body=b" " * (MAX_REPLY_BYTES + 1))), body, deadline(patient(0.6)))


async def test_slow_registrar_beside_another(serve: Serve) -> None:
    """A registrar that holds all its connections holds up its own callers, and nobody else's."""
    release = threading.Event()
    slow, quick = Http("slow"), Http("quick")
    stuck, fine = serve([], wait=release), serve([])
    waiting = [asyncio.create_task(slow.read(get(stuck), body, deadline(patient(10)))) for _ in range(20)]
    try:
        assert await quick.read(get(fine), body, deadline(patient(5))) == b"body"
        with pytest.raises(Unavailable) as caught:
            await slow.write(get(stuck), body, deadline(patient(1)))
        assert not caught.value.sent, "a change that never left surely was not made"
    finally:
        release.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        await slow.close()
        await quick.close()


async def test_slots_are_not_eaten_up(serve: Serve) -> None:
    """However many callers give up while they wait for a slow registrar, its slots are free afterwards."""
    slow = threading.Event()
    url = serve([], wait=slow)
    http = Http("slow")
    try:
        for _ in range(4):
            calls = [
                asyncio.create_task(http.read(get(url), body, deadline(0.35 + number / 60))) for number in range(40)
            ]
            await asyncio.gather(*calls, return_exceptions=True)
        slow.set()
        quick = [http.read(get(url), body, deadline(patient(5))) for _ in range(8)]
        assert await asyncio.gather(*quick) == [b"body"] * 8
    finally:
        slow.set()
        await http.close()


async def test_one_waits_for_its_turn(serve: Serve) -> None:
    """A call is made once there is a turn for it; one that has no turn in its time was surely not sent."""
    turns, seen = asyncio.Semaphore(1), list[str]()
    url = serve(seen)
    http = Http("shared", turn=lambda: turns)
    try:
        async with turns:
            with pytest.raises(Unavailable, match="too many requests") as failure:
                await http.read(get(url), body, deadline(0.5))
            assert (failure.value.sent, seen) == (False, [])
        assert await http.read(get(url), body, deadline(patient(5))) == b"body"
    finally:
        await http.close()


async def test_libraries_log_nothing_of_our_requests(
    serve: Serve, way_out: Http, caplog: pytest.LogCaptureFixture
) -> None:
    """The libraries' loggers say nothing of requests to registrars, and go on telling of other ones."""
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    url = serve(seen)
    request = Request(operation="get", method="GET", url=f"{url}/path", secret_query={"key": "marked secret"})
    assert "marked" not in repr(request)
    await way_out.read(request, body, deadline(patient(5)))
    assert seen == ["GET /path?key=marked+secret HTTP/1.1"]
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(url)
    assert [record for record in caplog.records if record.name == "httpx"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17), (" 17 ", 17), ("0", 0), ("99999999999", 86400), (None, 60), ("", 60), ("soon", 60), ("-1", 60), ("1.5", 60),
        ("٣", 60), ("Wed, 01 Jan 2020 00:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_delay_of_retry_after(header: str | None, seconds: int) -> None:
    """Retry-After is a number of seconds or a date; without a usable one it is a minute."""
    failure = rate_limited(Reply(429, {} if header is None else {"retry-after": header}, b""))
    assert isinstance(failure, RateLimited)
    assert failure.retry_after_seconds == seconds


def test_delay_of_retry_after_as_a_date() -> None:
    """A date counts from now."""
    text = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3590 <= rate_limited(Reply(429, {"retry-after": text}, b"")).retry_after_seconds <= 3600
