"""What goes on while commits wait for a standby that is away: reads, refusals, and the room at PostgreSQL."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.measure import Effort, Line, progress
from bench.stack import Stack, execute
from pdm_service.dev.postgres import with_connection
from pdm_service.dev.servers import wait_until

_POOL = "standby.test"
_CONNECTIONS = 16
_REFUSING_SECONDS = 20.0
_SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '{}'; SELECT pg_reload_conf()"


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return the lines; the load of a run lasts as long as `effort.window`, half of it reads."""
    before: list[float] = []
    reads: list[float] = []
    refusals: list[float] = []
    waiting: list[float] = []
    sessions: list[float] = []
    database_url = stack.database()
    seconds = max(1, int(effort.window / 2))
    with stack.service(database_url, _POOL).running() as service:
        for run in range(effort.runs):
            progress(f"standby: run {run + 1} of {effort.runs}")
            load = service.load("check", _POOL, 1000, _CONNECTIONS, seconds)
            load.refuse_errors()
            before.append(load.rate)
            with _no_standby(stack):
                if not wait_until(lambda: _refused_at_once(service.port), _REFUSING_SECONDS):
                    raise RuntimeError("writes are not refused at once")
                load = service.load("check", _POOL, 1000, _CONNECTIONS, seconds)
                load.refuse_errors()
                reads.append(load.rate)
                load = service.load("reserve", _POOL, 10**9, _CONNECTIONS, seconds)
                if load.broken or load.refused != load.answered:
                    raise RuntimeError(f"{load.broken} broken and {load.refused} refused of {load.answered}")
                refusals.append(load.p99)
                waiting.append(_count(database_url, "wait_event = 'SyncRep'"))
                sessions.append(_count(database_url, "datname = current_database()"))
    return [
        Line(what="check while writes wait for a standby", unit="/s", ours=reads, bare=before, bound=0.8, at_least=True,
             note=f"{_CONNECTIONS} connections; bare: while they don't"),
        Line(what="refusal of a write meanwhile, p99", unit="ms", ours=refusals, bound=100,
             note=f"{_CONNECTIONS} connections, {seconds} s without a pause"),
        Line(what="sessions that wait for the standby", unit="", ours=waiting, bound=6),
        Line(what="sessions of the service", unit="", ours=sessions, bound=20, note="one of them counts"),
    ]  # fmt: skip


@contextmanager
def _no_standby(stack: Stack) -> Iterator[None]:
    for statement in _SYNCHRONOUS.format("nobody").split(";"):
        execute(stack.postgres.dsn(), statement)
    try:
        yield
    finally:
        for statement in _SYNCHRONOUS.format("").split(";"):
            execute(stack.postgres.dsn(), statement)


def _refused_at_once(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        body = f'{{"poolDomain":"{_POOL}","subdomain":"waits"}}'
        connection.request("POST", "/v1/reserve", body, {"Content-Type": "application/json"})
        return b"wait for a standby" in connection.getresponse().read()
    finally:
        connection.close()


def _count(database_url: str, condition: str) -> float:
    async def run(connection: Any) -> float:
        return float(await connection.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}"))

    return with_connection(database_url, run)
