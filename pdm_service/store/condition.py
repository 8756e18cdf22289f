"""The condition of a database, for an examination of a deployment; reads only."""

import asyncpg
import msgspec

from pdm_service.store.migrate import DatabaseAway


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What a database is like."""

    major: int
    minor: int
    """PostgreSQL's version."""
    replica: bool
    """Whether it is read-only, following a primary."""
    max_connections: int
    revision: str | None
    """Of the schema, None if there is none."""


async def examined(database_url: str, seconds: float) -> Condition:
    """Return the condition of a database, asked with one connection; raises DatabaseAway."""
    try:
        connection = await asyncpg.connect(database_url, timeout=seconds)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(type(error).__name__) from error
    try:
        version = connection.get_server_version()
        replica = await connection.fetchval("SELECT pg_is_in_recovery()")
        most = int(await connection.fetchval("SHOW max_connections"))
        try:
            revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        except asyncpg.UndefinedTableError:
            revision = None
    finally:
        await connection.close()
    return Condition(
        major=version.major, minor=version.minor, replica=replica, max_connections=most, revision=revision
    )  # fmt: skip
