"""Whether the sessions at the database are ours: a pooler may give each transaction another one."""

import secrets
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

SHARED = (
    "PostgreSQL is behind a pooler that gives each transaction another session (PgBouncer's transaction mode), and the"
    " service needs sessions of its own: set session mode for it, or name the server itself in PDM_DATABASE_URL"
)


async def keeps_sessions(database_url: str, seconds: float) -> bool:
    """Return whether a connection keeps its session from one transaction to the next.

    No prepared statement is used, which such a pooler may not know. Raises OSError, TimeoutError, ValueError, asyncpg's
    errors.
    """
    ours = await asyncpg.connect(database_url, timeout=seconds)
    try:
        # A pooler has made a number of its own up.
        if await _holds(ours, f"pg_backend_pid() = {ours.get_server_pid()}", seconds):
            return True
        other = await asyncpg.connect(database_url, timeout=seconds)
        try:
            return await _differ(ours, other, seconds)
        except TimeoutError:
            # The only session was the other's.
            return False
        finally:
            other.terminate()
    finally:
        ours.terminate()


async def _differ(ours: "Connection", other: "Connection", seconds: float) -> bool:
    """Return whether what is set in one session is there afterwards, and is not there in the other."""
    mark = secrets.token_hex(8)
    marked = f"current_setting('pdm.session', true) = '{mark}'"
    await ours.execute(f"SET pdm.session = '{mark}'", timeout=seconds)
    # In a transaction, so that it keeps the session that it has; most poolers give the one that came back last.
    try:
        await other.execute("BEGIN", timeout=seconds)
    except TimeoutError:
        return True  # no session is free, which tells nothing about whose they are
    except (asyncpg.ProtocolViolationError, asyncpg.ConnectionDoesNotExistError):
        # Either there are no transactions at all, or the server is away, which the next one finds out.
        return not await _holds(ours, "true", seconds)
    return not await _holds(other, marked, seconds) and await _holds(ours, marked, seconds)


async def _holds(connection: "Connection", condition: str, seconds: float) -> bool:
    return await connection.execute(f"SELECT 1 WHERE {condition}", timeout=seconds) == "SELECT 1"
