"""Allocations: one method per question or transition, and what its refusals mean.

Every transition is one statement that changes the row, appends to the audit trail and wakes who
acts next, or changes nothing. The database's clock judges expiry; its constraints decide who holds
a name. Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import asyncpg
import msgspec

from pdm_service import names
from pdm_service.callers import Actor
from pdm_service.errors import IdempotencyKeyReused, OverlapsAllocation
from pdm_service.model.allocation import Ages, Allocation, Mode
from pdm_service.model.standing import Question
from pdm_service.model.tokens import Credentials
from pdm_service.store.availability import BATCH, QUARANTINED, Availability
from pdm_service.store.batching import Batched
from pdm_service.store.database import Database
from pdm_service.store.rows import COLUMNS, LIVE, WORK_CHANNEL, allocation_of

RESERVE: LiteralString = f"""
    WITH a AS (
        INSERT INTO allocations AS held (
            fqdn, span, mode, pool_domain, subdomain, state, created_by, reserved_at, expires_at,
            token_digest, token_nonce, idempotency_digest, request_digest, owner, tenant)
        SELECT fqdn, name_span(low, high), mode, pool_domain, subdomain, 'reserved', created_by, now(), now() + ttl,
               token_digest, token_nonce, idempotency_digest, request_digest, owner, tenant
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                      $8::interval[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[], $15::text[], $16::text[])
            AS new (fqdn, low, high, mode, pool_domain, subdomain, created_by, ttl,
                    token_digest, token_nonce, idempotency_digest, request_digest, owner, tenant)
         WHERE NOT EXISTS (SELECT FROM quarantine q WHERE q.fqdn = new.fqdn AND {QUARANTINED})
         ORDER BY fqdn  -- two replicas that want the same names wait for each other in one order
        ON CONFLICT (fqdn) DO UPDATE
           SET id = gen_random_uuid(), generation = nextval('allocation_generation'),
               mode = EXCLUDED.mode, pool_domain = EXCLUDED.pool_domain, subdomain = EXCLUDED.subdomain,
               created_by = EXCLUDED.created_by, reserved_at = EXCLUDED.reserved_at,
               expires_at = EXCLUDED.expires_at, token_digest = EXCLUDED.token_digest,
               token_nonce = EXCLUDED.token_nonce, idempotency_digest = EXCLUDED.idempotency_digest,
               request_digest = EXCLUDED.request_digest, owner = EXCLUDED.owner, tenant = EXCLUDED.tenant
         WHERE held.state = 'reserved' AND held.expires_at <= now()
        RETURNING *),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, to_state, tenant)
        SELECT a.fqdn, a.id, 'reserved', by.actor, by.request_id, 'reserved', a.tenant
          FROM a JOIN unnest($1::text[], $13::text[], $14::text[]) AS by (fqdn, actor, request_id) USING (fqdn))
    SELECT {COLUMNS} FROM a
"""
"""Hold names, each for its caller: the one statement behind reserve. Returns the rows of those who won."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What a reserve stores."""

    fqdn: str
    mode: Mode
    pool_domain: str
    subdomain: str
    created_by: str | None
    ttl: timedelta
    credentials: Credentials
    tenant: str | None = None

    def question(self, actor: Actor) -> Question:
        """Return the question whether this client could have the name."""
        return Question(self.fqdn, self.pool_domain, self.subdomain, actor.name, self.tenant)


