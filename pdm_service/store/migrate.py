"""Bring the database's schema to this release's, one replica at a time."""

import asyncio
from importlib.resources import files

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pdm_service.errors import StoreUnavailable
from pdm_service.store.database import Database

_LOCK = 0x70646D  # "pdm": the advisory lock that replicas starting together queue for
_LOCK_TIMEOUT_SECONDS = 60


async def migrate(database_url: str) -> tuple[str | None, str | None]:
    """Run the pending migrations under an advisory lock; return the revision before and after.

    A schema that is newer than this release is left as it is, so that a replica of the release before can start
    during a rolling update, and a release can be rolled back. Raises what asyncpg raises when the database cannot be
    reached.
    """
    # The DSN is asyncpg's own to read, so that it means the same here as in the store.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(database_url, timeout=10), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
            await connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
            await connection.commit()
            async with asyncio.timeout(_LOCK_TIMEOUT_SECONDS * 10):
                return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def revision(database: Database) -> str | None:
    """Return the schema's revision; raises StoreUnavailable, also where there is no schema."""
    try:
        row = await database.row("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError as error:
        raise StoreUnavailable("the database has no schema yet") from error
    return row["version_num"] if row else None


def head() -> str | None:
    """Return the revision that this release's code is written for."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    before = MigrationContext.configure(connection).get_current_revision()
    if before is not None and before > (head() or ""):
        # The next release has been here. Its schema serves this one as well: it expands, and contracts a release later.
        return before, before
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
    return before, MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.set_main_option("path_separator", "os")
    return config
