"""Connections: what one may cost, and that strangers' connections shut nobody out."""

import contextlib
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pdm_service.connections import IDLE_SECONDS, UNREAD_SECONDS
from tests.eventually import eventually
from tests.patience import patient
from tests.service import Service

LINE = b"GET /v1/nameservers HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = LINE + b"\r\n"


@pytest.fixture
def lone(new_service: Callable[..., Service]) -> Service:
    """A service that nobody else uses."""
    return new_service().start()


@contextlib.contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=patient(10)) as connection:
        yield connection


def said(connection: socket.socket) -> bytes:
    """All that comes until the connection ends; fails if it stays open."""
    found = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while data := connection.recv(65536):
            found += data
    return found


def megabytes(service: Service) -> float:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split(maxsplit=1)[0]) / 1024


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (LINE + b"a: b\r\n" * 100 + b"\r\n", 431),
        (LINE + b"X-Long: " + b"a" * 66_000 + b"\r\n\r\n", 431),
        (LINE + b"a" * 66_000 + b": b\r\n\r\n", 431),
        (LINE + (b"b: " + b"a" * 8_000 + b"\r\n") * 9 + b"\r\n", 431),
        (LINE.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 120 + b"\r\n", 0),
    ],
    ids=["query", "path", "headers", "value", "name", "sum", "trailers"],
)
def test_head_that_is_too_large(service: Service, head: bytes, status: int) -> None:
    """What goes over a limit is refused and the connection ends, whatever else was sent on it."""
    with connected(service) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(head)
        answer = said(connection)
    assert not status or answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert not status or (b"application/problem+json" in answer and b"x-request-id: " in answer)
    assert service.client.get("/livez").status_code == 200


def test_head_at_its_largest(service: Service) -> None:
    """A large head within the limits is served."""
    headers = {f"x-{number}": "a" * 600 for number in range(90)}
    reply = service.client.get("/v1/nameservers", headers=headers)
    assert reply.status_code == 200
    reply = service.client.get("/v1/check", params={"poolDomain": service.pool, "subdomain": "a" * 7_000})
    assert reply.json()["reason"] == "invalid-format"


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /",
        LINE + b"X-Endless: ",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Endless: ",
    ],
    ids=["target", "value", "trailer"],
)
def test_head_without_an_end(lone: Service, begun: bytes) -> None:
    """Nothing is kept of a head beyond its limit: a sender of 200 MB costs the lone next to nothing."""
    before = megabytes(lone)
    sent = 0
    with connected(lone) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(begun)
        while sent < 200_000_000:
            connection.sendall(b"a" * 1_000_000)
            sent += 1_000_000
    assert sent < 20_000_000
    assert megabytes(lone) - before < 30
    assert lone.client.get("/livez").status_code == 200


def test_requests_without_reading(service: Service) -> None:
    """Requests that are sent before their answers are read are answered in order, up to some."""
    with connected(service) as connection:
        connection.sendall(WHOLE * 10)
        connection.settimeout(patient(10))
        found = b""
        while found.count(b"HTTP/1.1 200") < 10:
            found += connection.recv(65536)


def test_many_checks_at_once(service: Service) -> None:
    """Checks that are sent before their answers are read are answered in order, up to some."""
    check = b"GET /v1/check?poolDomain=%s&subdomain=n-%d HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(b"".join(check % (service.pool.encode(), number) for number in range(24)))
        connection.settimeout(patient(10))
        found = b""
        while found.count(b"HTTP/1.1 200") < 24 or not found.endswith(b"}"):
            found += connection.recv(65536)
    assert re.findall(rb'"fqdn":"n-(\d+)\.', found) == [b"%d" % number for number in range(24)]


@pytest.mark.timeout(IDLE_SECONDS * 4)
def test_connections_end(lone: Service) -> None:
    """Line ends between requests, or answers that nobody reads, do not keep a connection open."""
    lone.client.close()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        idle, checked, poked = (stack.enter_context(connected(lone)) for _ in range(3))
        check = b"GET /v1/check?poolDomain=%s&subdomain=x-y HTTP/1.1\r\nHost: x\r\n\r\n" % lone.pool.encode()
        for connection, request in ((idle, WHOLE), (poked, WHOLE), (checked, check), (checked, check)):
            connection.sendall(request)
            found = b""
            while not found.endswith(b"}"):
                found += connection.recv(65536)
            assert found.startswith(b"HTTP/1.1 200")
        deaf = [stack.enter_context(connected(lone)) for _ in range(3)]
        over = threading.Event()
        for connection in deaf:
            threading.Thread(target=ask_on, args=(connection, over), daemon=True).start()
        eventually(lambda: open_to(lone) <= 3, UNREAD_SECONDS + 20, "those who read nothing to be cut")
        over.set()
        while time.monotonic() < began + IDLE_SECONDS - 5:
            poked.sendall(b"\r\n")
            time.sleep(1)
        eventually(lambda: open_to(lone) == 0, 15, "idle connections to be closed")
    assert time.monotonic() - began >= IDLE_SECONDS


def ask_on(connection: socket.socket, over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while not over.is_set():
            connection.sendall(WHOLE * 100)


def test_answer_that_nobody_reads(lone: Service) -> None:
    """A client that asks for megabytes and does not read them is cut, without an error in the log."""
    lone.execute(
        "INSERT INTO events (fqdn, allocation_id, action, actor, outcome)"
        " SELECT 'x.test', gen_random_uuid(), 'reserved', 'x', repeat('x', 2000) FROM generate_series(1, 10000)"
    )
    lone.client.close()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", lone.port))
        connection.sendall(b"GET /v1/events?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: open_to(lone) == 1)
        began = time.monotonic()
        eventually(lambda: open_to(lone) == 0, UNREAD_SECONDS + 10, "who reads nothing to be cut")
        assert time.monotonic() - began > UNREAD_SECONDS / 2
    assert not [line for line in lone.lines() if line["level"] == "error"]


def open_to(service: Service) -> int:
    """How many connections of others the service has open."""
    assert service.process is not None
    inodes = {path.readlink().name for path in Path(f"/proc/{service.process.pid}/fd").iterdir() if path.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = f":{service.port:04X}"
    return sum(1 for line in lines if line[1].endswith(mine) and line[3] == "01" and f"socket:[{line[9]}]" in inodes)


@pytest.mark.parametrize("begun", [b"", LINE, WHOLE], ids=["nothing", "head", "idle"])
def test_strangers_shut_nobody_out(lone: Service, begun: bytes) -> None:
    """However many connections strangers hold, a probe and a caller get their answers."""
    assert lone.process is not None
    resource.prlimit(lone.process.pid, resource.RLIMIT_NOFILE, (400, 400))
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            with contextlib.suppress(OSError):
                stack.enter_context(connected(lone)).sendall(begun)
        for _ in range(20):
            with httpx.Client(base_url=lone.client.base_url, trust_env=False, timeout=patient(2)) as client:
                assert client.get("/livez").status_code == 200
                assert client.get("/v1/check", params={"poolDomain": lone.pool, "subdomain": "x-y"}).is_success
        assert lone.reserve("a-name-of-mine").status_code in {201, 409}
