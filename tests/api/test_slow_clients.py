"""Slow clients: who never finishes a request holds nobody else up, and is shown out in time."""

import contextlib
import re
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, Service, name

HEADER_SECONDS = 10.0
BODY_SECONDS = 8.0
"""As in server.py and api/edge.py."""
CLIENTS = 300
SLACK_SECONDS = 4.0
HALF_HEAD = b"POST /v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Slow: "
HALF_BODY = (
    b'POST /v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"pool'
)
HALF_CHUNK = b"POST /v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"


@contextlib.contextmanager
def half_open(service: Service, begun: bytes, count: int = CLIENTS) -> Iterator[list[socket.socket]]:
    """Connections on which a request is begun and not finished."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=patient(5)))
            connection.sendall(begun)
            found.append(connection)
        yield found


def ends(connections: list[socket.socket], seconds: float, poke: bytes = b"") -> list[bytes]:
    """What each connection says before it is closed; fails if one is still open after `seconds`.

    With `poke`, that is sent on all of them again and again: slow is not the same as silent.
    """
    said = dict.fromkeys(connections, b"")
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        end = time.monotonic() + patient(seconds)
        while selector.get_map() and time.monotonic() < end:
            for key, _ in selector.select(timeout=0.5):
                connection = connections[connections.index(key.fileobj)]  # type: ignore[arg-type]
                try:
                    data = connection.recv(65536)
                except ConnectionResetError:
                    data = b""
                said[connection] += data
                if not data:
                    selector.unregister(connection)
            for key in list(selector.get_map().values()) if poke else ():
                with contextlib.suppress(OSError):
                    key.fileobj.sendall(poke)  # type: ignore[union-attr]
        assert not selector.get_map(), f"{len(selector.get_map())} connections are still open after {seconds} s"
    return list(said.values())


def quick(service: Service) -> None:
    """Fail unless a check and a reserve are answered within two seconds each."""
    for ask in (
        lambda: service.client.get("/v1/check", params={"poolDomain": service.pool, "subdomain": name()}),
        lambda: service.reserve(name()),
    ):
        start = time.monotonic()
        assert ask().is_success
        assert time.monotonic() - start < patient(2)


def test_heads_that_are_never_finished(service: Service) -> None:
    """Hundreds of unfinished heads stall nobody, and are closed when their time is over."""
    with half_open(service, HALF_HEAD) as connections:
        quick(service)
        said = ends(connections, HEADER_SECONDS + SLACK_SECONDS)
        assert all(not one or one.startswith(b"HTTP/1.1 408") for one in said)
    quick(service)


def test_heads_that_come_drop_by_drop(service: Service) -> None:
    """A byte now and then does not prolong the time that a head has."""
    with half_open(service, HALF_HEAD, 20) as connections:
        ends(connections, HEADER_SECONDS + SLACK_SECONDS, poke=b"x")


def test_connections_that_say_nothing(service: Service) -> None:
    """A fresh connection on which nothing is asked does not stay for ever."""
    with half_open(service, b"", 20) as connections:
        assert set(ends(connections, HEADER_SECONDS + SLACK_SECONDS)) == {b""}


@pytest.mark.parametrize("begun", [HALF_BODY, HALF_CHUNK], ids=["length", "chunks"])
def test_bodies_that_are_never_finished(service: Service, begun: bytes) -> None:
    """Hundreds of unfinished bodies stall nobody, and are answered 408 and closed when their time is over."""
    with half_open(service, begun) as connections:
        quick(service)
        said = ends(connections, BODY_SECONDS + SLACK_SECONDS)
    for one in said:
        assert one.startswith(b"HTTP/1.1 408 ")
        assert b'"error":"request-timeout"' in one
        assert b"x-request-id: " in one.lower()
    quick(service)


def test_bodies_that_come_drop_by_drop(service: Service) -> None:
    """A byte now and then does not prolong the time that a body has."""
    with half_open(service, HALF_BODY, 20) as connections:
        said = ends(connections, BODY_SECONDS + SLACK_SECONDS, poke=b" ")
    assert all(one.startswith(b"HTTP/1.1 408 ") for one in said)


def test_second_request_that_is_never_finished(service: Service) -> None:
    """Having been served once buys no time for an unfinished head."""
    whole = b"GET /v1/nameservers HTTP/1.1\r\nHost: x\r\n\r\n"
    with half_open(service, whole, 20) as connections:
        for connection in connections:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.sendall(HALF_HEAD)
        ends(connections, HEADER_SECONDS + SLACK_SECONDS)


# --- stopping -----------------------------------------------------------------------------------------


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a PowerDNS that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def stopping(new_service: Callable[..., Service], deaf: str) -> Service:
    """A service whose commits wait as long as they may, since DNS does not answer."""
    return new_service(PDM_PDNS_BASE_URL=deaf, PDM_DRAIN_TIMEOUT="12s").start()


def test_sigterm_while_idle(new_service: Callable[..., Service]) -> None:
    """A stop that was asked for is no failure: exit code 0, at once."""
    assert new_service().start().stop(seconds=5) == 0


def test_sigterm_while_a_commit_waits(stopping: Service) -> None:
    """A request in flight gets its answer, and the process ends with 0 within its drain timeout."""
    label = name()
    token = stopping.reserve(label).json()["reservationToken"]
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(stopping.commit, label, token)
        eventually(lambda: stopping.get(label).json()["state"] == "active", 5)
        code = stopping.stop(seconds=12 + SLACK_SECONDS)
        reply = waiting.result(timeout=patient(1))
    assert reply.status_code == 202
    assert reply.json()["state"] == "active"
    assert code == 0


@pytest.mark.parametrize("begun", [b"", HALF_HEAD, HALF_BODY], ids=["nothing", "head", "body"])
def test_sigterm_with_half_open_requests(stopping: Service, begun: bytes) -> None:
    """Clients that never finish keep neither the answer to another nor the end of the process."""
    label = name()
    token = stopping.reserve(label).json()["reservationToken"]
    with half_open(stopping, begun, 50), ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(stopping.commit, label, token, ADDRESS)
        eventually(lambda: stopping.get(label).json()["state"] == "active", 5)
        code = stopping.stop(seconds=12 + SLACK_SECONDS)
        assert waiting.result(timeout=patient(1)).status_code == 202
    assert code == 0


def test_sigterm_with_a_short_drain_timeout(new_service: Callable[..., Service], deaf: str) -> None:
    """The drain timeout is kept also where requests and DNS take longer, and what was acknowledged is not lost."""
    service = new_service(PDM_PDNS_BASE_URL=deaf, PDM_DRAIN_TIMEOUT="2s").start()
    label = name()
    token = service.reserve(label).json()["reservationToken"]
    with ThreadPoolExecutor(1) as executor, half_open(service, HALF_BODY, 5):
        waiting = executor.submit(service.commit, label, token)
        eventually(lambda: service.get(label).json()["state"] == "active", 5)
        start = time.monotonic()
        code = service.stop(seconds=12)
        took = time.monotonic() - start
        waiting.exception(timeout=patient(5))
    assert took < 2 + patient(SLACK_SECONDS)
    assert code == 0


AWAY: dict[str, list[bytes]] = {
    "half a body": [HALF_BODY],
    "half a body, in parts": [HALF_BODY, b"Domain", b'": "x'],
    "half a chunk": [HALF_CHUNK],
    "a chunk, and no end": [HALF_CHUNK + b'"a":\r\n'],
    "nothing of a body that was asked for": [HALF_BODY.partition(b"\r\n\r\n")[0] + b"\r\nExpect: 100-continue\r\n\r\n"],
    "half a body where none is read": [HALF_BODY.replace(b"/v1/reserve", b"/v1/nothing")],
}


@pytest.mark.parametrize("parts", AWAY.values(), ids=AWAY.keys())
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_client_that_goes_away_amid_its_body(service: Service, parts: list[bytes], reset: bool) -> None:
    """It is no defect: no warning, no error, nothing that an alert counts."""
    before, failures = len(service.lines()), failed(service)
    path = parts[0].split(b" ")[1].decode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=patient(5)) as connection:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
    told = eventually(lambda: [one for one in service.lines()[before:] if one.get("path") == path])
    assert [one["status"] for one in told] == [404 if path == "/v1/nothing" else 408]
    assert {one["level"] for one in service.lines()[before:]} == {"info"}
    assert failed(service) == failures


def failed(service: Service) -> list[str]:
    """What the metrics have of answers that are the service's own fault."""
    text = service.client.get("/metrics").text
    return re.findall(r'^pdm_http_(?:requests_total\{[^}]*status="5[^}]*\}|errors_total) \S+$', text, re.MULTILINE)
