"""TLS in front of a server that has none, as a proxy ends it: by a certificate that may be changed at any time."""

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path


class TlsFront:
    """Listens on loopback with TLS, and passes on what it gets; `heard` and `told` keep what went through, as it was within TLS."""

    def __init__(self, target: int, pair: tuple[Path, Path]) -> None:
        self.pair = pair
        self.heard, self.told = bytearray(), bytearray()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        self._started.wait()

    async def _run(self) -> None:
        self._end = asyncio.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pair)
        # Each connection is shown the pair of its moment.
        context.sni_callback = self._shown
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0, ssl=context)
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._end.wait()
        server.close()

    def _shown(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pair)
        connection.context = context

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pass_on(near, forth, self.heard), self._pass_on(far, back, self.told))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                kept += data
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
