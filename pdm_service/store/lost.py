"""Names that stand in DNS with this service's mark, and of which the database knows nothing: it has lost something.

Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from pdm_service import names
from pdm_service.errors import Conflict
from pdm_service.model.tokens import Credentials
from pdm_service.store.database import Database


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A zone of ours, as DNS has it."""

    fqdn: str
    id: UUID
    """Of the allocation that it was made for."""
    pool_domain: str | None
    """None: a customer's domain."""
    addresses: tuple[str, ...]
    ds: tuple[str, ...]


class Lost:
    """What the sweep finds, and what an operator decides about it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def without_allocation(self, zones: Sequence[tuple[str, UUID]]) -> list[tuple[str, UUID]]:
        """Return those zones, a name and the id in its mark each, that no allocation of that id stands behind."""
        rows = await self._database.rows(
            """
            SELECT z.fqdn, z.id FROM unnest($1::text[], $2::uuid[]) AS z (fqdn, id)
              LEFT JOIN allocations a ON a.fqdn = z.fqdn AND a.id = z.id WHERE a.id IS NULL
            """,
            [fqdn for fqdn, _ in zones], [one for _, one in zones],
        )  # fmt: skip
        return [(row["fqdn"], row["id"]) for row in rows]

    async def discard(self, fqdn: str, id_: UUID) -> None:
        """Write into the trail that an operator gives a zone up: from then on it is a leftover, and goes."""
        await self._database.writing.execute(
            """
            INSERT INTO events (fqdn, allocation_id, action, actor)
            SELECT fqdn, id, 'discarded', 'operator' FROM (VALUES ($1, $2::uuid)) AS zone (fqdn, id)
            """,
            fqdn, id_,
        )  # fmt: skip

    async def adopt(
        self, found: Found, owner: str, tenant: str | None, credentials: Credentials, *, instead: bool
    ) -> None:
        """Make an allocation of a zone again, with its id; `instead` ends a reservation of the name.

        Raises Conflict where somebody holds the name, or one above or below it.
        """
        try:
            async with self._database.writing.transaction() as connection:
                if instead:
                    await connection.execute(_END_RESERVATION, found.fqdn)
                row = await connection.fetchrow(
                    _ADOPT, found.fqdn, *names.span(found.fqdn), found.id, found.pool_domain,
                    found.pool_domain and found.fqdn.removesuffix(f".{found.pool_domain}"), owner, tenant,
                    credentials.token_digest, list(found.addresses), list(found.ds),
                )  # fmt: skip
        except asyncpg.ExclusionViolationError:
            raise Conflict(f"a name above or below {found.fqdn} is held") from None
        if row is None:
            raise Conflict(f"{found.fqdn} is held by somebody")


_END_RESERVATION = """
    WITH a AS (DELETE FROM allocations WHERE fqdn = $1 AND state = 'reserved' RETURNING fqdn, id)
    INSERT INTO events (fqdn, allocation_id, action, actor, from_state, outcome)
    SELECT fqdn, id, 'evicted', 'operator', 'reserved', 'the name was somebody else''s before' FROM a
"""
_ADOPT = """
    WITH a AS (
        INSERT INTO allocations (
            fqdn, span, id, mode, proof, pool_domain, subdomain, owner, tenant, token_digest, state, reserved_at,
            committed_at, load_balancer_ips, ds, dns_state, dns_updated_at, due_at)
        VALUES ($1, name_span($2, $3), $4, CASE WHEN $5::text IS NULL THEN 'byo-manual' ELSE 'pool' END,
                CASE WHEN $5::text IS NULL THEN 'txt' END, $5, $6, $7, $8, $9, 'active', now(), now(), $10, $11,
                'pending', now(), now())
        ON CONFLICT (fqdn) DO NOTHING
        RETURNING fqdn, id, tenant)
    INSERT INTO events (fqdn, allocation_id, action, actor, to_state, tenant)
    SELECT fqdn, id, 'adopted', 'operator', 'active', tenant FROM a RETURNING id
"""
