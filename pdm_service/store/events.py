"""The audit trail: what happened to a name, and all of it in an order for export.

Events are appended by the statements that make the transitions, in the same transaction, and are never updated.
Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from pdm_service.model.event import ENDS, Event
from pdm_service.store.database import Database

_COLUMNS: LiteralString = """
    id, xid::text::bigint AS xid, at, fqdn, allocation_id, action, actor, tenant, request_id, from_state, to_state,
    outcome
"""
_BATCH = 5000
_ENDS = [str(action) for action in ENDS]


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

    async def ended(self, holdings: Collection[tuple[str, UUID]]) -> set[UUID]:
        """Return which of these holdings, a name and an id each, are known to have ended."""
        rows = await self._database.rows(
            """
            SELECT DISTINCT e.allocation_id FROM unnest($1::text[], $2::uuid[]) AS held (fqdn, id)
              JOIN events e ON e.fqdn = held.fqdn AND e.allocation_id = held.id
             WHERE e.to_state IS NULL AND e.action = ANY($3)
            """,
            [fqdn for fqdn, _ in holdings], [one for _, one in holdings], _ENDS,
        )  # fmt: skip
        return {row["allocation_id"] for row in rows}

    async def ended_all(self, fqdn: str) -> bool:
        """Return whether a name was held, and everything that it was held by is known to have ended."""
        row = await self._database.row(
            """
            SELECT bool_and(ended) AS ended FROM (
                SELECT bool_or(to_state IS NULL AND action = ANY($2)) AS ended FROM events WHERE fqdn = $1
                 GROUP BY allocation_id) AS held
            """,
            fqdn, _ENDS,
        )  # fmt: skip
        return bool(row and row["ended"])

    async def forget(self, older: timedelta) -> int:
        """Delete entries older than that, some at a time; return how many."""
        rows = await self._database.writing.rows(
            "DELETE FROM events WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM events WHERE at < now() - $1::interval LIMIT $2)) RETURNING id",
            older, _BATCH,
        )  # fmt: skip
        return len(rows)
