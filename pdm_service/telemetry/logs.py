"""Structured logs: one JSON object a line on standard error, with the request's id."""

import asyncio
import atexit
import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
client: ContextVar[str | None] = ContextVar("client", default=None)
"""The client's id, where callers are distinguished."""

_LOUD = ("httpx", "httpcore", "asyncio", "alembic", "sqlalchemy", "hpack", "dns", "uvicorn")
"""Libraries that at level debug or info print URLs, headers or statements: held at warning."""


_TOGETHER_SECONDS = 0.005
"""So long the lines of requests are gathered: a write for each is a sixth of a check. A killed process loses them."""


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON; its `fields` become members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a newline."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["requestId"] = current
        if (caller := client.get()) is not None:
            line["client"] = caller
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _shown(msgspec.json.encode(line, enc_hook=str))
        except UnicodeEncodeError:  # half a surrogate pair, in what somebody sent
            return json.dumps(line, default=str)


def _shown(line: bytes) -> str:
    """Return a line as JSON of printable ASCII: a terminal acts on some of the other characters, or reverses text."""
    text = line.decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return json.dumps(json.loads(text), separators=(",", ":")).replace("\x7f", "\\u007f")


class _Request(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The line of a request."""

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    path: str
    status: int
    ms: float
    client: str | msgspec.UnsetType


class AccessLog:
    """One line a request, in the same form; the lines of a moment are written together.

    A record and a write for each request would cost more than many a request itself.
    """

    def __init__(self) -> None:
        self._enabled = logging.getLogger().isEnabledFor(logging.INFO)
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[str] = []
        atexit.register(self._write)

    def request(self, identity: str, method: str, path: str, status: int, seconds: float, caller: str | None) -> None:
        """Note a request that was answered, and whose it was, where callers are distinguished."""
        if not self._enabled:
            return
        line = _Request(
            datetime.now(UTC), "info", "pdm_service.access", "request", identity, method, path, status,
            round(seconds * 1000, 2), msgspec.UNSET if caller is None else caller,
        )  # fmt: skip
        if not self._lines:
            asyncio.get_running_loop().call_later(_TOGETHER_SECONDS, self._write)
        self._lines.append(_shown(self._encode(line)))

    def _write(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        sys.stderr.write("\n".join([*lines, ""]))
        sys.stderr.flush()


def configure(level: str) -> None:
    """Send all logs of the process to standard error as JSON, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Nothing reads who called from which line; leaving it out makes a record half as dear.
    logging._srcfile = None  # noqa: SLF001
    for name in _LOUD:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def event(logger: logging.Logger, level: int, message: str, fields: Mapping[str, object]) -> None:
    """Log `message` with members of its own."""
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"fields": fields})


def announce(message: str, fields: Mapping[str, object]) -> None:
    """Log a milestone of the process's life."""
    event(logging.getLogger("pdm_service"), logging.INFO, message, fields)
