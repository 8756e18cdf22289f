"""The audit trail: what happened to a name, and all of it in an order for export.

Events are appended by the statements that make the transitions, in the same transaction, and are never updated.
Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from datetime import datetime, timedelta
from typing import LiteralString

from pdm_service.model.event import Event
from pdm_service.store.database import Database

_COLUMNS: LiteralString = """
    id, xid::text::bigint AS xid, at, fqdn, allocation_id, action, actor, tenant, request_id, from_state, to_state,
    outcome
"""
_BATCH = 5000


class Trail:
    """Questions about the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, fqdn: str, only: str | None, after: int, limit: int) -> list[Event]:
        """Return at most `limit` entries of a name behind entry `after`, oldest first.

        With `only`, those of allocations that this client made: a later holder learns nothing of an earlier one.
        """
        rows = await self._database.rows(
            f"""
            SELECT {_COLUMNS} FROM events
             WHERE fqdn = $1 AND id > $2
               AND ($4::text IS NULL OR allocation_id IN (
                    SELECT allocation_id FROM events WHERE fqdn = $1 AND action = 'reserved' AND actor = $4
                    UNION ALL SELECT id FROM allocations WHERE fqdn = $1 AND owner = $4
                    UNION ALL SELECT id FROM claims WHERE fqdn = $1 AND owner = $4))
             ORDER BY id LIMIT $3
            """,
            fqdn, after, limit, only,
        )  # fmt: skip
        return [Event(**row) for row in rows]

    async def export(self, after: tuple[int, int], since: datetime | None, limit: int) -> list[Event]:
        """Return at most `limit` entries of all names behind the place `after` (transaction, entry).

        Only of transactions before which none is still under way: nothing can appear later in front of a place
        that was sent. Raises StoreUnavailable.
        """
        rows = await self._database.rows(
            f"""
            SELECT {_COLUMNS} FROM events
             WHERE (xid, id) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
               AND ($3::timestamptz IS NULL OR at >= $3)
             ORDER BY events.xid, id LIMIT $4
            """,
            str(after[0]), after[1], since, limit,
        )  # fmt: skip
        return [Event(**row) for row in rows]

    async def forget(self, older: timedelta) -> int:
        """Delete entries older than that, some at a time; return how many."""
        rows = await self._database.writing.rows(
            "DELETE FROM events WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM events WHERE at < now() - $1::interval LIMIT $2)) RETURNING id",
            older, _BATCH,
        )  # fmt: skip
        return len(rows)
