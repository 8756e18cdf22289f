"""A start: what it does to the schema that it finds, and what it loads for that."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from pdm_service.dev.servers import Postgres
from pdm_service.store import migrate
from tests.service import Service

MIGRATING = {"alembic", "sqlalchemy", "mako"}


def started(new_service: Callable[..., Service]) -> Service:
    """A replica that is ready and tells in its log what it imports."""
    return new_service(PYTHONPROFILEIMPORTTIME="1").start()


def loaded(service: Service) -> set[str]:
    """The packages that a replica has imported since it started."""
    lines = service.log.read_text().splitlines()
    modules = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    return {module.partition(".")[0] for module in modules}


def schema(service: Service) -> tuple[str | None, str | None]:
    """The schema that a replica found, and the one it left."""
    (line,) = (line for line in service.lines() if line["message"] == "schema")
    return line["before"], line["now"]


async def migrated(database_url: str, revision: str) -> None:
    """Bring an empty database to the schema of an earlier release."""
    config = migrate._config()

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()

    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(database_url))
    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


def test_the_newest_migration_is_the_schema_that_the_code_is_written_for() -> None:
    """`HEAD` is a constant, so that a start need not read the migrations: here they are read."""
    assert ScriptDirectory.from_config(migrate._config()).get_current_head() == migrate.HEAD


def test_a_start_on_a_schema_as_it_should_be_loads_nothing_that_migrates(new_service: Callable[..., Service]) -> None:
    """What only migrations need costs a start without one neither time nor memory."""
    service = started(new_service)
    assert schema(service) == (migrate.HEAD, migrate.HEAD)
    assert {"asyncpg", "litestar"} <= loaded(service)
    assert not loaded(service) & MIGRATING


@pytest.mark.parametrize("before", [None, "0003"])
def test_a_start_on_a_schema_that_is_behind_migrates(
    before: str | None, new_service: Callable[..., Service], postgres: Postgres, database_url: str
) -> None:
    """The first start of all, and the first one of a release, bring the schema to that of the release."""
    database = database_url.rpartition("/")[2]
    postgres.drop_database(database)
    postgres.create_database(database)
    if before is not None:
        asyncio.run(migrated(database_url, before))
    service = started(new_service)
    assert schema(service) == (before, migrate.HEAD)
    assert loaded(service) >= MIGRATING
    assert service.reserve("behind").status_code == 201


def test_a_start_on_a_newer_schema_serves_and_leaves_it(new_service: Callable[..., Service]) -> None:
    """A replica of the release before starts during a rolling update, and after a rollback."""
    service = new_service(PYTHONPROFILEIMPORTTIME="1")
    service.execute("UPDATE alembic_version SET version_num = '9999'")
    service.start()
    assert schema(service) == ("9999", "9999")
    assert not loaded(service) & MIGRATING
    assert service.reserve("newer").status_code == 201