class Allocations:
    """Questions about allocations, and the transitions that callers ask for."""

    def __init__(self, database: Database, availability: Availability, ages: Ages) -> None:
        self._database = database
        self._availability = availability
        self._ages = ages
        self._reserving: Batched[tuple[Reservation, Actor], Allocation | None] = Batched(self._reserve, BATCH)

    # --- questions -----------------------------------------------------------------------------

    async def find(self, fqdn: str, only: str | None = None) -> Allocation | None:
        """Return the allocation as stored, an expired reservation included; with `only`, if it is that client's."""
        row = await self._database.row(
            f"SELECT {COLUMNS} FROM allocations a WHERE a.fqdn = $1 AND ($2::text IS NULL OR a.owner = $2)", fqdn, only
        )
        return allocation_of(row) if row else None

    async def overlapping(self, domains: Sequence[str]) -> dict[str, str]:
        """Return for each of `domains` a live allocation that it is, or lies below."""
        rows = await self._database.rows(
            f"""
            SELECT d.name, a.fqdn FROM unnest($1::text[], $2::text[], $3::text[]) AS d (name, low, high)
              JOIN allocations a ON a.span @> name_span(d.low, d.high) AND {LIVE}
            """,
            list(domains), *map(list, zip(*map(names.span, domains), strict=True)),
        )  # fmt: skip
        return {row["name"]: row["fqdn"] for row in rows}

    # --- transitions that callers ask for --------------------------------------------------------

    async def reserve(self, new: Reservation, actor: Actor) -> Allocation | None:
        """Hold a name; None if somebody has it. An expired reservation does not stand in the way.

        Raises OverlapsAllocation, IdempotencyKeyReused, QuotaExceeded; Conflict for what is easily mistaken for
        somebody else's.
        """
        if not self._availability.counts(actor):
            return await self._reserving((new, actor))
        (found,) = await self._reserve([(new, actor)])
        if isinstance(found, Exception):
            raise found
        return found

    async def _reserve(self, wanted: Sequence[tuple[Reservation, Actor]]) -> list[Allocation | Exception | None]:
        """Reserve names in one statement; where one of them is refused, one by one."""
        first = {new.fqdn: new for new, _ in reversed(wanted)}
        columns = _columns([(new, by) for new, by in wanted if first[new.fqdn] is new])
        try:
            if self._availability.counts(wanted[0][1]):
                rows = await self._reserve_counted(*wanted[0], columns)
            else:
                rows = await self._database.writing.rows(RESERVE, *columns)
        except (asyncpg.ExclusionViolationError, asyncpg.UniqueViolationError) as error:
            if len(wanted) > 1:
                return [(await self._reserve([one]))[0] for one in wanted]
            return [await self._why_refused(*wanted[0], error)]
        won = {row["fqdn"]: self._written(row) for row in rows}
        return [won.get(new.fqdn) if first[new.fqdn] is new else None for new, _ in wanted]

    async def _reserve_counted(
        self, new: Reservation, actor: Actor, columns: list[list[object]]
    ) -> list[asyncpg.Record]:
        """Reserve a name, unless its client would have more than allowed or it resembles somebody else's.

        What decides is read under locks, which all callers take in the same order.
        """
        async with self._database.writing.transaction() as connection:
            await self._availability.require_room(connection, new.question(actor), actor)
            return await connection.fetch(RESERVE, *columns)

    async def _why_refused(
        self, new: Reservation, actor: Actor, error: asyncpg.PostgresError
    ) -> Allocation | Exception | None:
        found = await self.find(new.fqdn)
        if found and not found.expired:
            return None  # another caller, or the same request at another replica, was faster by a hair
        if isinstance(error, asyncpg.UniqueViolationError):
            return IdempotencyKeyReused(
                "this Idempotency-Key belongs to another request; use a new key for each request"
            )
        if await self.forget_expired(*names.span(new.fqdn)):
            return (await self._reserve([(new, actor)]))[0]
        return OverlapsAllocation(f"{new.fqdn} lies above or below a name that somebody else holds")

    async def forget_expired(self, low: str, high: str) -> bool:
        """Delete expired reservations above and below a name; return whether there were any."""
        row = await self._database.writing.row(
            """
            WITH gone AS (
                DELETE FROM allocations WHERE span && name_span($1, $2) AND expires_at <= now() RETURNING fqdn, id)
            INSERT INTO events (fqdn, allocation_id, action, actor, from_state)
            SELECT fqdn, id, 'expired', 'clock', 'reserved' FROM gone RETURNING fqdn
            """,
            low, high,
        )  # fmt: skip
        return row is not None

    async def renew(self, fqdn: str, token_digest: bytes, ttl: timedelta, actor: Actor) -> Allocation | None:
        """Let a live reservation end `ttl` from now, if later, but at its greatest age; None if not the token's."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET expires_at = greatest(expires_at, least(now() + $3::interval, reserved_at + $7::interval))
                 WHERE fqdn = $1 AND token_digest = $2 AND state = 'reserved' AND expires_at > now()
                   AND ($6::text IS NULL OR owner = $6)
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'renewed', $4, $5, 'reserved', 'reserved' FROM a)
            SELECT {COLUMNS} FROM a
            """,
            fqdn, token_digest, ttl, actor.name, actor.request_id, actor.only, self._ages.reservation,
        )  # fmt: skip
        return self._written(row)

    async def commit(
        self, fqdn: str, token_digest: bytes, addresses: Sequence[str], sovereign_fqdn: str | None, actor: Actor
    ) -> Allocation | None:
        """Make a live reservation active; None if it is not the token's, or is no reservation."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET state = 'active', expires_at = NULL, committed_at = now(), load_balancer_ips = $3,
                       sovereign_fqdn = $4, dns_state = 'pending', dns_updated_at = now(), dns_error = NULL,
                       generation = nextval('allocation_generation'), attempts = 0, due_at = now()
                 WHERE fqdn = $1 AND token_digest = $2 AND state = 'reserved' AND expires_at > now()
                   AND ($7::text IS NULL OR owner = $7)
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'committed', $5, $6, 'reserved', 'active' FROM a)
            SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
            """,
            fqdn, token_digest, addresses, sovereign_fqdn, actor.name, actor.request_id, actor.only,
        )  # fmt: skip
        return self._written(row)

    async def release_reserved(self, held: Allocation, actor: Actor) -> Allocation | None:
        """Delete a live reservation, which has no DNS; None if it is none any more."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                DELETE FROM allocations
                 WHERE fqdn = $1 AND id = $2 AND state = 'reserved' AND (declared OR expires_at > now())
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state)
                SELECT fqdn, id, 'released', $3, $4, 'reserved' FROM a)
            SELECT {COLUMNS} FROM a
            """,
            held.fqdn, held.id, actor.name, actor.request_id,
        )  # fmt: skip
        return self._written(row)

    async def release_active(self, held: Allocation, actor: Actor) -> Allocation | None:
        """Send an active name on its way out of DNS; None if it is not active any more."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET state = 'releasing', dns_state = 'removing', dns_updated_at = now(), dns_error = NULL,
                       generation = nextval('allocation_generation'), attempts = 0, due_at = now()
                 WHERE fqdn = $1 AND id = $2 AND state = 'active'
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'released', $3, $4, 'active', 'releasing' FROM a)
            SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
            """,
            held.fqdn, held.id, actor.name, actor.request_id,
        )  # fmt: skip
        return self._written(row)

    async def release_byo(
        self, allocation: UUID, not_before: datetime | None, *, orphan: bool, actor: Actor
    ) -> Allocation | None:
        """Send a customer's domain on its way out, its zone served until `not_before`; None if it is not active.

        An `orphan` still points here: the next claim on it needs a proof that nobody can wait for.
        """
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET state = 'releasing', dns_state = 'removing', dns_updated_at = now(), dns_error = NULL,
                       needs = NULL, not_before = $2, due_at = greatest(now(), $2),
                       generation = nextval('allocation_generation'), attempts = 0
                 WHERE id = $1 AND state = 'active' AND mode <> 'pool'
                RETURNING *),
            orphaned AS (
                INSERT INTO orphans (fqdn) SELECT fqdn FROM a WHERE $3
                    ON CONFLICT (fqdn) DO UPDATE SET since = now()),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
                SELECT fqdn, id, 'released', $4, $5, 'active', 'releasing', CASE WHEN $3 THEN 'still pointing here' END
                  FROM a)
            SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
            """,
            allocation, not_before, orphan, actor.name, actor.request_id,
        )  # fmt: skip
        return self._written(row)

    async def hasten(self, allocation: UUID) -> Allocation | None:
        """Keep the zone of a domain that is on its way out no longer; None if it is kept no more already."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET not_before = NULL, due_at = now(), generation = nextval('allocation_generation'), attempts = 0
                 WHERE id = $1 AND state = 'releasing' AND not_before IS NOT NULL
                RETURNING *)
            SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
            """,
            allocation,
        )
        return self._written(row)

    async def expire(self, kept: timedelta) -> int:
        """Delete reservations that expired longer than `kept` ago; return how many.

        Holding on for a while lets a late holder hear that it is late, rather than "not found".
        """
        rows = await self._database.writing.rows(
            """
            WITH gone AS (
                DELETE FROM allocations WHERE state = 'reserved' AND expires_at < now() - $1::interval
                RETURNING fqdn, id)
            INSERT INTO events (fqdn, allocation_id, action, actor, from_state)
            SELECT fqdn, id, 'expired', 'clock', 'reserved' FROM gone RETURNING id
            """,
            kept,
        )
        return len(rows)

    def _written(self, row: asyncpg.Record | None) -> Allocation | None:
        """Return what a transition made, None if it was not made; this replica answers nothing older from now on."""
        if row is None:
            return None
        self._availability.changed(row["fqdn"])
        return allocation_of(row)


def _columns(wanted: Sequence[tuple[Reservation, Actor]]) -> list[list[object]]:
    """Return the parameters of RESERVE: a list for each."""
    rows = (
        (
            new.fqdn, *names.span(new.fqdn), new.mode, new.pool_domain, new.subdomain, new.created_by, new.ttl,
            new.credentials.token_digest, new.credentials.token_nonce, new.credentials.idempotency_digest,
            new.credentials.request_digest, by.name, by.request_id,
            by.name, new.tenant,
        )
        for new, by in wanted
    )  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]
