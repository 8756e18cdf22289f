"""Whether PostgreSQL takes writes: found out by one, which changes nothing."""

import asyncio
from contextvars import Context
from time import monotonic
from typing import LiteralString

import asyncpg

from pdm_service.errors import StoreUnavailable
from pdm_service.store.database import Database

_SECONDS = 2.0
_KEPT_SECONDS = 1.0
# A message in the log that nobody reads, but a commit that standbys confirm like any other. No row, so no lock either.
# https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION
_WRITE: LiteralString = """
    SELECT CASE WHEN NOT current_setting('transaction_read_only')::boolean
                THEN pg_logical_emit_message(true, 'pdm', '') END IS NOT NULL
"""


class Writable:
    """Asks by a write, for all who want to know at the same time, and no more often than once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asking: asyncio.Task[str] | None = None
        self._since = 0.0

    async def problem(self) -> str:
        """Return why PostgreSQL takes no writes, "" if it takes them; after 2 s at most, at most 3 s old."""
        if self._asking is None or (self._asking.done() and monotonic() - self._since > _KEPT_SECONDS):
            self._since = monotonic()
            # Of no request: it serves all who ask.
            self._asking = asyncio.get_running_loop().create_task(self._ask(), context=Context())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str:
        try:
            async with self._database.writing.connection(_SECONDS) as connection:
                if not await connection.fetchval(_WRITE):
                    # The statement alone would do nothing, and fail at nothing.
                    raise asyncpg.ReadOnlySQLTransactionError("the database is read-only")
        except StoreUnavailable as error:
            return error.detail
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
            # A provider that has taken the function away: then only requests find it out.
            return ""
        return ""
