"""Names held declaratively: the statements behind PUT. Who declared a name is its client and its tenant.

Each is one statement that makes the transition and appends to the audit trail, or changes nothing. Raises
StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from typing import LiteralString
from uuid import UUID

import asyncpg
import msgspec

from pdm_service import deadline, names
from pdm_service.callers import Actor
from pdm_service.errors import OverlapsAllocation
from pdm_service.model.allocation import Allocation
from pdm_service.model.standing import Question
from pdm_service.store.allocations import Allocations
from pdm_service.store.availability import QUARANTINED, Availability
from pdm_service.store.database import DEADLINE_SECONDS, Database
from pdm_service.store.rows import COLUMNS, WORK_CHANNEL, allocation_of


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a name should be."""

    fqdn: str
    pool_domain: str
    subdomain: str
    tenant: str
    """The `owner` of the resource."""
    created_by: str | None
    sovereign_fqdn: str | None
    addresses: tuple[str, ...]
    """None yet: the name is reserved."""


class Declarations:
    """Transitions of names held declaratively."""

    def __init__(self, database: Database, allocations: Allocations, availability: Availability) -> None:
        self._database = database
        self._allocations = allocations
        self._availability = availability

    async def make(self, new: Declaration, actor: Actor) -> Allocation | None:
        """Hold a name, published if it has addresses; None if somebody has it, or had it until recently.

        Raises OverlapsAllocation, QuotaExceeded; Conflict for what is easily mistaken for somebody else's.
        """
        try:
            return await self._make(new, actor)
        except asyncpg.ExclusionViolationError:
            if not await self._allocations.forget_expired(*names.span(new.fqdn)):
                raise OverlapsAllocation(f"{new.fqdn} lies above or below a name that somebody else holds") from None
            return await self._make(new, actor)

    async def _make(self, new: Declaration, actor: Actor) -> Allocation | None:
        values = (
            new.fqdn, *names.span(new.fqdn), new.pool_domain, new.subdomain, new.created_by, actor.name,
            new.tenant, new.sovereign_fqdn, list(new.addresses), actor.request_id,
        )  # fmt: skip
        if not self._availability.counts(actor):
            return self._written(await self._database.writing.row(_MAKE, *values))
        # Several statements: what PostgreSQL takes too long for is refused while a refusal still comes in time.
        async with self._database.writing.transaction(
            deadline.left(DEADLINE_SECONDS, of=deadline.REFUSE_SECONDS)
        ) as connection:
            question = Question(new.fqdn, new.pool_domain, new.subdomain, actor.name, new.tenant)
            await self._availability.require_room(connection, question, actor)
            row = await connection.fetchrow(_MAKE, *values)
        return self._written(row)

    async def change(self, declared: UUID, new: Declaration, actor: Actor) -> Allocation | None:
        """Change what a declared name should be; None if it is that already, or is not there to be changed."""
        row = await self._database.writing.row(
            _CHANGE, declared, new.created_by, new.sovereign_fqdn, list(new.addresses), actor.name, actor.request_id
        )
        return self._written(row)

    def _written(self, row: asyncpg.Record | None) -> Allocation | None:
        if row is None:
            return None
        self._availability.changed(row["fqdn"])
        return allocation_of(row)


_MAKE: LiteralString = f"""
    WITH new AS (
        SELECT $1::text AS fqdn, $7::text AS owner, $8::text AS tenant, $10::text[] AS addresses,
               cardinality($10::text[]) > 0 AS active),
    a AS (
        INSERT INTO allocations AS held (
            fqdn, span, mode, pool_domain, subdomain, created_by, reserved_at, token_digest, owner, tenant, declared,
            sovereign_fqdn, load_balancer_ips, state, committed_at, dns_state, dns_updated_at, due_at)
        SELECT fqdn, name_span($2, $3), 'pool', $4, $5, $6, now(), '', owner, tenant, true,
               $9, addresses, CASE WHEN active THEN 'active' ELSE 'reserved' END, CASE WHEN active THEN now() END,
               CASE WHEN active THEN 'pending' ELSE 'none' END, CASE WHEN active THEN now() END,
               CASE WHEN active THEN now() END
          FROM new
         WHERE NOT EXISTS (SELECT FROM quarantine q WHERE q.fqdn = new.fqdn AND {QUARANTINED})
        ON CONFLICT (fqdn) DO UPDATE
           SET id = gen_random_uuid(), generation = nextval('allocation_generation'),
               mode = EXCLUDED.mode, pool_domain = EXCLUDED.pool_domain, subdomain = EXCLUDED.subdomain,
               created_by = EXCLUDED.created_by, reserved_at = EXCLUDED.reserved_at, expires_at = NULL,
               token_digest = EXCLUDED.token_digest, token_nonce = NULL, idempotency_digest = NULL,
               request_digest = NULL, owner = EXCLUDED.owner, tenant = EXCLUDED.tenant, declared = true,
               sovereign_fqdn = EXCLUDED.sovereign_fqdn, load_balancer_ips = EXCLUDED.load_balancer_ips,
               state = EXCLUDED.state, committed_at = EXCLUDED.committed_at, dns_state = EXCLUDED.dns_state,
               dns_updated_at = EXCLUDED.dns_updated_at, due_at = EXCLUDED.due_at
         WHERE held.state = 'reserved' AND held.expires_at <= now()
        RETURNING *),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, tenant)
        SELECT fqdn, id, 'reserved', owner, $11, NULL, 'reserved', tenant FROM a
        UNION ALL
        SELECT fqdn, id, 'committed', owner, $11, 'reserved', 'active', tenant FROM a WHERE state = 'active')
    SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
"""
_CHANGE: LiteralString = f"""
    WITH b AS (
        SELECT id, state AS before, load_balancer_ips IS DISTINCT FROM $4::text[] AS moves
          FROM allocations WHERE id = $1 AND declared FOR UPDATE),
    a AS (
        UPDATE allocations AS held
           SET created_by = $2, sovereign_fqdn = $3, load_balancer_ips = $4,
               state = CASE WHEN moves THEN 'active' ELSE state END,
               committed_at = CASE WHEN moves THEN coalesce(committed_at, now()) ELSE committed_at END,
               generation = CASE WHEN moves THEN nextval('allocation_generation') ELSE generation END,
               dns_state = CASE WHEN moves THEN 'pending' ELSE dns_state END,
               dns_updated_at = CASE WHEN moves THEN now() ELSE dns_updated_at END,
               dns_error = CASE WHEN moves THEN NULL ELSE dns_error END,
               attempts = CASE WHEN moves THEN 0 ELSE attempts END,
               due_at = CASE WHEN moves THEN now() ELSE due_at END
          FROM b
         WHERE held.id = b.id AND held.state IN ('reserved', 'active')
           AND (moves OR (created_by, sovereign_fqdn) IS DISTINCT FROM ($2, $3))
           AND NOT (held.state = 'active' AND cardinality($4::text[]) = 0)
        RETURNING held.*, before, moves),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
        SELECT fqdn, id, CASE WHEN before = 'reserved' AND moves THEN 'committed' ELSE 'changed' END, $5, $6,
               before, state, CASE WHEN moves THEN 'other addresses' END
          FROM a)
    SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
"""
