"""The condition of a database, for an examination of a deployment; reads only."""

from typing import LiteralString

import asyncpg
import msgspec

from pdm_service.store import pooler
from pdm_service.store.migrate import DatabaseAway, SessionsShared

# Who may not read statistics sees how many follow, and no more.
# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW
_CONDITION: LiteralString = """
    SELECT pg_is_in_recovery() AS replica, current_setting('max_connections')::int AS max_connections,
           (SELECT count(*) FROM pg_stat_replication) AS standbys,
           current_setting('synchronous_standby_names') <> ''
               AND current_setting('synchronous_commit') NOT IN ('off', 'local') AS waits
"""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What a database is like."""

    major: int
    minor: int
    """PostgreSQL's version."""
    replica: bool
    """Whether it is read-only, following a primary."""
    standbys: int
    """How many follow it at the moment."""
    waits: bool
    """Whether commits wait for standbys."""
    max_connections: int
    revision: str | None
    """Of the schema, None if there is none."""


async def examined(database_url: str, seconds: float) -> Condition:
    """Return the condition of a database; raises DatabaseAway, SessionsShared."""
    try:
        if not await pooler.keeps_sessions(database_url, seconds):
            raise SessionsShared(pooler.SHARED)
        connection = await asyncpg.connect(database_url, timeout=seconds)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(type(error).__name__) from error
    try:
        version = connection.get_server_version()
        (row,) = await connection.fetch(_CONDITION)
        try:
            revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        except asyncpg.UndefinedTableError:
            revision = None
    finally:
        await connection.close()
    return Condition(major=version.major, minor=version.minor, revision=revision, **dict(row))
