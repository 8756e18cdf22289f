"""What the measurements run on: real servers, the program as a process, and the load on it."""

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pdm_service.dev.postgres import machine_programs, wheel_programs, with_connection
from pdm_service.dev.servers import Postgres, PowerDNS, free_port, wait_until
from pdm_service.store import migrate

NAMESERVERS = ("ns1.platform.test", "ns2.platform.test")
ADDRESS = "192.0.2.10"
PDM = str(Path(sys.executable).parent / "pdm")
_LOAD = Path(__file__).with_name("load.lua")
_TEMPLATE = "pdm_template"
_READY_SECONDS = 30.0


class Load(msgspec.Struct, frozen=True):
    """What wrk saw."""

    answered: int
    refused: int
    """Answered with a status of 400 or more."""
    broken: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.answered - self.refused) / self.seconds

    def refuse_errors(self) -> None:
        """Raise RuntimeError if anything went wrong."""
        if self.refused or self.broken:
            raise RuntimeError(f"{self.refused} refused and {self.broken} broken of {self.answered}")


class Program:
    """One process that serves HTTP on loopback, writing to a log file."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.port = int(environment["PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._command = command
        self._environment = {"PATH": os.environ["PATH"], **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Program"]:
        """Start, wait until it is ready, and end it whatever happens."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def start(self) -> float:
        """Start; return the seconds from exec until /readyz answers 200."""
        start = monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        if not wait_until(self._is_ready, _READY_SECONDS):
            self.stop()
            raise RuntimeError(f"{self._command[0]} is not ready; {self.log} says: {self.log.read_text()[-2000:]}")
        return monotonic() - start

    def stop(self) -> None:
        """Kill it; nothing happens when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def resident_megabytes(self) -> float:
        """Return VmRSS."""
        return resident_megabytes(Path(f"/proc/{self.pid}/status").read_text())

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self._command[0]} ended; {self.log} says: {self.log.read_text()[-2000:]}")
        # Not httpx, which takes longer to prepare than the answer.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def load(
        self, verb: str, pool: str, names: int, connections: int, seconds: int, prefix: str = "n", key: str = "none"
    ) -> Load:
        """Ask for random ones of `names` names with wrk, one thread, over so many connections."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_LOAD), self.url]
        command += ["--", verb, pool, str(names), str(random.randrange(2**31)), prefix, key]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Load)


class Stack:
    """One PostgreSQL, durable, for both databases, and one PowerDNS with its caches off."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.postgres = Postgres(directory / "postgres", free_port(), durable=True)
        self._powerdns: PowerDNS | None = None

    @contextmanager
    def running(self) -> Iterator["Stack"]:
        """Start PostgreSQL and PowerDNS, and end them whatever happens."""
        with self.postgres:
            self.postgres.create_database(_TEMPLATE)
            asyncio.run(migrate.migrate(self.postgres.dsn(_TEMPLATE)))
            self.postgres.create_database("pdns")
            self._powerdns = PowerDNS(
                self.directory / "pdns", self.pdns_dsn, free_port(), free_port(), api_key="bench", caches=False
            )
            with self._powerdns:
                yield self

    @property
    def powerdns(self) -> PowerDNS:
        """The one PowerDNS."""
        assert self._powerdns is not None
        return self._powerdns

    @property
    def pdns_dsn(self) -> str:
        """PowerDNS's database."""
        return self.postgres.dsn("pdns")

    def database(self, *, migrated: bool = True) -> str:
        """Make a database of the service; return its URL."""
        name = f"pdm_{uuid.uuid4().hex[:8]}"
        self.postgres.create_database(name, template=_TEMPLATE if migrated else None)
        return self.postgres.dsn(name)

    def service(self, database_url: str, *pools: str, **more: str) -> Program:
        """Return the service as it is in production, but audits are far away."""
        port = free_port()
        environment = {
            "PORT": str(port),
            "PDM_DATABASE_URL": database_url,
            "PDM_PDNS_BASE_URL": self.powerdns.api_url,
            "PDM_PDNS_API_KEY": self.powerdns.api_key,
            "PDM_POOL_DOMAINS": ",".join(pools),
            "PDM_NAMESERVERS": ",".join(NAMESERVERS),
            "PDM_NAMESERVER_ADDRESSES": f"127.0.0.1:{self.powerdns.dns_port}",
            "PDM_AUDIT_INTERVAL": "12h",
            **more,
        }
        return Program([PDM, "serve"], environment, self.directory / f"pdm-{port}.log")

    def empty(self) -> Program:
        """Return an empty handler, served as the service is."""
        port = free_port()
        environment = {
            "PORT": str(port),
            "PDM_DATABASE_URL": self.postgres.dsn(),
            "PDM_PDNS_BASE_URL": self.powerdns.api_url,
            "PDM_PDNS_API_KEY": self.powerdns.api_key,
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        return Program([sys.executable, "-m", "bench.empty"], environment, self.directory / f"empty-{port}.log")

    def pgbench(self, database_url: str, script: str, clients: int, seconds: int) -> float:
        """Run a script by pgbench, prepared, one thread; return transactions a second."""
        url = urlsplit(database_url)
        environment = {
            "PATH": os.environ["PATH"],
            "PGHOST": url.hostname or "",
            "PGPORT": str(url.port),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": url.path.lstrip("/"),
        }
        file = self.directory / "pgbench.sql"
        file.write_text(script)
        command = [str(pgbench_program()), "-n", "-M", "prepared", "-c", str(clients), "-j1"]
        command += ["-T", str(seconds), "-f", str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return float(done.stdout.split("tps = ")[1].split()[0])


def resident_megabytes(status: str) -> float:
    """Return VmRSS of a process's status."""
    return int(status.split("VmRSS:")[1].split(maxsplit=1)[0]) / 1024


def pgbench_program() -> Path | None:
    """Return pgbench from beside the initdb that is used, None if it is not there."""
    programs = machine_programs() or wheel_programs()
    found = programs / "pgbench" if programs else None
    return found if found and found.is_file() else None


def execute(dsn: str, statement: str) -> None:
    """Run statements in a database."""

    async def run(connection: Any) -> None:
        await connection.execute(statement, timeout=120)

    with_connection(dsn, run)


@contextmanager
def started() -> Iterator[Stack]:
    """Start everything in a directory that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="pdm-bench-", ignore_cleanup_errors=True) as path:
        # The servers' account must be able to pass through.
        Path(path).chmod(0o711)
        with Stack(Path(path)).running() as stack:
            yield stack
