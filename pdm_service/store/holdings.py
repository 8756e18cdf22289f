"""What is held: allocations and claims read as one. A claim that becomes an allocation meanwhile is never missed.

Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from typing import LiteralString

from pdm_service.model.allocation import Allocation, Filter
from pdm_service.store.database import Database
from pdm_service.store.rows import CLAIM, COLUMNS, LIVE, holding_of

_ALLOCATIONS: LiteralString = f"""
    SELECT {COLUMNS}, NULL::text AS challenge, NULL::timestamptz AS registered_at, NULL::jsonb AS looked
      FROM allocations a
"""
_CLAIMS: LiteralString = f"SELECT {CLAIM} FROM claims a"

_FILTERED: LiteralString = """
    ($2::text IS NULL OR a.pool_domain = $2) AND ($3::text IS NULL OR a.mode = $3)
    AND ($4::text IS NULL OR a.state = $4) AND ($5::text IS NULL OR a.created_by = $5)
    AND ($8::text IS NULL OR a.owner = $8) AND ($9::text IS NULL OR a.tenant = $9)
"""
_NO_ID, _LAST_ID = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Holdings:
    """Questions about everything that is held; `only` limits an answer to what that client holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_token(self, fqdn: str, token_digest: bytes, only: str | None) -> Allocation | None:
        """Return the allocation or the claim of a token, an expired one included."""
        row = await self._database.row(
            f"""
            {_ALLOCATIONS} WHERE a.fqdn = $1 AND a.token_digest = $2 AND ($3::text IS NULL OR a.owner = $3)
            UNION ALL
            {_CLAIMS} WHERE a.fqdn = $1 AND a.token_digest = $2 AND ($3::text IS NULL OR a.owner = $3)
            """,
            fqdn, token_digest, only,
        )  # fmt: skip
        return holding_of(row) if row else None

    async def of_name(self, fqdn: str, only: str | None) -> list[Allocation]:
        """Return the allocation of a name, an expired reservation included, then its live claims, the oldest first."""
        rows = await self._database.rows(
            f"""
            SELECT * FROM (
                {_ALLOCATIONS} WHERE a.fqdn = $1 AND ($2::text IS NULL OR a.owner = $2)
                UNION ALL
                {_CLAIMS} WHERE a.fqdn = $1 AND {LIVE} AND ($2::text IS NULL OR a.owner = $2)) AS held
             ORDER BY challenge IS NOT NULL, reserved_at, id
            """,
            fqdn, only,
        )  # fmt: skip
        return [holding_of(row) for row in rows]

    async def page(self, wanted: Filter, after: str, limit: int) -> list[Allocation]:
        """Return at most `limit` live allocations and claims behind a place (`Allocation.place`, or a name)."""
        fqdn, _, identity = after.partition(" ")
        last = identity or (_NO_ID if not fqdn else _LAST_ID)
        rows = await self._database.rows(
            f"""
            SELECT * FROM (
                ({_ALLOCATIONS}
                  WHERE a.fqdn >= $1 AND (a.fqdn, a.id) > ($1, $7::text::uuid) AND {LIVE} AND {_FILTERED}
                  ORDER BY a.fqdn, a.id LIMIT $6)
                UNION ALL
                (SELECT {CLAIM} FROM (SELECT *, NULL::text AS pool_domain, 'reserved' AS state FROM claims) a
                  WHERE (a.fqdn, a.id) > ($1, $7::text::uuid) AND {LIVE} AND {_FILTERED}
                  ORDER BY a.fqdn, a.id LIMIT $6)) AS held
             ORDER BY fqdn, id LIMIT $6
            """,
            fqdn, wanted.pool_domain, wanted.mode, wanted.state, wanted.created_by, limit, last,
            wanted.owner, wanted.tenant,
        )  # fmt: skip
        return [holding_of(row) for row in rows]

    async def census(self) -> dict[tuple[str, str], int]:
        """Return how many allocations and claims there are, by pool domain (or "byo") and state."""
        rows = await self._database.rows(
            """
            SELECT coalesce(pool_domain, 'byo'), state, count(*) FROM allocations
             WHERE expires_at IS NULL OR expires_at > now() GROUP BY 1, 2
            UNION ALL
            SELECT 'byo', 'reserved', count(*) FROM claims WHERE expires_at > now() HAVING count(*) > 0
            """
        )
        return {(pool, state): count for pool, state, count in rows}
