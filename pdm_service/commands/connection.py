"""Where the service is and who calls, as all commands take it; and how an error ends a command."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from pdm_service.client import RETRY_SECONDS, Client
from pdm_service.errors import PdmError, PreflightBlocked

P = ParamSpec("P")


def _file(option: str, variable: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(option, envvar=variable, type=click.Path(path_type=Path, dir_okay=False), help=text)


_OPTIONS = (
    click.option("--url", envvar="PDM_URL", default="http://127.0.0.1:8080", show_default=True, help="The service."),
    click.option("--key", envvar="PDM_KEY", help="An API key; better by the variable or a file than by this option."),
    _file("--key-file", "PDM_KEY_FILE", "A file with the key."),
    click.option("--client-id", envvar="PDM_CLIENT_ID", help="Send the key as Basic, with this id."),
    _file("--ca-file", "PDM_CA_FILE", "The CAs that the service's certificate may be of."),
    _file("--cert-file", "PDM_CLIENT_CERT_FILE", "A certificate to show to the service."),
    _file("--cert-key-file", "PDM_CLIENT_KEY_FILE", "The key of that certificate."),
)

_NAMES = ("url", "key", "key_file", "client_id", "ca_file", "cert_file", "cert_key_file")


def say(text: str, *, err: bool = False) -> None:
    """Print what may hold others' texts: characters that a terminal would act on, or that reverse text, as escapes."""
    shown = (one if one.isprintable() or one == "\n" else _escaped(one) for one in text)
    click.echo("".join(shown), err=err)


def _escaped(character: str) -> str:
    """Return a character as JSON has it, so that what is printed as JSON stays that."""
    return json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


class Connection:
    """What a client is made of."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Take the options that all commands have; raises OSError, click.UsageError."""
        self.url: str = options["url"]
        self._key = options["key_file"].read_text("utf-8").strip() if options["key_file"] else options["key"]
        self._client_id: str | None = options["client_id"]
        self._ca_file: Path | None = options["ca_file"]
        own = options["cert_file"], options["cert_key_file"]
        if (own[0] is None) != (own[1] is None):
            raise click.UsageError("a certificate needs its key: --cert-file and --cert-key-file")
        self._certificate = own if own[0] else None

    def client(self, retry_seconds: float = RETRY_SECONDS) -> Client:
        """Return a client that gives up after `retry_seconds`; raises OSError, click.ClickException."""
        try:
            return Client(
                self.url,
                key=self._key,
                client_id=self._client_id,
                ca_file=self._ca_file,
                certificate=self._certificate,
                retry_seconds=retry_seconds,
            )
        except ValueError as error:
            raise click.ClickException(f"a file for TLS is of no use: {error}") from error


def connected(command: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., None]:
    """Make a command of a coroutine: its first parameter is the connection, what it returns the exit code."""

    @wraps(command)
    def run(**options: Any) -> None:
        mine = {name: options.pop(name) for name in _NAMES}
        try:
            code = asyncio.run(command(Connection(mine), **options))
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
