"""The publisher's side of the store: which rows are due, who works on them, what came of it.

A row is worked on under a lease with a deadline, and an outcome is recorded only for the
generation that it was leased with: what changed in the meantime is due again.

Its database may acknowledge before it is on disk (synchronous_commit off): what a crash forgets here
is an observation, and is observed again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
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

_HELD = timedelta(seconds=15)
"""How long a name is nobody's after a call was given up: longer than a server that is well takes to carry it out."""
_WATCHED = timedelta(seconds=305)
"""How long such a name is looked at."""
_SOON, _AGAIN = timedelta(seconds=2), timedelta(seconds=10)
"""When it is looked at first, once it has come to rest, and how often then."""
_PARENT_LOCKS = 0x70646D  # "pdm": the first key of the advisory locks on parent zones

# $1 fqdn, $2 generation, $3 lease: the row as it was leased.
_AS_LEASED: LiteralString = "fqdn = $1 AND generation = $2 AND lease_id = $3"


def _next(usual: LiteralString, sooner: LiteralString, watched: LiteralString) -> LiteralString:
    """Return when a published name is looked at again: sooner while a call on it may come late, which is so long."""
    return f"""CASE
        WHEN EXISTS (SELECT FROM late_calls l WHERE l.fqdn = allocations.fqdn AND l.since > now() - {watched}::interval)
        THEN least({usual}::interval, {sooner}::interval) ELSE {usual}::interval END"""


class Zone(msgspec.Struct, frozen=True):
    """A zone with our mark, as PowerDNS lists it."""

    fqdn: str
    id: UUID
    """Of the allocation that it was made for."""
    serial: int


