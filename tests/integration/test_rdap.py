"""What a registry tells by RDAP, over real HTTP."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pdm_service.byo import rdap
from pdm_service.byo.rdap import Rdap
from pdm_service.model.observation import Registry
from tests.patience import patient

Reply = tuple[int, dict[str, str], bytes]
FULL = {
    "objectClassName": "domain",
    "status": ["client Hold", "active"],
    "events": [
        {"eventAction": "registration", "eventDate": "2001-01-01T00:00:00Z"},
        {"eventAction": "expiration", "eventDate": "2027-03-04T05:06:07Z"},
    ],
}


class Server:
    def __init__(self) -> None:
        self.paths: list[str] = []
        self.answer: Callable[[str], Reply] = lambda _: (200, {}, json.dumps(FULL).encode())
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                status, headers, body = outer.answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


async def looked_up(base: str | None, domain: str = "acme.com", within: float = 3) -> Registry | None:
    one = Rdap(base)
    try:
        return await one.lookup(domain, within)
    finally:
        await one.close()


async def test_statuses_and_expiry(server: Server) -> None:
    """Statuses come in lower case, the expiry as a moment."""
    found = await looked_up(server.url)
    assert found == Registry(
        statuses=("client hold", "active"),
        expires_at=datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC),
        registered_at=datetime(2001, 1, 1, tzinfo=UTC),
    )
    assert server.paths == ["/domain/acme.com"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("registration", "2001-01-01T00:00:00Z"), ("transfer", "2020-01-01T00:00:00Z")], datetime(2001, 1, 1, tzinfo=UTC)),
        ([("registration", "2001-01-01"), ("reregistration", "2020-01-01T00:00:00")], datetime(2020, 1, 1, tzinfo=UTC)),
        ([("Registration", "2001-01-01T02:00:00+02:00")], datetime(2001, 1, 1, tzinfo=UTC)),
        ([("registration", "yesterday")], None),
        ([], None),
    ],
)  # fmt: skip
async def test_registration(server: Server, events: list[tuple[str, str]], expected: datetime | None) -> None:
    """The last registration counts; a transfer to another registrar is none, nor is what is no time."""
    told = {"events": [{"eventAction": action, "eventDate": date} for action, date in events]}
    server.answer = lambda _: (200, {}, json.dumps(told).encode())
    found = await looked_up(server.url)
    assert found is not None
    assert found.registered_at == expected


async def test_server_of_the_tld(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a TLD is found in IANA's list, which is read once."""
    listed = {"services": [[["com", "net"], [f"{server.url}/r/"]], [["org"], ["http://127.0.0.1:9/"]]]}
    full = json.dumps(FULL).encode()
    server.answer = lambda path: (200, {}, json.dumps(listed).encode() if path == "/dns.json" else full)
    monkeypatch.setattr(rdap, "BOOTSTRAP", f"{server.url}/dns.json")
    one = Rdap(None)
    assert await one.lookup("acme.com", 3) is not None
    assert await one.lookup("acme.net", 3) is not None
    assert await one.lookup("acme.zz", 3) is None
    assert await one.lookup("acme.org", 3) is None
    await one.close()
    assert server.paths == ["/dns.json", "/r/domain/acme.com", "/r/domain/acme.net"]


@pytest.mark.parametrize(
    "reply",
    [
        (404, {}, b"{}"), (429, {}, b""), (500, {}, b"x"), (200, {}, b"<html>"), (200, {}, b"[]"), (200, {}, b'{"status": 7}'),
        (200, {}, b"[" * 100_000), (200, {}, b"\xff\xfe"), (200, {}, b'{"a":"' + b"x" * 3_000_000 + b'"}'),
        (302, {"Location": "/domain/acme.com"}, b""), (302, {"Location": "http://[bad"}, b""), (302, {}, b""),
    ],
)  # fmt: skip
async def test_useless_answer(server: Server, reply: Reply) -> None:
    """What cannot be understood, and a redirect without end, is as if there were nothing."""
    server.answer = lambda _: reply
    assert await looked_up(server.url) is None
    assert len(server.paths) <= 4


async def test_nothing_to_ask() -> None:
    """Without a server nothing is asked; a dead one is given up in time."""
    assert await looked_up("") is None
    assert await looked_up("http://127.0.0.1:9") is None


async def test_date_without_sense(server: Server) -> None:
    """A date that is none is left out."""
    body = {"status": ["ok"], "events": [{"eventAction": "expiration", "eventDate": "soon"}]}
    server.answer = lambda _: (200, {}, json.dumps(body).encode())
    assert await looked_up(server.url) == Registry(statuses=("ok",))


async def test_slots(server: Server) -> None:
    """Of many callers at once few ask a registry at a time; all are answered, and afterwards others are."""
    counting = threading.Lock()
    under_way: list[int] = [0, 0]
    """Now, and at most."""

    def slowly(_: str) -> Reply:
        with counting:
            under_way[0] += 1
            under_way[1] = max(under_way)
        time.sleep(0.05)
        with counting:
            under_way[0] -= 1
        return 200, {}, json.dumps(FULL).encode()

    server.answer = slowly
    one = Rdap(server.url)
    try:
        found = await asyncio.gather(*(one.lookup("acme.com", patient(20)) for _ in range(150)))
        assert None not in found
        assert under_way[1] <= rdap._CALLS
        impatient = [asyncio.create_task(one.lookup("acme.com", 0.05 + number / 400)) for number in range(150)]
        await asyncio.gather(*impatient)
        assert None not in await asyncio.gather(*(one.lookup("acme.com", patient(5)) for _ in range(8)))
    finally:
        await one.close()
