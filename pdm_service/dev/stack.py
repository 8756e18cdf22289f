"""The whole service on this machine: PostgreSQL, PowerDNS, the program itself, a validating resolver.

What it is for, on which ports and for how long is left to `pdm dev` and `pdm demo`.
"""

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg
import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import httpx
import msgspec
from dns.rdtypes.ANY.DNSKEY import DNSKEY

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.process import spawn
from pdm_service.dev.servers import Postgres, PowerDNS, Process, Resolver, ServerFailed, account, wait_until

T = TypeVar("T")

POOL_DOMAINS = ("omani.works", "openova.io")
NAMESERVERS = ("ns1.openova.io", "ns2.openova.io", "ns3.openova.io")

_READY_SECONDS = 60.0
_POOLS_SECONDS = 30.0
_ASK_SECONDS = 5.0
_SECURE_ENTRY_POINT = 1


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens on 127.0.0.1."""

    http: int
    database: int
    """Unused where a database is given."""
    dns: int
    dns_api: int
    resolver: int


class Databases(msgspec.Struct, frozen=True, kw_only=True):
    """The databases that a stack works on."""

    server: str | None
    """DSN of a running server to make them on; without it the stack has a PostgreSQL of its own."""
    service: str | None
    """None: the very database that `server` names."""
    powerdns: str
    kept: bool
    """Without it those that the stack made are dropped in the end."""


def given_database() -> str | None:
    """Return what PDM_DATABASE_URL (or the file that PDM_DATABASE_URL_FILE names) says.

    Raises ServerFailed when that is of no use to PowerDNS, which takes no DSN but its parts.
    """
    path = os.environ.get("PDM_DATABASE_URL_FILE")
    try:
        url = (Path(path).read_text() if path else os.environ.get("PDM_DATABASE_URL", "")).strip()
    except OSError as error:
        raise ServerFailed(f"PDM_DATABASE_URL_FILE: cannot be read: {error.strerror}") from error
    parts = urlsplit(url)
    if url and not (parts.scheme in {"postgres", "postgresql"} and parts.hostname and parts.path.strip("/")):
        raise ServerFailed("PDM_DATABASE_URL: must be of the form postgresql://user:password@host:port/database")
    return url or None


def require_passable(directory: Path) -> None:
    """Raise ServerFailed when the account that servers run as cannot pass through the directory."""
    who = account()
    if who is None:
        return
    probe = subprocess.run(["test", "-x", directory], check=False, user=who.uid, group=who.gid, extra_groups=[])
    if probe.returncode != 0:
        raise ServerFailed(
            f"{directory} cannot be entered by the account {who.name}, which servers run as when root starts them"
        )


class Program(Process):
    """The service itself, as it runs in production: `pdm serve` with settings from the environment."""

    name = "pdm"

    def __init__(self, directory: Path, port: int, environment: Mapping[str, str]) -> None:
        super().__init__(directory)
        self._port = port
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "PORT": str(port), **environment}

    @property
    def url(self) -> str:
        """The API's base, without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start and return when it answers. Raises ServerFailed."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spawn([sys.executable, "-m", "pdm_service", "serve"])
        self._await_ready(self._answers, _READY_SECONDS)

    def _spawn(self, command: Sequence[str | Path]) -> None:
        # As ourselves: a virtual environment in a home is closed to the servers' account.
        self._mark_log()
        self._child = spawn(
            command,
            self.directory,
            self.log,
            on_our_death=self.on_our_death,
            environment=self._environment,
            as_ourselves=True,
        )

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=_ASK_SECONDS, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


