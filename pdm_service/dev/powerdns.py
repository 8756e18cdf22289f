"""A real PowerDNS Authoritative Server over a PostgreSQL database, configured as a test wants it.

Zones are left to the callers, through its API.
"""

import http.client
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import dns.exception
import dns.message
import dns.query

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.process import Process, ServerFailed, find_program

_READY_SECONDS = 15.0
_PROBE_SECONDS = 0.5
_SCHEMAS = (
    "share/pdns-backend-pgsql/schema/schema.pgsql.sql",
    "share/doc/pdns-backend-pgsql/schema.pgsql.sql",
    "share/doc/pdns-backend-postgresql/schema.pgsql.sql",
    "share/doc/pdns/schema.pgsql.sql",
)
_NO_CACHES = """\
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
"""


def load_schema(postgres_dsn: str) -> None:
    """Load PowerDNS's schema into a database that does not have it; else change nothing.

    Raises ServerFailed when the package that brings the schema is missing.
    """

    async def load(connection: "asyncpg.Connection[Any]") -> None:
        if await connection.fetchval("SELECT to_regclass('domains') IS NULL"):
            await connection.execute(_schema_file().read_text())

    with_connection(postgres_dsn, load)


def _schema_file() -> Path:
    found = next((path for name in _SCHEMAS if (path := Path("/usr") / name).is_file()), None)
    if found is None:
        raise ServerFailed("PowerDNS's schema for PostgreSQL is not installed; scripts/setup installs it")
    return found


class PowerDNS(Process):
    """PowerDNS on loopback: DNS at `addresses` on `dns_port` (UDP and TCP), its API on 127.0.0.1:`api_port`.

    Without `caches` every answer is read from the database; with them it answers as it is delivered.
    """

    name = "pdns_server"

    def __init__(
        self,
        directory: Path,
        postgres_dsn: str,
        api_port: int,
        dns_port: int,
        *,
        api_key: str,
        caches: bool = False,
        addresses: Sequence[str] = ("127.0.0.1",),
    ) -> None:
        super().__init__(directory)
        self.api_key = api_key
        self.api_port = api_port
        self.dns_port = dns_port
        self.addresses = tuple(addresses)
        self._postgres_dsn = postgres_dsn
        self._caches = caches

    @property
    def api_url(self) -> str:
        """The API's base, without `/api/v1` and without a trailing slash."""
        return f"http://127.0.0.1:{self.api_port}"

    def start(self) -> None:
        """Load the schema if it is missing, start, and return when API and DNS answer.

        Raises ServerFailed, or asyncpg's errors and OSError when the database cannot be reached.
        """
        self._prepare_directory()
        load_schema(self._postgres_dsn)
        self._write_private("pdns.conf", self._configuration())
        self._spawn([find_program(self.name), f"--config-dir={self.directory}"])
        self._await_ready(lambda: self._api_answers() and self._dns_answers(), _READY_SECONDS)

    def _configuration(self) -> str:
        # The socket's path is relative because an absolute one may pass the kernel's 107 bytes.
        return f"""\
daemon=no
guardian=no
disable-syslog=yes
socket-dir=.
security-poll-suffix=
launch=gpgsql
{self._backend()}
local-address={" ".join(self.addresses)}
local-port={self.dns_port}
api=yes
api-key={self.api_key}
webserver=yes
webserver-address=127.0.0.1
webserver-port={self.api_port}
webserver-allow-from=127.0.0.0/8
enable-lua-records=yes
enable-lua-record-updates=yes
ignore-unknown-settings=enable-lua-record-updates
{"" if self._caches else _NO_CACHES}"""

    def _backend(self) -> str:
        database = urlsplit(self._postgres_dsn)
        settings = {
            "host": database.hostname or "",
            "port": database.port or 5432,
            "dbname": unquote(database.path.lstrip("/")),
            "user": unquote(database.username or ""),
            "password": unquote(database.password or ""),
            "dnssec": "yes",
        }
        return "\n".join(f"gpgsql-{key}={value}" for key, value in settings.items())

    def _api_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", "/api/v1/servers/localhost", headers={"X-API-Key": self.api_key})
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _dns_answers(self) -> bool:
        question = dns.message.make_query(".", "SOA")
        try:
            dns.query.udp(question, self.addresses[0], port=self.dns_port, timeout=_PROBE_SECONDS)
        except (OSError, dns.exception.DNSException):
            return False
        return True
