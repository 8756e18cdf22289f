"""The publisher's side of the store: which rows are due, who works on them, what came of it.

A row is worked on under a lease with a deadline, and an outcome is recorded only for the
generation that it was leased with: what changed in the meantime is due again.

Its database may acknowledge before it is on disk (synchronous_commit off): what a crash forgets here
is an observation, and is observed again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

import asyncpg
import msgspec

from pdm_service import names
from pdm_service.errors import StoreUnavailable
from pdm_service.model.allocation import Allocation
from pdm_service.store.database import Database
from pdm_service.store.rows import COLUMNS, OUTCOME_CHANNEL, Lease, allocation_of
from pdm_service.store.sessions import Lent

_PARENT_LOCKS = 0x70646D  # "pdm": the first key of the advisory locks on parent zones

# $1 fqdn, $2 generation, $3 lease: the row as it was leased.
_AS_LEASED: LiteralString = "fqdn = $1 AND generation = $2 AND lease_id = $3"


class Backlog(msgspec.Struct, frozen=True):
    """Rows whose DNS is not as wanted, and the age of the oldest."""

    pending: int
    oldest_seconds: float


class Worklist:
    """Rows that are due, leased by at most one publisher each."""

    def __init__(self, database: Database, lease: timedelta, quarantine: timedelta) -> None:
        """`quarantine` is how long a released name is kept for its last holder."""
        self._database = database
        self._lease = lease
        self._quarantine = quarantine

    async def lease(self, limit: int, audits: int) -> list[Lease[Allocation]]:
        """Lease at most `limit` due rows, unpublished ones first, and at most `audits` published ones."""
        rows = await self._database.writing.rows(
            f"""
            WITH unpublished AS (
                SELECT fqdn FROM allocations
                 WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                   AND dns_state IN ('pending', 'removing') AND (not_before IS NULL OR not_before <= now())
                 ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED),
            published AS (
                SELECT fqdn FROM allocations
                 WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                   AND dns_state = 'published'
                 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED),
            a AS (
                UPDATE allocations SET lease_id = gen_random_uuid(), lease_until = now() + $3
                 WHERE fqdn IN (SELECT fqdn FROM unpublished UNION ALL SELECT fqdn FROM published)
                RETURNING *)
            SELECT {COLUMNS}, a.lease_id, extract(epoch FROM now() - a.due_at)::float8 AS waited FROM a
            """,
            limit, audits, self._lease,
        )  # fmt: skip
        return [
            Lease(id=row["lease_id"], name=row["fqdn"], row=allocation_of(row), waited_seconds=row["waited"])
            for row in rows
        ]

    async def record_published(
        self, lease: Lease[Allocation], ds: Sequence[str], look_again: timedelta, outcome: str
    ) -> bool:
        """Record that DNS has the name; False if the wanted state changed meanwhile."""
        return await self._record(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET dns_state = 'published', ds = $4, dns_error = NULL, dns_updated_at = now(), attempts = 0,
                       due_at = now() + $5::interval, lease_id = NULL, lease_until = NULL
                 WHERE {_AS_LEASED} AND state = 'active'
                RETURNING fqdn, id),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
                SELECT fqdn, id, 'published', 'publisher', 'active', 'active', $6 FROM a)
            SELECT pg_notify('{OUTCOME_CHANNEL}', fqdn) FROM a
            """,
            lease, list(ds), look_again, outcome,
        )  # fmt: skip

    async def record_removed(self, lease: Lease[Allocation]) -> bool:
        """Forget a name that DNS has no more: it is free; False if the wanted state changed meanwhile."""
        return await self._record(
            f"""
            WITH a AS (DELETE FROM allocations WHERE {_AS_LEASED} AND state = 'releasing' RETURNING *),
            kept AS (
                INSERT INTO quarantine (fqdn, pool_domain, subdomain, owner, tenant, until)
                SELECT fqdn, pool_domain, subdomain, owner, tenant, now() + $4::interval FROM a
                 WHERE mode = 'pool' AND committed_at IS NOT NULL AND $4::interval > interval '0'
                    ON CONFLICT (fqdn) DO UPDATE
                   SET owner = EXCLUDED.owner, tenant = EXCLUDED.tenant, since = now(), until = EXCLUDED.until),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state)
                SELECT fqdn, id, 'removed', 'publisher', 'releasing' FROM a)
            SELECT pg_notify('{OUTCOME_CHANNEL}', fqdn) FROM a
            """,
            lease, self._quarantine,
        )  # fmt: skip

    async def record_unchanged(self, lease: Lease[Allocation], look_again: timedelta) -> bool:
        """Record that an audit found DNS as wanted."""
        return await self._record(
            f"""
            UPDATE allocations
               SET due_at = now() + $4::interval, dns_error = NULL, attempts = 0, lease_id = NULL, lease_until = NULL
             WHERE {_AS_LEASED} RETURNING fqdn
            """,
            lease, look_again,
        )  # fmt: skip

    async def record_drift(self, lease: Lease[Allocation], what: str) -> bool:
        """Record that DNS differs from what was published, so that its repair is awaited like any change."""
        return await self._record(
            f"""
            WITH a AS (
                UPDATE allocations SET dns_state = 'pending', dns_error = $4, dns_updated_at = now()
                 WHERE {_AS_LEASED} AND dns_state = 'published' RETURNING fqdn, id),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
                SELECT fqdn, id, 'drifted', 'publisher', 'active', 'active', $4 FROM a)
            SELECT fqdn FROM a
            """,
            lease, what,
        )  # fmt: skip

    async def record_failure(self, lease: Lease[Allocation], error: str, retry_in: timedelta) -> bool:
        """Record a failed attempt, in words for the caller, and when to try again."""
        return await self._record(
            f"""
            UPDATE allocations
               SET dns_error = $4, attempts = attempts + 1, due_at = now() + $5::interval,
                   lease_id = NULL, lease_until = NULL
             WHERE {_AS_LEASED} RETURNING fqdn
            """,
            lease, error, retry_in,
        )  # fmt: skip

    async def give_up(self, lease: Lease[Allocation]) -> None:
        """End a lease whose row changed meanwhile, or that is not going to be worked on, at once."""
        await self._database.writing.execute(
            "UPDATE allocations SET lease_id = NULL, lease_until = NULL WHERE fqdn = $1 AND lease_id = $2",
            lease.name, lease.id,
        )  # fmt: skip

    async def hurry(self) -> None:
        """Make all that waits for another try due now: the cause of the delay has gone."""
        await self._database.writing.execute(
            "UPDATE allocations SET due_at = now() WHERE due_at > now() AND dns_state IN ('pending', 'removing')"
        )

    async def suspect(self, fqdn: str, generation: int, what: str) -> bool:
        """Have a published name read and repaired now."""
        row = await self._database.writing.row(
            """
            WITH a AS (
                UPDATE allocations
                   SET dns_state = 'pending', dns_error = $3, dns_updated_at = now(), due_at = now()
                 WHERE fqdn = $1 AND generation = $2 AND dns_state = 'published' AND lease_id IS NULL
                RETURNING fqdn, id),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
                SELECT fqdn, id, 'drifted', 'publisher', 'active', 'active', $3 FROM a)
            SELECT fqdn FROM a
            """,
            fqdn, generation, what,
        )  # fmt: skip
        return row is not None

    async def condemn(self, fqdn: str, pool_domain: str) -> bool:
        """Have a name taken out of DNS that nobody holds, and let nobody have it before.

        False if somebody holds it, or a name above or below it. It becomes an allocation that is being
        released, of no holder: no token has an empty digest.
        """
        try:
            return await self._condemn(fqdn, pool_domain)
        except asyncpg.ExclusionViolationError:
            return False

    async def _condemn(self, fqdn: str, pool_domain: str) -> bool:
        row = await self._database.writing.row(
            """
            WITH a AS (
                INSERT INTO allocations (
                    fqdn, span, mode, pool_domain, subdomain, state, reserved_at, token_digest,
                    dns_state, dns_updated_at, due_at)
                VALUES ($1, name_span($2, $3), 'pool', $4, $5, 'releasing', now(), '', 'removing', now(), now())
                ON CONFLICT (fqdn) DO NOTHING
                RETURNING fqdn, id),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, to_state)
                SELECT fqdn, id, 'condemned', 'publisher', 'releasing' FROM a)
            SELECT fqdn FROM a
            """,
            fqdn, *names.span(fqdn), pool_domain, fqdn.removesuffix(f".{pool_domain}"),
        )  # fmt: skip
        return row is not None

    async def delegated_in(self, pool_domain: str) -> dict[str, tuple[int, frozenset[str]] | None]:
        """Return generation and DS of each published name of a pool domain; None where DNS is being changed."""
        rows = await self._database.rows(
            """
            SELECT fqdn, generation, ds, dns_state = 'published' AS settled
              FROM allocations WHERE pool_domain = $1 AND dns_state <> 'none'
            """,
            pool_domain,
        )
        return {row["fqdn"]: (row["generation"], frozenset(row["ds"])) if row["settled"] else None for row in rows}

    async def backlog(self) -> Backlog:
        """Return how much of DNS is not as wanted, and for how long."""
        row = await self._database.row(
            """
            SELECT count(*) AS pending,
                   coalesce(extract(epoch FROM now() - min(greatest(dns_updated_at, not_before))), 0)::float8
                       AS oldest
              FROM allocations
             WHERE dns_state IN ('pending', 'removing') AND (not_before IS NULL OR not_before <= now())
            """
        )
        return Backlog(row["pending"], row["oldest"]) if row else Backlog(0, 0)

    @asynccontextmanager
    async def writer_of(self, zone: str, seconds: float) -> AsyncIterator["Writer"]:
        """Be the one writer of a parent zone in the whole deployment, for at most `seconds`.

        Raises StoreUnavailable if another writer does not finish. A writer that dies, or hangs
        beyond its time, loses the lock: the server ends its transaction.
        """
        milliseconds = int(seconds * 1000)
        async with self._database.connection(seconds) as connection:
            try:
                # One round trip; a pool domain has no character that would need quoting.
                await connection.execute(
                    f"BEGIN; SET LOCAL lock_timeout = {milliseconds // 2};"
                    f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds + 1000};"
                    f"SELECT pg_advisory_xact_lock({_PARENT_LOCKS}, hashtext('{names.domain(zone)}'))"
                )
                yield Writer(connection)
            except asyncpg.LockNotAvailableError as error:
                msg = f"another replica has been writing {zone} for too long"
                raise StoreUnavailable(msg) from error
            finally:
                if connection.open:
                    async with asyncio.timeout(1):
                        await connection.execute("ROLLBACK")

    async def _record(self, statement: LiteralString, lease: Lease[Allocation], *values: object) -> bool:
        row = await self._database.writing.row(statement, lease.name, lease.row.generation, lease.id, *values)
        return row is not None


class Writer:
    """The one writer of a parent zone, on the connection that holds the lock."""

    def __init__(self, connection: Lent) -> None:
        self._connection = connection

    async def held(self, leases: Sequence[Lease[Allocation]]) -> set[UUID]:
        """Return which of the leases still hold, for the generation they were given for."""
        rows = await self._connection.fetch(
            """
            SELECT l.id FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS l (fqdn, generation, id)
              JOIN allocations a ON a.fqdn = l.fqdn AND a.generation = l.generation
               AND a.lease_id = l.id AND a.lease_until > clock_timestamp()
            """,
            [lease.name for lease in leases],
            [lease.row.generation for lease in leases],
            [lease.id for lease in leases],
        )  # fmt: skip
        return {row["id"] for row in rows}
