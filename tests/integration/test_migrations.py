"""The schema: made by many at once, and in step with the code."""

import asyncio
import re
import subprocess
import uuid
from collections.abc import Iterator
from typing import get_args
from urllib.parse import urlsplit

import asyncpg
import pytest

from pdm_service.dev.process import start_child
from pdm_service.dev.servers import Postgres
from pdm_service.model.allocation import Allocation, Dns, DnsState, Mode, Needs, Proof, State
from pdm_service.model.tokens import Credentials
from pdm_service.store import migrate, pool_registrations, registrar_changes
from tests.patience import patient
from tests.service import PDM

REPLICAS = 4


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    """A database without a schema."""
    name = f"pdm_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    yield postgres.dsn(name)
    postgres.drop_database(name)


def test_migrate_by_many_at_once_runs_each_step_once(empty: str) -> None:
    """Replicas that start together on an empty database queue for the lock, and all find the schema."""
    environment = {
        "PDM_DATABASE_URL": empty,
        "PDM_PDNS_BASE_URL": "http://127.0.0.1:9",
        "PDM_PDNS_API_KEY": "k",
    }
    started = [start_child([PDM, "migrate"], env=environment, stderr=subprocess.PIPE) for _ in range(REPLICAS)]
    logs = [process.communicate(timeout=patient(60))[1].decode() for process in started]
    assert [process.returncode for process in started] == [0] * REPLICAS, logs
    assert sum('"before":null' in log for log in logs) == 1
    assert asyncio.run(migrate.migrate(empty)) == (migrate.HEAD, migrate.HEAD)


async def test_a_refusal_is_told_in_one_line(empty: str) -> None:
    """A user who may make no tables gets PostgreSQL's reason, without a traceback and without a password."""
    user, password = f"poor_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    owner = await asyncpg.connect(empty)
    await owner.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = urlsplit(empty)
    environment = {
        "PDM_DATABASE_URL": url._replace(netloc=f"{user}:{password}@{url.hostname}:{url.port}").geturl(),
        "PDM_PDNS_BASE_URL": "http://127.0.0.1:9",
        "PDM_PDNS_API_KEY": "k",
    }
    refused = await asyncio.create_subprocess_exec(PDM, "migrate", env=environment, stderr=subprocess.PIPE)
    async with asyncio.timeout(patient(30)):
        _, said = await refused.communicate()
    await owner.execute(f"DROP ROLE {user}")
    await owner.close()
    assert (refused.returncode, said.decode()) == (1, "the database refuses: permission denied for schema public\n")


async def test_a_migration_that_loses_its_connection_may_be_tried_again(empty: str) -> None:
    """A database that goes away amid a migration is one that cannot be reached, not a defect."""
    holder = await asyncpg.connect(empty)
    await holder.execute("SELECT pg_advisory_lock($1)", migrate._LOCK)
    migrating = asyncio.create_task(migrate.migrate(empty))
    end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1"
    async with asyncio.timeout(patient(10)):
        while not await holder.fetchval(end, migrate._LOCK):
            assert not migrating.done()
            await asyncio.sleep(0.01)
    with pytest.raises(migrate.DatabaseAway):
        await migrating
    await holder.close()


async def test_migrate_waits_for_another_replicas_lock(empty: str) -> None:
    """While one replica migrates another one touches nothing."""
    holder = await asyncpg.connect(empty)
    await holder.execute("SELECT pg_advisory_lock($1)", migrate._LOCK)
    migrating = asyncio.create_task(migrate.migrate(empty))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1"
    async with asyncio.timeout(10):
        while not await holder.fetchval(waiting, migrate._LOCK):
            assert not migrating.done()
            await asyncio.sleep(0.01)
    assert await holder.fetchval("SELECT to_regclass('allocations')") is None
    await holder.close()
    assert await migrating == (None, migrate.HEAD)


async def test_the_schema_knows_the_same_words_as_the_code(database_url: str) -> None:
    """States and modes of the CHECKs are those of the enumerations; columns are the fields of an allocation."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT conname, pg_get_constraintdef(oid) AS text FROM pg_constraint")
    checks = {row["conname"]: set(re.findall(r"'([a-z-]+)'::text", row["text"])) for row in rows}
    columns = {
        row["column_name"]
        for row in await connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'allocations'"
        )
    }
    await connection.close()
    assert checks["allocations_state"] == {state.value for state in State}
    assert checks["allocations_mode"] == {mode.value for mode in Mode}
    assert checks["allocations_dns"] == {state.value for state in (*State, *DnsState)}
    assert checks["allocations_proof"] == {proof.value for proof in Proof} | {"pool"}
    assert checks["allocations_needs"] == {needs.value for needs in Needs} - {"proof"}
    grouped = {
        *Credentials.__struct_fields__,
        *Dns.__struct_fields__,
        *(f"dns_{name}" for name in Dns.__struct_fields__),
    }
    assert columns - set(Allocation.__struct_fields__) - grouped == {
        "span",
        "skeleton",
        "due_at",
        "lease_id",
        "lease_until",
        "serial",
        "listed_serial",
    }


async def test_the_schema_knows_the_same_words_as_the_types(database_url: str) -> None:
    """Words of the other tables' CHECKs are those of the types that their rows become."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT conname, pg_get_constraintdef(oid) AS text FROM pg_constraint")
    await connection.close()
    checks = {row["conname"]: set(re.findall(r"'([a-z-]+)'::text", row["text"])) for row in rows}
    assert checks["claims_mode_check"] == {mode.value for mode in Mode} - {"pool"}
    assert checks["claims_proof_check"] == {proof.value for proof in Proof}
    assert checks["pool_registrations_state"] == set(get_args(pool_registrations.State))
    assert checks["registrar_changes_kind_check"] == set(get_args(registrar_changes.Kind))
    assert checks["registrar_changes_outcome_check"] == set(get_args(registrar_changes.Result))


def test_serve_with_faults_in_its_settings_names_each_and_exits_2() -> None:
    """A wrong or missing setting stops the start with a line that names it."""
    ended = subprocess.run(
        [PDM, "serve"],
        env={"PORT": "x", "PDM_PDNS_API_KEY": "k"},
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert ended.returncode == 2
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == [
        "PORT",
        "PDM_DATABASE_URL",
        "PDM_PDNS_BASE_URL",
    ]
