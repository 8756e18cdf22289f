"""A real primary with a real standby, and one address that leads to either."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from pdm_service.dev.process import spawn
from pdm_service.dev.servers import Postgres, free_port
from pdm_service.store import migrate
from tests.eventually import eventually
from tests.patience import patient
from tests.slow_postgres import SlowPostgres

DATABASE = "pdm"
STANDBY = "standby"


class Standby(Postgres):
    """A PostgreSQL that follows another one."""

    def __init__(self, directory: Path, port: int, primary: Postgres) -> None:
        super().__init__(directory, port)
        self._primary = primary

    def _make_cluster(self, programs: Path) -> None:
        password = urlsplit(self._primary.dsn()).password or ""
        self._write_private("password", password)
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        source = f"host=127.0.0.1 port={self._primary.port} user=postgres password={password}"
        command = [programs / "pg_basebackup", "-D", unfinished, "-d", source, "-R", "-c", "fast", "--no-sync"]
        self._mark_log()
        child = spawn(command, self.directory, self.log)
        try:
            status = child.wait(patient(60))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
        if status != 0:
            raise self._failure("could not copy the primary")
        unfinished.rename(self._data)

    def _command(self, programs: Path) -> list[str | Path]:
        # By this name the primary knows it.
        return [*super()._command(programs), "-c", f"cluster_name={STANDBY}"]


class Pair:
    """A primary, its standby, and `database_url`, which leads to the primary of the moment."""

    def __init__(self, directory: Path) -> None:
        self.primary = Postgres(directory / "primary", free_port())
        self.standby = Standby(directory / "standby", free_port(), self.primary)

    def start(self) -> None:
        self.primary.start()
        self.primary.create_database(DATABASE)
        asyncio.run(migrate.migrate(self.primary.dsn(DATABASE)))
        self.standby.start()
        self.address = SlowPostgres(self.primary.dsn(DATABASE))
        self.address.__enter__()
        self.database_url = self.address.database_url

    def stop(self) -> None:
        self.address.__exit__()
        self.standby.stop()
        self.primary.stop()

    def wait_for_the_standby(self) -> None:
        """Have commits of the primary wait until the standby has them; it has to be there."""
        ask(self.primary, f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        ask(self.primary, "SELECT pg_reload_conf()")
        eventually(
            lambda: ask(self.primary, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"), 20,
            "the standby to be synchronous",
        )  # fmt: skip

    def fail_over(self) -> None:
        """Make the standby the primary, and have the address lead to it."""
        assert ask(self.standby, "SELECT pg_promote(true, 60)") == [(True,)]
        self.address.lead_to(self.standby.dsn(DATABASE))


def ask(server: Postgres, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask a server something, as its superuser."""

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(server.dsn(DATABASE), timeout=patient(10))
        try:
            return [tuple(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    return asyncio.run(run())


def sessions(server: Postgres, condition: str = "true") -> int:
    """How many sessions of a service there are."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        f" AND datname = '{DATABASE}' AND {condition}"
    )
    return int(ask(server, statement)[0][0])


@contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """Start a pair, and end it whatever happens."""
    directory.mkdir(mode=0o711)
    made = Pair(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()
