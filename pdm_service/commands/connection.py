"""Where the service is and who calls, as all commands take it; and how an error ends a command."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from pdm_service.client import RETRY_SECONDS, Client
from pdm_service.errors import PdmError, PreflightBlocked

P = ParamSpec("P")

_OPTIONS = (
    click.option("--url", envvar="PDM_URL", default="http://127.0.0.1:8080", show_default=True, help="The service."),
    click.option("--key", envvar="PDM_KEY", help="An API key; better by the variable or a file than by this option."),
    click.option(
        "--key-file",
        envvar="PDM_KEY_FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A file with the key.",
    ),
    click.option("--client-id", envvar="PDM_CLIENT_ID", help="Send the key as Basic, with this id."),
)


def say(text: str, *, err: bool = False) -> None:
    """Print what may hold others' texts: characters that a terminal would act on, or that reverse text, as escapes."""
    shown = (one if one.isprintable() or one == "\n" else _escaped(one) for one in text)
    click.echo("".join(shown), err=err)


def _escaped(character: str) -> str:
    """Return a character as JSON has it, so that what is printed as JSON stays that."""
    return json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


class Connection:
    """What a client is made of."""

    def __init__(self, url: str, key: str | None, key_file: Path | None, client_id: str | None) -> None:
        self.url = url
        self._key = key_file.read_text("utf-8").strip() if key_file else key
        self._client_id = client_id

    def client(self, retry_seconds: float = RETRY_SECONDS) -> Client:
        """Return a client that gives up after `retry_seconds`."""
        return Client(self.url, key=self._key, client_id=self._client_id, retry_seconds=retry_seconds)


def connected(command: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., None]:
    """Make a command of a coroutine: its first parameter is the connection, what it returns the exit code."""

    @wraps(command)
    def run(url: str, key: str | None, key_file: Path | None, client_id: str | None, **more: Any) -> None:
        try:
            code = asyncio.run(command(Connection(url, key, key_file, client_id), **more))
        except PdmError as error:
            say(f"{error.code}: {error.detail}", err=True)
            for finding in error.problems if isinstance(error, PreflightBlocked) else ():
                say(f"  {finding.code} ({finding.severity}): {finding.seen}. {finding.remedy}", err=True)
            sys.exit(1)
        except OSError as error:
            say(f"{error.filename or 'error'}: {error.strerror or error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
        sys.exit(code or 0)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run
