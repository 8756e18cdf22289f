"""Logs: one JSON object a line, with the request's id, and no chatter of libraries that print too much."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pdm_service.telemetry import logs
from tests.patience import patient

LOUD = ("httpx", "httpcore", "httpcore.http11", "asyncio", "alembic.runtime", "sqlalchemy.engine", "uvicorn.error")


@pytest.fixture(autouse=True)
def _request_id() -> Iterator[None]:
    token = logs.request_id.set(None)
    yield
    logs.request_id.reset(token)


def line(message: str = "told", *args: object, **more: Any) -> dict[str, Any]:
    """What a record becomes, read back."""
    record = logging.LogRecord("pdm_service.x", logging.WARNING, "x.py", 1, message, args, more.pop("exc_info", None))
    vars(record).update(more)
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def program(code: str) -> list[dict[str, Any]]:
    """The log of a program, read back line by line; a line that is no JSON object fails the test."""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(30), check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    found = [json.loads(one) for one in ended.stderr.splitlines()]
    assert all(isinstance(one, dict) for one in found)
    return found


def test_record_as_a_line() -> None:
    """A record becomes one object with time, level, logger and message."""
    found = line("%s of %d", "one", 2)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "logger": "pdm_service.x", "message": "one of 2"}


def test_record_with_fields() -> None:
    """The fields of a record become members, also values that JSON does not know."""
    found = line(fields={"fqdn": "a.b", "durationMs": 3, "odd": object})
    assert (found["fqdn"], found["durationMs"], found["odd"]) == ("a.b", 3, "<class 'object'>")


@pytest.mark.parametrize("text", ['a\nb\r\n{"level":"x"}', '"', "\x00\x1b[31m", "ü\u2028\u2029", "\\"])
def test_record_with_a_text_made_to_forge_lines(text: str) -> None:
    """Whatever a text holds, a record stays one line and its text stays in its member."""
    assert line(text)["message"] == text
    assert line(fields={"error": text})["error"] == text


@pytest.mark.parametrize(
    "text", ["\x7f", "\x9b31m", "a\u202eb", "\u2066", "\u200f", "\U000e0041", "ü", "\u2028", "\x1b]0;x\x07"]
)
def test_line_is_printable_ascii(text: str) -> None:
    """Nothing from outside reaches a terminal raw: no control character, no mark that reverses text."""
    made = logging.makeLogRecord({"msg": text, "levelname": "INFO", "name": "x", "fields": {"path": text}})
    shown = logs.JsonFormatter().format(made)
    assert shown.isascii()
    assert shown.isprintable()
    assert (json.loads(shown)["message"], json.loads(shown)["path"]) == (text, text)


def test_record_with_lone_surrogates() -> None:
    """A text that is no valid Unicode costs no line of the log."""
    assert "a" in line("a\ud800b")["message"]


def test_record_with_the_requests_id() -> None:
    """A record made while serving a request carries its id; others carry none."""
    assert "requestId" not in line()
    logs.request_id.set("abc-1")
    assert line()["requestId"] == "abc-1"


def test_record_with_an_exception() -> None:
    """A traceback goes into the line of its record."""
    try:
        raise ValueError("in two\nlines")
    except ValueError:
        found = line(exc_info=sys.exc_info())
    assert "ValueError: in two\nlines" in found["exception"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_configure_at_each_level(level: str) -> None:
    """A level shows itself and all above it, on standard error alone."""
    levels = ("debug", "info", "warning", "error")
    found = program(
        "import logging; from pdm_service.telemetry import logs\n"
        f"logs.configure({level!r})\n"
        f"for one in {levels}: getattr(logging.getLogger('pdm_service.x'), one)('told')"
    )
    assert [one["level"] for one in found] == list(levels[levels.index(level) :])


def test_configure_at_debug_with_loud_libraries() -> None:
    """Libraries that print URLs, headers or statements stay at warning, whatever the level."""
    found = program(
        "import logging; from pdm_service.telemetry import logs\n"
        "logs.configure('debug')\n"
        f"for name in {LOUD}:\n"
        "    logging.getLogger(name).debug('x'); logging.getLogger(name).info('x'); logging.getLogger(name).warning('y')"
    )
    assert [(one["logger"], one["message"]) for one in found] == [(name, "y") for name in LOUD]


def test_configure_at_error_with_loud_libraries() -> None:
    """Holding libraries at warning makes none of them louder than the service."""
    found = program(
        "import logging; from pdm_service.telemetry import logs\n"
        "logs.configure('error')\n"
        f"for name in {LOUD}: logging.getLogger(name).warning('y')"
    )
    assert found == []


def test_event_and_announcement() -> None:
    """Events and milestones are lines with members of their own."""
    found = program(
        "import logging; from pdm_service.telemetry import logs\n"
        "logs.configure('info')\n"
        "logs.event(logging.getLogger('pdm_service.y'), logging.DEBUG, 'hidden', {})\n"
        "logs.event(logging.getLogger('pdm_service.y'), logging.INFO, 'pool zone', {'poolDomain': 'a.b'})\n"
        "logs.announce('listening', {'port': 1})"
    )
    told = [(one["logger"], one["message"], one.get("poolDomain"), one.get("port")) for one in found]
    assert told == [("pdm_service.y", "pool zone", "a.b", None), ("pdm_service", "listening", None, 1)]


ACCESS = """
import asyncio, logging
from pdm_service.telemetry import logs
logs.configure({level!r})
async def main():
    log = logs.AccessLog()
    for number in range(3):
        log.request(f"id-{{number}}", "GET", "/v1/a\\nb", 200, 0.0012345, None)
    await asyncio.sleep(0)
    log.request("id-3", "POST", "/v1/reserve", 201, 0.5, "alice")
asyncio.run(main())
"""


def test_access_log_of_some_requests() -> None:
    """Every request is one line, in order, with id, method, path, status and milliseconds; none is lost."""
    found = program(ACCESS.format(level="info"))
    assert [one["requestId"] for one in found] == ["id-0", "id-1", "id-2", "id-3"]
    first = found[0]
    assert (first["message"], first["method"], first["path"]) == ("request", "GET", "/v1/a\nb")
    assert (first["status"], first["ms"], first["level"]) == (200, 1.23, "info")
    assert first["time"].endswith("Z")
    assert [one.get("client") for one in found] == [None, None, None, "alice"]


def test_access_log_at_warning() -> None:
    """Requests are not logged where information is not wanted."""
    assert program(ACCESS.format(level="warning")) == []
