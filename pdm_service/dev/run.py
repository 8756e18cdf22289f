"""`pdm dev`: the whole service on this machine until Ctrl-C, its data kept between starts."""

import fcntl
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import msgspec

from pdm_service.dev.servers import ServerFailed, free_port, wait_until
from pdm_service.dev.stack import POOL_DOMAINS, Databases, Ports, Stack, given_database

_LOOK_SECONDS = 0.2
# A killed predecessor's servers need a moment to end.
_PORTS_SECONDS = 3.0
_USUAL_HTTP_PORT = 8080
_LABELS = 20


class Interrupted(Exception):
    """We were asked to end."""


class Interruption:
    """Remembers SIGINT, SIGTERM and SIGHUP, so that nothing is cut off in the middle of a start or stop."""

    asked = False

    def listen(self) -> Self:
        """Take the signals from now on, until the process ends: a late one should not spoil its cleaning up."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` ignores SIGHUP, and that is to be kept.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._ask)
        return self

    def _ask(self, *_: object) -> None:
        self.asked = True

    def check(self) -> None:
        """Raise Interrupted when we were asked to end; called where that does no harm."""
        if self.asked:
            raise Interrupted


class _Remembered(msgspec.Struct, frozen=True):
    """What stays the same between starts, besides the data."""

    ports: Ports
    api_key: str


def run(data: Path | None) -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code."""
    interruption = Interruption().listen()
    try:
        directory = _directory(data)
        with _lock(directory):
            return _serve(directory, interruption)
    except Interrupted:
        print("\nstopped", flush=True)
        return 0
    except ServerFailed as error:
        print(f"pdm dev: {error}", file=sys.stderr)
        return 1


def _serve(directory: Path, interruption: Interruption) -> int:
    def before(what: str) -> None:
        interruption.check()
        print(f"starting {what}", flush=True)

    given = given_database()
    databases = Databases(server=given, service=None if given else "pdm", powerdns="pdns_dev", kept=True)
    remembered = _remembered(directory)
    with Stack(directory, remembered.ports, databases, api_key=remembered.api_key, before=before) as stack:
        print(_told(stack, own_database=given is None), flush=True)
        while not interruption.asked and stack.ended() is None:
            time.sleep(_LOOK_SECONDS)
        ended = None if interruption.asked else stack.ended()
        print("\nstopping", flush=True)
    if ended is not None:
        raise ServerFailed(f"{ended.name} ended by itself, so all was stopped; see {ended.log}")
    print(f"stopped; the data stays in {directory}", flush=True)
    return 0


# --- the data directory --------------------------------------------------------------------------


def _directory(chosen: Path | None) -> Path:
    directory = (chosen or _usual_directory()).absolute()
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
            # Whatever the umask: servers that run as another account have to pass through.
            directory.chmod(0o711)
    except OSError as error:
        raise ServerFailed(f"{directory} cannot be made: {error.strerror}") from error
    return directory


def _usual_directory() -> Path:
    if os.geteuid() == 0:
        # A home of mode 0700 is closed to the account that servers run as.
        return Path("/var/lib/pdm-dev")
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "pdm-dev"


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Hold the directory; however we end, the kernel gives it back. Raises ServerFailed when it is held."""
    try:
        with (directory / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise ServerFailed(f"another `pdm dev` runs already on {directory}") from error
    except PermissionError as error:
        raise ServerFailed(f"{directory} belongs to another account") from error


def _remembered(directory: Path) -> _Remembered:
    """Return the ports and the key of the last start, with new ports for those taken meanwhile."""
    file = directory / "stack.json"
    last = None
    with suppress(OSError, msgspec.MsgspecError):
        last = msgspec.json.decode(file.read_bytes(), type=_Remembered)
    now = _Remembered(_ports(last.ports if last else None), last.api_key if last else secrets.token_hex(16))
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(msgspec.json.encode(now))
    unfinished.rename(file)
    return now


def _ports(last: Ports | None) -> Ports:
    wanted = msgspec.structs.asdict(last) if last else dict.fromkeys(Ports.__struct_fields__, 0)
    wait_until(lambda: all(_is_free(port) for port in wanted.values()), _PORTS_SECONDS)
    found = {name: port for name, port in wanted.items() if port and _is_free(port)}
    if "http" not in found and _is_free(_USUAL_HTTP_PORT):
        found["http"] = _USUAL_HTTP_PORT
    for name in wanted:
        while name not in found:
            port = free_port()
            if port not in found.values():
                found[name] = port
    return Ports(**found)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind is socket.SOCK_STREAM:
                # As servers do: what is left of their predecessor's connections does not matter.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


# --- what is told --------------------------------------------------------------------------------


def _told(stack: Stack, *, own_database: bool) -> str:
    url = stack.program.url
    database = stack.database_url if own_database else "the one that PDM_DATABASE_URL names"
    label = _free_label(url)
    body = json.dumps({"poolDomain": POOL_DOMAINS[0], "subdomain": label})
    return f"""
Everything runs; Ctrl-C stops it, and the data stays in {stack.directory}

  API           {url}
  metrics       {url}/metrics
  OpenAPI       {url}/schema/openapi.json
  PowerDNS API  {stack.powerdns.api_url}/api/v1/servers/localhost  (X-API-Key: {stack.powerdns.api_key})
  DNS           127.0.0.1 port {stack.ports.dns}
  resolver      127.0.0.1 port {stack.ports.resolver}, validating
  database      {database}
  log           {stack.program.log}

To try:

  curl '{url}/v1/check?poolDomain={POOL_DOMAINS[0]}&subdomain={label}'
  curl {url}/v1/reserve -H 'Content-Type: application/json' -d '{body}'
  curl {url}/v1/allocations
"""


def _free_label(url: str) -> str:
    """Choose a label that can be reserved now, since those of earlier starts may still be held."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        for number in range(1, _LABELS):
            label = f"acme{number}"
            query = {"poolDomain": POOL_DOMAINS[0], "subdomain": label}
            if client.get("/v1/check", params=query).json().get("available"):
                return label
    return f"acme{secrets.token_hex(4)}"