class Parent(msgspec.Struct, frozen=True):
    """What is known of a pool zone."""

    writes: int
    """Changes of our own since it was read whole."""
    serial: int | None
    """Its serial then; None: it has to be read."""

    def unchanged(self, serial: int) -> bool:
        """Return whether a serial is that of a zone that nobody else has changed."""
        return self.serial is not None and serial == self.serial + self.writes


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

    async def lease(self, limit: int, audits: int, suspected: int = 0) -> list[Lease[Allocation]]:
        """Lease at most `limit` due rows, unpublished ones first, and at most `audits` published ones.

        Of those of which a call may come late at most `suspected`.

        Of what another publisher did not finish it is noted that its calls may come late.
        """
        rows = await self._database.writing.rows(
            f"""
            WITH unpublished AS (
                SELECT fqdn, pool_domain, lease_id FROM allocations
                 WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                   AND dns_state IN ('pending', 'removing') AND (not_before IS NULL OR not_before <= now())
                 ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED),
            suspected AS (
                SELECT fqdn, d.pool_domain, lease_id FROM allocations d JOIN late_calls USING (fqdn)
                 WHERE d.due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                   AND dns_state = 'published'
                 ORDER BY d.due_at LIMIT $2 FOR UPDATE OF d SKIP LOCKED),
            published AS (
                SELECT fqdn, pool_domain, lease_id FROM allocations
                 WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                   AND dns_state = 'published'
                 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED),
            chosen AS (
                SELECT * FROM unpublished UNION SELECT * FROM suspected UNION SELECT * FROM published),
            unfinished AS (
                INSERT INTO late_calls AS l (fqdn, pool_domain)
                SELECT fqdn, pool_domain FROM chosen WHERE lease_id IS NOT NULL ORDER BY fqdn
                    ON CONFLICT (fqdn) DO UPDATE SET since = now(), due_at = now()
                RETURNING fqdn),
            a AS (
                UPDATE allocations SET lease_id = gen_random_uuid(), lease_until = now() + $3
                 WHERE fqdn IN (SELECT fqdn FROM chosen)
                RETURNING *)
            SELECT {COLUMNS}, a.lease_id, a.listed_serial, extract(epoch FROM now() - a.due_at)::float8 AS waited,
                   a.fqdn IN (SELECT fqdn FROM late_calls UNION ALL SELECT fqdn FROM unfinished) AS late
              FROM a
            """,
            limit, suspected, self._lease, audits,
        )  # fmt: skip
        return [
            Lease(
                id=row["lease_id"], name=row["fqdn"], row=allocation_of(row), waited_seconds=row["waited"],
                late=row["late"], serial=row["listed_serial"],
            )
            for row in rows
        ]  # fmt: skip

    async def lease_reserved(self, fqdn: str) -> Lease[Allocation] | None:
        """Lease a reservation, None if there is none: nothing of it is published before the lease is given up."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE allocations SET lease_id = gen_random_uuid(), lease_until = now() + $2
                 WHERE fqdn = $1 AND state = 'reserved' AND (lease_until IS NULL OR lease_until < now())
                RETURNING *)
            SELECT {COLUMNS}, a.lease_id FROM a
            """,
            fqdn, self._lease,
        )  # fmt: skip
        return Lease(id=row["lease_id"], name=row["fqdn"], row=allocation_of(row)) if row else None

    # --- calls that may come late ----------------------------------------------------------------

    async def note_late(self, lease: Lease[Allocation]) -> None:
        """Note that a call on a name was given up, and may be carried out yet."""
        await self._database.writing.execute(
            """
            INSERT INTO late_calls (fqdn, pool_domain) VALUES ($1, $2)
                ON CONFLICT (fqdn) DO UPDATE SET since = now(), due_at = now()
            """,
            lease.name, lease.row.pool_domain,
        )  # fmt: skip

    async def late_and_free(self, limit: int) -> list[tuple[str, str | None]]:
        """Return names that are due for a look, and that nobody has in DNS, with their pool domains.

        What a lease finds (a published name, one that is being released) is the publisher's. Also forgets the names
        that have been looked at for long enough.
        """
        rows = await self._database.writing.rows(
            """
            WITH over AS (
                DELETE FROM late_calls l WHERE since < now() - $2::interval
                   AND NOT EXISTS (
                       SELECT FROM allocations a WHERE a.fqdn = l.fqdn AND a.dns_state IN ('pending', 'removing'))),
            due AS (
                SELECT fqdn FROM late_calls l WHERE due_at <= now() AND since >= now() - $2::interval
                   AND NOT EXISTS (SELECT FROM allocations a WHERE a.fqdn = l.fqdn AND a.state <> 'reserved')
                 ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
            UPDATE late_calls SET due_at = now() + $3::interval WHERE fqdn IN (SELECT fqdn FROM due)
            RETURNING fqdn, pool_domain
            """,
            limit, _WATCHED, _AGAIN,
        )  # fmt: skip
        return [(row["fqdn"], row["pool_domain"]) for row in rows]

    async def record_published(
        self, lease: Lease[Allocation], ds: Sequence[str], look_again: timedelta, outcome: str
    ) -> bool:
        """Record that DNS has the name; False if the wanted state changed meanwhile."""
        return await self._record(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET dns_state = 'published', ds = $4, dns_error = NULL, dns_updated_at = now(), attempts = 0,
                       due_at = now() + {_next("$5", "$7", "$8")}, lease_id = NULL, lease_until = NULL
                 WHERE {_AS_LEASED} AND state = 'active'
                RETURNING fqdn, id),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
                SELECT fqdn, id, 'published', 'publisher', 'active', 'active', $6 FROM a)
            SELECT pg_notify('{OUTCOME_CHANNEL}', fqdn) FROM a
            """,
            lease, list(ds), look_again, outcome, _SOON, _WATCHED,
        )  # fmt: skip

    async def record_removed(self, lease: Lease[Allocation]) -> str | None:
        """Forget a name that DNS has no more, and return `removed`: it is free.

        `held` where a call may still be carried out: it is looked at again before. None if the wanted state changed
        meanwhile.
        """
        row = await self._database.writing.row(
            f"""
            WITH held AS (
                UPDATE allocations
                   SET due_at = now() + $6::interval, attempts = 0, lease_id = NULL, lease_until = NULL,
                       dns_error = 'a call of PowerDNS that was given up may still be carried out'
                 WHERE {_AS_LEASED} AND state = 'releasing'
                   AND EXISTS (SELECT FROM late_calls l WHERE l.fqdn = $1 AND l.since > now() - $5::interval)
                RETURNING fqdn),
            a AS (
                DELETE FROM allocations
                 WHERE {_AS_LEASED} AND state = 'releasing'
                   AND NOT EXISTS (SELECT FROM late_calls l WHERE l.fqdn = $1 AND l.since > now() - $5::interval)
                RETURNING *),
            kept AS (
                INSERT INTO quarantine (fqdn, pool_domain, subdomain, owner, tenant, until)
                SELECT fqdn, pool_domain, subdomain, owner, tenant, now() + $4::interval FROM a
                 WHERE mode = 'pool' AND committed_at IS NOT NULL AND $4::interval > interval '0'
                    ON CONFLICT (fqdn) DO UPDATE
                   SET owner = EXCLUDED.owner, tenant = EXCLUDED.tenant, since = now(), until = EXCLUDED.until),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state)
                SELECT fqdn, id, 'removed', 'publisher', 'releasing' FROM a)
            SELECT 'removed' AS outcome, pg_notify('{OUTCOME_CHANNEL}', fqdn) FROM a
            UNION ALL SELECT 'held', NULL FROM held
            """,
            lease.name, lease.row.generation, lease.id, self._quarantine, _HELD, _SOON,
        )  # fmt: skip
        return row["outcome"] if row else None

    async def record_unchanged(self, lease: Lease[Allocation], look_again: timedelta) -> bool:
        """Record that an audit found DNS as wanted, up to the serial that the lease was given for."""
        return await self._record(
            f"""
            UPDATE allocations
               SET serial = coalesce($7, serial), due_at = now() + {_next("$4", "$5", "$6")}, dns_error = NULL,
                   attempts = 0, lease_id = NULL, lease_until = NULL
             WHERE {_AS_LEASED} RETURNING fqdn
            """,
            lease, look_again, _AGAIN, _WATCHED, lease.serial,
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

    async def tell(self, problem: str) -> None:
        """Have the caller of each name that has been waiting for some seconds read why."""
        await self._database.writing.execute(
            """
            UPDATE allocations SET dns_error = $1
             WHERE dns_state IN ('pending', 'removing') AND dns_error IS NULL AND lease_id IS NULL
               AND due_at < now() - interval '2 seconds' AND (not_before IS NULL OR not_before <= now())
            """,
            problem,
        )

    async def condemn(self, fqdn: str, pool_domain: str | None) -> bool:
        """Have a name taken out of DNS that nobody holds, and let nobody have it before.

        False if somebody holds it, or a name above or below it. It becomes an allocation that is being
        released, of no holder: no token has an empty digest.
        """
        try:
            return await self._condemn(fqdn, pool_domain)
        except asyncpg.ExclusionViolationError:
            return False

    async def _condemn(self, fqdn: str, pool_domain: str | None) -> bool:
        row = await self._database.writing.row(
            """
            WITH a AS (
                INSERT INTO allocations (
                    fqdn, span, mode, proof, pool_domain, subdomain, state, reserved_at, token_digest,
                    dns_state, dns_updated_at, due_at)
                VALUES ($1, name_span($2, $3), CASE WHEN $4::text IS NULL THEN 'byo-manual' ELSE 'pool' END,
                        CASE WHEN $4::text IS NULL THEN 'transition' END, $4, $5, 'releasing', now(), '',
                        'removing', now(), now())
                ON CONFLICT (fqdn) DO NOTHING
                RETURNING fqdn, id),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, to_state)
                SELECT fqdn, id, 'condemned', 'publisher', 'releasing' FROM a)
            SELECT fqdn FROM a
            """,
            fqdn, *names.span(fqdn), pool_domain, pool_domain and fqdn.removesuffix(f".{pool_domain}"),
        )  # fmt: skip
        return row is not None

    # --- what PowerDNS lists ---------------------------------------------------------------------

    async def changed(self, zones: Sequence[Zone]) -> int:
        """Have those published names looked at whose zones have another serial than at the last look; return how many.

        What was published long ago, and was never listed, counts as looked at.
        """
        rows = await self._database.writing.rows(
            """
            WITH listed AS (
                SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS zone (fqdn, id, serial)),
            old AS (
                UPDATE allocations a SET serial = listed.serial FROM listed
                 WHERE a.fqdn = listed.fqdn AND a.id = listed.id AND a.serial IS NULL AND a.dns_state = 'published'
                   AND a.dns_updated_at < now() - interval '1 day' RETURNING a.fqdn)
            UPDATE allocations a SET due_at = least(a.due_at, now()), listed_serial = listed.serial FROM listed
             WHERE a.fqdn = listed.fqdn AND a.id = listed.id AND a.dns_state = 'published'
               AND a.serial IS DISTINCT FROM listed.serial AND a.listed_serial IS DISTINCT FROM listed.serial
               AND (a.serial IS NOT NULL OR a.dns_updated_at >= now() - interval '1 day')
            RETURNING a.fqdn
            """,
            [zone.fqdn for zone in zones], [zone.id for zone in zones], [zone.serial for zone in zones],
        )  # fmt: skip
        return len(rows)

    async def published(self, after: str, before: datetime, limit: int, pool_domain: str | None = None) -> list[str]:
        """Return at most `limit` names behind `after`, in order, that were published before that moment."""
        rows = await self._database.rows(
            """
            SELECT fqdn FROM allocations
             WHERE fqdn > $1 AND dns_state = 'published' AND dns_updated_at < $2
               AND ($4::text IS NULL OR pool_domain = $4)
             ORDER BY fqdn LIMIT $3
            """,
            after, before, limit, pool_domain,
        )  # fmt: skip
        return [row["fqdn"] for row in rows]

    async def look_at(self, fqdns: Sequence[str]) -> None:
        """Have published names looked at now."""
        await self._database.writing.execute(
            "UPDATE allocations SET due_at = now() WHERE fqdn = ANY($1) AND dns_state = 'published'", list(fqdns)
        )

    async def now(self) -> datetime:
        """Return the database's time."""
        (row,) = await self._database.rows("SELECT now() AS now")
        now: datetime = row["now"]
        return now

    async def note_write(self, pool_domain: str) -> None:
        """Count a change of a pool zone that is about to be made."""
        await self._database.writing.execute(
            """
            INSERT INTO parent_zones AS p (pool_domain, writes) VALUES ($1, 1)
                ON CONFLICT (pool_domain) DO UPDATE SET writes = p.writes + 1
            """,
            pool_domain,
        )

    async def record_read(self, pool_domain: str, serial: int, writes: int) -> None:
        """Record that a pool zone was read whole, at a serial that had so many changes of our own."""
        await self._database.writing.execute(
            """
            INSERT INTO parent_zones AS p (pool_domain, serial, read_at) VALUES ($1, $2, now())
                ON CONFLICT (pool_domain) DO UPDATE SET serial = $2, read_at = now(), writes = p.writes - $3
            """,
            pool_domain, serial, writes,
        )  # fmt: skip

    async def delegated(self, fqdns: Sequence[str]) -> dict[str, tuple[int, frozenset[str]] | None]:
        """Return generation and DS of those names that are published; None where DNS is being changed."""
        rows = await self._database.rows(
            """
            SELECT fqdn, generation, ds, dns_state = 'published' AS settled
              FROM allocations WHERE fqdn = ANY($1) AND dns_state <> 'none'
            """,
            list(fqdns),
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

    async def known(self, pool_domain: str, read_within: timedelta) -> Parent:
        """Return what is known of the zone; one that was not read within that time has to be."""
        row = await self._connection.fetchrow(
            "SELECT writes, CASE WHEN read_at > clock_timestamp() - $2::interval THEN serial END AS serial"
            "  FROM parent_zones WHERE pool_domain = $1",
            pool_domain, read_within,
        )  # fmt: skip
        return Parent(row["writes"], row["serial"]) if row else Parent(0, None)

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
