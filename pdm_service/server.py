"""Serve the application on one socket until it is stopped, and drain it then."""

import asyncio
import gc
import signal
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pdm_service.app import Service
from pdm_service.settings import Settings
from pdm_service.store import migrate
from pdm_service.telemetry import logs

HEADER_SECONDS = 10.0
"""How long the head of a request may take to arrive."""


class _ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection on which a request was begun and its head is not finished in time."""

    _head_open = True
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._mind()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_open = False
        self._mind()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._mind()

    def on_message_begin(self) -> None:
        self._head_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        super().on_headers_complete()

    def _mind(self) -> None:
        if self._head_open and self._patience is None:
            self._patience = self.loop.call_later(HEADER_SECONDS, self.transport.close)
        elif not self._head_open and self._patience is not None:
            self._patience.cancel()
            self._patience = None


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, and finish what is under way."""
    service = Service(settings, migrate.HEAD)
    config = uvicorn.Config(
        service.app(),
        host=settings.host,
        port=settings.port,
        http=_ImpatientProtocol,
        loop="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain.total_seconds()),
    )
    # What is there by now stays: without it each collection takes a tenth less of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    logs.announce("listening", {"host": settings.host, "port": settings.port})
    # The server raises the signal that ended it once more when it is done: a drained end is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    await uvicorn.Server(config).serve()