class Stack:
    """Everything in one directory; as a context manager it starts in order and stops in reverse order.

    `before` gets what starts next; what it raises stops all that runs. A start that fails raises
    ServerFailed, and stops all that runs as well.
    """

    program: Program
    powerdns: PowerDNS
    resolver: Resolver
    database_url: str

    def __init__(
        self,
        directory: Path,
        ports: Ports,
        databases: Databases,
        *,
        api_key: str,
        durable: bool = True,
        before: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.directory = directory.absolute()
        self.ports = ports
        self._databases = databases
        self._api_key = api_key
        self._durable = durable
        self._before = before
        self._servers: list[Process] = []
        self._stops = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop what runs, last started first."""
        self._stops.close()

    def ended(self) -> Process | None:
        """Return a server that should run and does not."""
        return next((server for server in self._servers if server.pid is None), None)

    def _start(self) -> None:
        require_passable(self.directory)
        powerdns_url = self._start_databases()
        self.powerdns = PowerDNS(
            self.directory / "powerdns", powerdns_url, self.ports.dns_api, self.ports.dns, api_key=self._api_key
        )
        self._run("PowerDNS", self.powerdns)
        self.program = Program(self.directory / "pdm", self.ports.http, self._settings())
        self._run("the service", self.program)
        self._before("the pool zones")
        self._await_pool_zones()
        stubs = dict.fromkeys(POOL_DOMAINS, ("127.0.0.1", self.ports.dns))
        self.resolver = Resolver(
            self.directory / "resolver", self.ports.resolver, stubs=stubs, anchors=self.trust_anchors()
        )
        self._run("a validating resolver", self.resolver)

    def _run(self, what: str, server: Process) -> None:
        self._before(what)
        self._stops.callback(server.stop)
        server.start()
        self._servers.append(server)

    # --- databases -------------------------------------------------------------------------------

    def _start_databases(self) -> str:
        """Make sure of both databases; return PowerDNS's DSN."""
        server = self._databases.server
        if server is None:
            postgres = Postgres(self.directory / "postgres", self.ports.database, durable=self._durable)
            self._run("PostgreSQL", postgres)
            server = postgres.dsn()
        self._before("the databases")
        self.database_url = self._database(server, self._databases.service)[0] if self._databases.service else server
        powerdns_url, made = self._database(server, self._databases.powerdns)
        if made and self._databases.kept and self._databases.server and _holds_allocations(server):
            self._drop(server, self._databases.powerdns)
            raise ServerFailed(
                "the database that PDM_DATABASE_URL names holds allocations of another PowerDNS; give an empty one"
            )
        return powerdns_url

    def _database(self, server: str, name: str) -> tuple[str, bool]:
        """Make a database if it is not there; return its DSN, and whether it was made now."""
        try:
            made = _connected(server, partial(_create_database, name=name))
        except asyncpg.InsufficientPrivilegeError as error:
            raise ServerFailed(f"the account in PDM_DATABASE_URL may not create the database {name} there") from error
        if made and not self._databases.kept and self._databases.server:
            self._stops.callback(self._drop, server, name)
        return urlsplit(server)._replace(path=f"/{name}").geturl(), made

    def _drop(self, server: str, name: str) -> None:
        _connected(server, lambda connection: connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    # --- the program -----------------------------------------------------------------------------

    def _settings(self) -> dict[str, str]:
        return {
            "PDM_HOST": "127.0.0.1",
            "PDM_DATABASE_URL": self.database_url,
            "PDM_PDNS_BASE_URL": self.powerdns.api_url,
            "PDM_PDNS_API_KEY": self._api_key,
            "PDM_POOL_DOMAINS": ",".join(POOL_DOMAINS),
            "PDM_NAMESERVERS": ",".join(NAMESERVERS),
            "PDM_NAMESERVER_ADDRESSES": ",".join(f"{name}=127.0.0.1:{self.ports.dns}" for name in NAMESERVERS),
        }

    def _await_pool_zones(self) -> None:
        seen: list[dict[str, Any]] = []

        def ready() -> bool:
            reply = httpx.get(f"{self.program.url}/v1/pools", timeout=_ASK_SECONDS, trust_env=False)
            seen[:] = reply.raise_for_status().json()["pools"]
            return all(pool["state"] == "ready" for pool in seen)

        try:
            if wait_until(ready, _POOLS_SECONDS):
                return
        except httpx.HTTPError as error:
            raise ServerFailed(f"the service does not tell of its pool zones; see {self.program.log}") from error
        told = next((pool["lastError"] for pool in seen if "lastError" in pool), f"see {self.program.log}")
        raise ServerFailed(f"the pool zones are not ready after {_POOLS_SECONDS:.0f} s: {told}")

    def trust_anchors(self) -> list[str]:
        """Return the keys that sign the pool zones' keys, as lines of a zone file. Raises ServerFailed."""
        return [f"{zone}. IN DNSKEY {key.to_text()}" for zone in POOL_DOMAINS for key in self._keys(zone)]

    def _keys(self, zone: str) -> list[DNSKEY]:
        question = dns.message.make_query(zone, dns.rdatatype.DNSKEY)
        try:
            reply = dns.query.tcp(question, "127.0.0.1", port=self.ports.dns, timeout=_ASK_SECONDS)
        except (OSError, dns.exception.DNSException) as error:
            raise ServerFailed(f"the keys of {zone} cannot be read: {error}") from error
        keys = [rdata for rrset in reply.answer for rdata in rrset if isinstance(rdata, DNSKEY)]
        return [key for key in keys if key.flags & _SECURE_ENTRY_POINT]


def _connected(dsn: str, work: Callable[["asyncpg.Connection[Any]"], Awaitable[T]]) -> T:
    try:
        return with_connection(dsn, work)
    except asyncpg.InsufficientPrivilegeError:
        raise
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ServerFailed(f"the database cannot be used: {error or type(error).__name__}") from error


async def _create_database(connection: "asyncpg.Connection[Any]", name: str) -> bool:
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name):
        return False
    await connection.execute(f'CREATE DATABASE "{name}"')
    return True


def _holds_allocations(dsn: str) -> bool:
    async def holds(connection: "asyncpg.Connection[Any]") -> bool:
        if await connection.fetchval("SELECT to_regclass('allocations') IS NULL"):
            return False
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM allocations)"))

    return _connected(dsn, holds)
