"""A real PgBouncer in front of a PostgreSQL."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.process import Process, find_program
from pdm_service.dev.servers import free_port
from tests.patience import patient

Mode = Literal["session", "transaction", "statement"]


class PgBouncer(Process):
    """PgBouncer on 127.0.0.1, with nothing but its mode set; `database_url` leads through it."""

    name = "pgbouncer"

    def __init__(self, directory: Path, database_url: str, mode: Mode) -> None:
        super().__init__(directory)
        self._behind = urlsplit(database_url)
        self._mode = mode
        self._port = free_port()
        login = self._behind.netloc.rpartition("@")[0]
        self.database_url = urlunsplit(self._behind._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    def start(self) -> None:
        self._prepare_directory()
        behind = self._behind
        configuration = self._write_private(
            "pgbouncer.ini",
            f"[databases]\n* = host=127.0.0.1 port={behind.port} user={behind.username} password={behind.password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self._port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {self._mode}\ndefault_pool_size = 100\n",
        )
        self._spawn([find_program("pgbouncer"), configuration])
        self._await_ready(self._answers, patient(10))

    def _answers(self) -> bool:
        try:
            with_connection(self.database_url, lambda connection: connection.execute("SELECT 1"))
        except (OSError, asyncpg.PostgresError):
            return False
        return True
