"""Bring the database's schema to this release's, one replica at a time."""

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

from pdm_service.errors import StoreUnavailable
from pdm_service.store import pooler
from pdm_service.store.database import Database
from pdm_service.store.sessions import connect

HEAD = "0008"
"""The newest revision in migrations/versions: the schema that this release's code is written for."""

_LOCK = 0x70646D  # "pdm": the advisory lock that replicas starting together queue for
_LOCK_TIMEOUT_SECONDS = 60
_ASK_SECONDS = 10.0


class DatabaseAway(Exception):
    """The database cannot be reached; its text has no part of the DSN."""


class DatabaseRefuses(Exception):
    """The database answers, and does not let us do this."""


class DsnUnusable(Exception):
    """The driver cannot make sense of the DSN."""


class SessionsShared(Exception):
    """The database is behind a pooler that gives each transaction another session; the text says what to do."""


async def migrate(database_url: str) -> tuple[str | None, str | None]:
    """Run the pending migrations under an advisory lock; return the revision before and after.

    A schema that is newer than this release is left as it is, so that a replica of the release before can start
    during a rolling update, and a release can be rolled back. Raises DatabaseAway, DatabaseRefuses, DsnUnusable,
    SessionsShared.
    """
    try:
        if not await pooler.keeps_sessions(database_url, _ASK_SECONDS):
            raise SessionsShared(pooler.SHARED)
        return await _unless_there(database_url)
    except (asyncpg.TargetServerAttributeNotMatched, asyncpg.ReadOnlySQLTransactionError) as error:
        raise DatabaseAway("it is read-only, or a standby") from error
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise DatabaseAway(type(error).__name__) from error
    except (ValueError, asyncpg.InterfaceError):
        raise DsnUnusable from None  # their texts quote the DSN, password included
    except asyncpg.PostgresError as error:
        raise DatabaseRefuses(str(error.args[0])) from error


async def _unless_there(database_url: str) -> tuple[str | None, str | None]:
    if (found := await _revision(database_url)) is not None and found >= HEAD:
        return found, found
    return await _migrate(database_url)


async def _revision(database_url: str) -> str | None:
    """Return the revision that the database has, None if it has no schema."""
    connection = await connect(database_url, _ASK_SECONDS)
    try:
        found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version", timeout=_ASK_SECONDS)
    except asyncpg.UndefinedTableError:
        return None
    else:
        return found
    finally:
        await connection.close(timeout=_ASK_SECONDS)


async def _migrate(database_url: str) -> tuple[str | None, str | None]:
    # Here and below, not above: nearly every start finds the schema as it should be, and these libraries are
    # a third of the processor time of a start.
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    # The DSN is asyncpg's own to read, so that it means the same here as in the store.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(database_url, _ASK_SECONDS), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
            await connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
            await connection.commit()
            async with asyncio.timeout(_LOCK_TIMEOUT_SECONDS * 10):
                return await connection.run_sync(_upgrade)
    except DBAPIError as error:
        # The driver's own error is what `migrate` tells apart.
        raise (error.orig and error.orig.__cause__) or error from None
    finally:
        await engine.dispose()


async def revision(database: Database) -> str | None:
    """Return the schema's revision; raises StoreUnavailable, also where there is no schema."""
    try:
        row = await database.row("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError as error:
        raise StoreUnavailable("the database has no schema yet") from error
    return row["version_num"] if row else None


def _upgrade(connection: "Connection") -> tuple[str | None, str | None]:
    from alembic import command  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    before = MigrationContext.configure(connection).get_current_revision()
    if before is not None and before > HEAD:
        # The next release has been here. Its schema serves this one as well: it expands, and contracts a release later.
        return before, before
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
    return before, MigrationContext.configure(connection).get_current_revision()


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.set_main_option("path_separator", "os")
    return config
