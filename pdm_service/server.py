"""Serve the application on one socket until told to stop, and drain it then."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pdm_service import logs, migrate
from pdm_service.app import Service
from pdm_service.settings import Settings

HEADER_SECONDS = 10.0
"""How long the head of a request may take to arrive."""


class _ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection on which a request was begun and its head never finished."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def _begin(self) -> None:
        self._end()
        self._patience = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._close)

    def _end(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.close()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, and finish what is under way."""
    service = Service(settings, migrate.head())
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
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain.total_seconds()),
    )
    logs.announce("listening", {"host": settings.host, "port": settings.port})
    await uvicorn.Server(config).serve()
