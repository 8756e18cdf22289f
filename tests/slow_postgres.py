"""A way to PostgreSQL on which every statement is answered late: a proxy on loopback that knows the protocol's frames.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
import contextlib
import threading
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from pdm_service.dev.servers import free_port

_EXECUTE, _QUERY = b"E", b"Q"
_TLS = (80877103).to_bytes(4)


class SlowPostgres:
    """Passes everything on; once `seconds` is set, answers to statements that long after they came."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self.lead_to(database_url)
        self._port = free_port()
        login = parts.netloc.rpartition("@")[0]
        self.database_url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))
        self.seconds = 0.0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def lead_to(self, database_url: str) -> None:
        """Have connections that begin from now on lead to another server."""
        parts = urlsplit(database_url)
        self._server = (parts.hostname or "", parts.port or 5432)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._over = asyncio.Event()
        async with await asyncio.start_server(self._serve, "127.0.0.1", self._port):
            self._ready.set()
            await self._over.wait()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.closing(to_client), contextlib.suppress(ConnectionError, asyncio.CancelledError):
            server, to_server = await asyncio.open_connection(*self._server)
            with contextlib.closing(to_server):
                due = [0.0]
                ways = [
                    asyncio.create_task(way)
                    for way in (self._ask(client, to_server, due), self._answer(server, to_client, due))
                ]
                try:
                    await asyncio.wait(ways, return_when="FIRST_COMPLETED")
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, due: list[float]) -> None:
        """Pass frames on to the server; a statement among them makes its answer due later."""
        # Before the session begins frames have no type; a request for TLS, which is declined, comes first.
        code = _TLS
        while code == _TLS:
            length = await client.readexactly(4)
            content = await client.readexactly(int.from_bytes(length) - 4)
            code = content[:4]
            server.write(length + content)
        while True:
            kind = await client.readexactly(1)
            length = await client.readexactly(4)
            if kind in (_EXECUTE, _QUERY):
                due[0] = self._loop.time() + self.seconds
            server.write(kind + length + await client.readexactly(int.from_bytes(length) - 4))

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, due: list[float]) -> None:
        while answer := await server.read(65536):
            if (wait := due[0] - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            client.write(answer)
