"""PostgreSQL: one method per question or transition, and what its refusals mean.

Every transition is one statement that changes the row, appends to the audit trail and wakes who
acts next, or changes nothing. The database's clock judges expiry; its constraints decide who holds
a name. Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from pdm_service import names
from pdm_service.callers import Actor
from pdm_service.errors import (
    Conflict,
    IdempotencyKeyReused,
    OverlapsAllocation,
    QuotaExceeded,
    StoreUnavailable,
)
from pdm_service.model.allocation import Allocation, DnsState, Mode, Needs, Proof, State
from pdm_service.model.records import RRset
from pdm_service.names import policy
from pdm_service.names.policy import Confusables
from pdm_service.store import quotas
from pdm_service.store.batching import Together
from pdm_service.store.database import Database

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_TOGETHER = 64
"""How many questions, or reservations, go into one statement at most."""

_SKELETON_LOCKS = 0x70646F
"""The first key of the advisory locks under which names are compared with others that look alike."""

WORK_CHANNEL = "pdm_work"
OUTCOME_CHANNEL = "pdm_outcome"

# `a` is a row of allocations in all statements below.
COLUMNS: LiteralString = """
    a.id, a.fqdn, a.mode, a.pool_domain, a.subdomain, a.state, a.created_by, a.reserved_at, a.expires_at,
    a.committed_at, a.token_digest, a.token_nonce, a.idempotency_digest, a.request_digest, a.sovereign_fqdn,
    a.load_balancer_ips, a.ds, a.dns_state, a.dns_error, a.dns_updated_at, a.generation, a.attempts,
    a.owner, a.tenant, a.declared,
    coalesce(a.expires_at <= now(), false) AS expired,
    a.proof, a.imports, a.announce_ds, a.needs, a.not_before
"""
LIVE: LiteralString = "(a.expires_at IS NULL OR a.expires_at > now())"

# `a` is a row of claims: the columns of an allocation, as far as a claim has them.
CLAIM: LiteralString = """
    a.id, a.fqdn, a.mode, NULL AS pool_domain, NULL AS subdomain, 'reserved' AS state, a.created_by, a.reserved_at,
    a.expires_at, a.committed_at, a.token_digest, a.token_nonce, a.idempotency_digest, a.request_digest,
    a.sovereign_fqdn, a.load_balancer_ips, '{}'::text[] AS ds,
    CASE WHEN a.committed_at IS NULL THEN 'none' ELSE 'pending' END AS dns_state, NULL AS dns_error,
    a.committed_at AS dns_updated_at, 0::bigint AS generation, 0 AS attempts,
    a.owner, a.tenant, false AS declared, a.expires_at <= now() AS expired,
    a.proof, a.imports, false AS announce_ds,
    CASE WHEN a.proof IS NULL THEN 'proof' WHEN a.mode = 'byo-api' THEN 'registrar-token' END AS needs,
    NULL::timestamptz AS not_before, a.challenge
"""

_FILTERED: LiteralString = """
    ($2::text IS NULL OR a.pool_domain = $2) AND ($3::text IS NULL OR a.mode = $3)
    AND ($4::text IS NULL OR a.state = $4) AND ($5::text IS NULL OR a.created_by = $5)
    AND ($8::text IS NULL OR a.owner = $8) AND ($9::text IS NULL OR a.tenant = $9)
"""
NO_ID, LAST_ID = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"

# `q` is a row of quarantine, `new` who wants its name.
QUARANTINED: LiteralString = "q.until > now() AND (q.owner <> new.owner OR q.tenant IS DISTINCT FROM new.tenant)"

# Somebody else has, or had until lately, a name that `new` is easily taken for.
RESEMBLES: LiteralString = f"""
    (EXISTS (SELECT FROM allocations o
              WHERE o.pool_domain = new.pool_domain AND o.skeleton = new.skeleton AND o.fqdn <> new.fqdn
                AND (o.owner <> new.owner OR o.tenant IS DISTINCT FROM new.tenant)
                AND (o.expires_at IS NULL OR o.expires_at > now()))
     OR EXISTS (SELECT FROM quarantine q
                 WHERE q.pool_domain = new.pool_domain AND q.skeleton = new.skeleton AND q.fqdn <> new.fqdn
                   AND {QUARANTINED}))
"""

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
    token_digest: bytes
    token_nonce: bytes | None
    idempotency_digest: bytes | None
    request_digest: bytes
    tenant: str | None = None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which allocations to list; None admits all."""

    pool_domain: str | None = None
    mode: str | None = None
    state: str | None = None
    created_by: str | None = None
    owner: str | None = None
    tenant: str | None = None


class Question(msgspec.Struct, frozen=True):
    """Who asks whether he could have a name."""

    fqdn: str
    pool_domain: str
    subdomain: str
    owner: str
    tenant: str | None


class Standing(msgspec.Struct, frozen=True):
    """What stands in the way of having a name."""

    state: State | None
    """Of a live allocation, None if there is none."""
    quarantined: bool = False
    """Kept for its last holder."""
    resembles: bool = False
    """Easily taken for a name that somebody else holds."""


class Store:
    """What callers ask of PostgreSQL: questions and transitions."""

    def __init__(self, database: Database, confusables: Confusables = "off") -> None:
        self._database = database
        self._confusables = confusables
        self._standing: Together[Question, Standing] = Together(self._ask_standing, _TOGETHER)
        self._reserving: Together[tuple[Reservation, Actor], Allocation | None] = Together(self._reserve, _TOGETHER)

    async def _row(self, statement: LiteralString, *values: object) -> asyncpg.Record | None:
        async with self._database.connection() as connection:
            return await connection.fetchrow(statement, *values)

    async def _rows(self, statement: LiteralString, *values: object) -> list[asyncpg.Record]:
        async with self._database.connection() as connection:
            return await connection.fetch(statement, *values)

    # --- questions -----------------------------------------------------------------------------

    async def find(self, fqdn: str, only: str | None = None) -> Allocation | None:
        """Return the allocation as stored, an expired reservation included; with `only`, if it is that client's."""
        row = await self._row(
            f"SELECT {COLUMNS} FROM allocations a WHERE a.fqdn = $1 AND ($2::text IS NULL OR a.owner = $2)", fqdn, only
        )
        return allocation_of(row) if row else None

    async def standing(self, question: Question) -> Standing:
        """Return what stands in the way of having a name."""
        return await self._standing(question)

    async def _ask_standing(self, questions: Sequence[Question]) -> list[Standing]:
        looks = [policy.skeleton(question.subdomain) for question in questions]
        # A name has its own look: one scan finds it, and all that is easily taken for it.
        rows = await self._rows(
            f"""
            SELECT a.skeleton, a.fqdn, a.state, a.owner, a.tenant FROM allocations a
             WHERE a.skeleton = ANY($1) AND a.pool_domain IS NOT NULL AND {LIVE}
            UNION ALL
            SELECT q.skeleton, q.fqdn, NULL, q.owner, q.tenant FROM quarantine q
             WHERE q.skeleton = ANY($1) AND q.until > now()
            """,
            looks,
        )
        alike: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            alike.setdefault(row[0], []).append(row)
        return [_standing(question, alike.get(look, ())) for question, look in zip(questions, looks, strict=True)]

    async def page(self, wanted: Filter, after: str, limit: int) -> list[Allocation]:
        """Return at most `limit` live allocations and claims that follow the place `after`, by name and id."""
        fqdn, _, identity = after.partition(" ")
        last = identity or (NO_ID if not fqdn else LAST_ID)
        rows = await self._rows(
            f"""
            SELECT * FROM (
                (SELECT {COLUMNS}, NULL::text AS challenge FROM allocations a
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
        return [allocation_of(row) for row in rows]

    async def revision(self) -> str | None:
        """Return the schema's revision; raises StoreUnavailable where there is no schema."""
        try:
            row = await self._row("SELECT version_num FROM alembic_version")
        except asyncpg.UndefinedTableError as error:
            msg = "the database has no schema yet"
            raise StoreUnavailable(msg) from error
        return row["version_num"] if row else None

    async def census(self) -> dict[tuple[str, str], int]:
        """Return how many allocations and claims there are, by pool domain (or "byo") and state."""
        rows = await self._rows(
            """
            SELECT coalesce(pool_domain, 'byo'), state, count(*) FROM allocations
             WHERE expires_at IS NULL OR expires_at > now() GROUP BY 1, 2
            UNION ALL
            SELECT 'byo', 'reserved', count(*) FROM claims WHERE expires_at > now() HAVING count(*) > 0
            """
        )
        return {(pool, state): count for pool, state, count in rows}

    async def overlapping(self, domains: Sequence[str]) -> dict[str, str]:
        """Return for each of `domains` a live allocation that it is, or lies below."""
        rows = await self._rows(
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

        Raises OverlapsAllocation, IdempotencyKeyReused, QuotaExceeded; Conflict for what is easily taken for
        somebody else's.
        """
        if not self._is_counted(actor):
            return await self._reserving((new, actor))
        (found,) = await self._reserve([(new, actor)])
        if isinstance(found, Exception):
            raise found
        return found

    def _is_counted(self, actor: Actor) -> bool:
        """Tell whether what others have, or the caller himself has, decides with the name itself."""
        return actor.quotas.any or actor.tenant_quotas.any or self._confusables == "refuse"

    async def _reserve(self, wanted: Sequence[tuple[Reservation, Actor]]) -> list[Allocation | Exception | None]:
        """Reserve names in one statement; where one of them is refused, one by one."""
        first = {new.fqdn: new for new, _ in reversed(wanted)}
        columns = _columns([(new, by) for new, by in wanted if first[new.fqdn] is new])
        try:
            if self._is_counted(wanted[0][1]):
                rows = await self._reserve_counted(*wanted[0], columns)
            else:
                rows = await self._rows(RESERVE, *columns)
        except (asyncpg.ExclusionViolationError, asyncpg.UniqueViolationError) as error:
            if len(wanted) > 1:
                return [(await self._reserve([one]))[0] for one in wanted]
            return [await self._why_refused(*wanted[0], error)]
        won = {row["fqdn"]: allocation_of(row) for row in rows}
        return [won.get(new.fqdn) if first[new.fqdn] is new else None for new, _ in wanted]

    async def _reserve_counted(
        self, new: Reservation, actor: Actor, columns: list[list[object]]
    ) -> list[asyncpg.Record]:
        """Reserve a name unless that is more than its client may have, or it resembles somebody else's.

        What decides is looked at under locks, of which all take the same in the same order.
        """
        question = Question(new.fqdn, new.pool_domain, new.subdomain, actor.name, new.tenant)
        async with self._database.connection() as connection, connection.transaction():
            await self.require_room(connection, question, actor)
            return await connection.fetch(RESERVE, *columns)

    async def require_room(self, connection: "PoolConnectionProxy", question: Question, actor: Actor) -> None:
        """Raise QuotaExceeded if a client has what it may have, Conflict if a name is easily taken for another's.

        To be called in the transaction that takes the name: until it ends nobody else can take one that matters.
        """
        await count(connection, actor, question.tenant)
        if self._confusables != "refuse":
            return
        alike = f"{policy.skeleton(question.subdomain)}.{question.pool_domain}"
        await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _SKELETON_LOCKS, alike)
        resembles = await connection.fetchval(
            f"""
            SELECT {RESEMBLES} FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                AS new (fqdn, pool_domain, skeleton, owner, tenant)
            """,
            *_asked([question]),
        )
        if resembles:
            raise Conflict(f"{question.fqdn} is easily taken for a name that somebody else holds; choose another")

    async def _why_refused(
        self, new: Reservation, actor: Actor, error: asyncpg.PostgresError
    ) -> Allocation | Exception | None:
        found = await self.find(new.fqdn)
        if found and not found.expired:
            return None  # another caller, or the same request at another replica, was faster by a hair
        if isinstance(error, asyncpg.UniqueViolationError):
            return IdempotencyKeyReused("this Idempotency-Key belongs to another request; use a fresh key for each")
        if await self.forget_expired(*names.span(new.fqdn)):
            return (await self._reserve([(new, actor)]))[0]
        return OverlapsAllocation(f"{new.fqdn} lies above or below a name that somebody else holds")

    async def forget_expired(self, low: str, high: str) -> bool:
        """Delete expired reservations above and below a name; tell whether there were any."""
        row = await self._row(
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
        """Let a live reservation end `ttl` from now, if that is later; None if it is not the token's."""
        row = await self._row(
            f"""
            WITH a AS (
                UPDATE allocations SET expires_at = greatest(expires_at, now() + $3)
                 WHERE fqdn = $1 AND token_digest = $2 AND state = 'reserved' AND expires_at > now()
                   AND ($6::text IS NULL OR owner = $6)
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'renewed', $4, $5, 'reserved', 'reserved' FROM a)
            SELECT {COLUMNS} FROM a
            """,
            fqdn, token_digest, ttl, actor.name, actor.request_id, actor.only,
        )  # fmt: skip
        return allocation_of(row) if row else None

    async def commit(
        self, fqdn: str, token_digest: bytes, addresses: Sequence[str], sovereign_fqdn: str | None, actor: Actor
    ) -> Allocation | None:
        """Make a live reservation active; None if it is not the token's, or is no reservation."""
        row = await self._row(
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
        return allocation_of(row) if row else None

    async def release_reserved(
        self, fqdn: str, token_digest: bytes | None, actor: Actor, declared_for: str | None = None
    ) -> Allocation | None:
        """Delete a live reservation, which has no DNS; None if there is none (of that token or resource, if given)."""
        row = await self._row(
            f"""
            WITH a AS (
                DELETE FROM allocations
                 WHERE fqdn = $1 AND state = 'reserved' AND (declared OR expires_at > now())
                   AND ($2::bytea IS NULL OR token_digest = $2) AND ($5::text IS NULL OR owner = $5)
                   AND ($6::text IS NULL OR (declared AND tenant = $6))
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state)
                SELECT fqdn, id, 'released', $3, $4, 'reserved' FROM a)
            SELECT {COLUMNS} FROM a
            """,
            fqdn, token_digest, actor.name, actor.request_id, actor.only, declared_for,
        )  # fmt: skip
        return allocation_of(row) if row else None

    async def release_active(
        self, fqdn: str, token_digest: bytes | None, actor: Actor, declared_for: str | None = None
    ) -> Allocation | None:
        """Send an active name on its way out of DNS; None if there is none (of that token or resource, if given)."""
        row = await self._row(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET state = 'releasing', dns_state = 'removing', dns_updated_at = now(), dns_error = NULL,
                       generation = nextval('allocation_generation'), attempts = 0, due_at = now()
                 WHERE fqdn = $1 AND state = 'active' AND ($2::bytea IS NULL OR token_digest = $2)
                   AND ($5::text IS NULL OR owner = $5) AND ($6::text IS NULL OR (declared AND tenant = $6))
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'released', $3, $4, 'active', 'releasing' FROM a)
            SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
            """,
            fqdn, token_digest, actor.name, actor.request_id, actor.only, declared_for,
        )  # fmt: skip
        return allocation_of(row) if row else None

    async def release_byo(
        self, allocation: UUID, not_before: datetime | None, *, orphan: bool, actor: Actor
    ) -> Allocation | None:
        """Send a customer's domain on its way out, its zone served until `not_before`; None if it is not active.

        An `orphan` still points here: the next claim on it needs a proof that nobody can wait for.
        """
        row = await self._row(
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
        return allocation_of(row) if row else None

    async def hasten(self, allocation: UUID) -> Allocation | None:
        """Keep the zone of a domain that is on its way out no longer; None if it is kept no more already."""
        row = await self._row(
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
        return allocation_of(row) if row else None

    async def expire(self, kept: timedelta) -> int:
        """Delete reservations that expired longer than `kept` ago; return how many.

        Holding on for a while lets a late holder hear that it is late, rather than "not found".
        """
        rows = await self._rows(
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

    async def end_quarantine(self) -> None:
        """Forget who had names last whose time in quarantine is over."""
        await self._rows("DELETE FROM quarantine WHERE until < now()")


def place_of(last: Allocation) -> str:
    """Return the place in the list of allocations behind one of them."""
    return f"{last.fqdn} {last.id}"


_FIELDS = frozenset(Allocation.__struct_fields__)


async def count(connection: "PoolConnectionProxy", actor: Actor, tenant: str | None) -> None:
    """Raise QuotaExceeded if a client, or its tenant, has what it may have.

    To be called in the transaction that takes the name: nobody else takes one for this client until it ends.
    """
    if not (actor.quotas.any or actor.tenant_quotas.any):
        return
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", quotas.LOCKS, actor.name)
    for who, limits, whose in ((None, actor.quotas, "this client"), (tenant, actor.tenant_quotas, "this tenant")):
        if not limits.any or (limits is actor.tenant_quotas and tenant is None):
            continue
        row = await connection.fetchrow(quotas.USAGE, actor.name, who)
        if row and (excess := quotas.exceeded(quotas.Usage(**row), limits)):
            raise QuotaExceeded(f"{whose} may have {excess.limit} {excess.what}", excess.retry_after_seconds)


def _standing(question: Question, alike: Iterable[asyncpg.Record]) -> Standing:
    """Return what the rows that look like a name mean for who asks about it."""
    state, quarantined, resembles = None, False, False
    for _, fqdn, its_state, owner, tenant in alike:
        others = (owner, tenant) != (question.owner, question.tenant)
        if fqdn != question.fqdn:
            resembles = resembles or (others and fqdn.endswith(f".{question.pool_domain}"))
        elif its_state is not None:
            state = State(its_state)
        else:
            quarantined = quarantined or others
    return Standing(state, quarantined, resembles)


def _asked(questions: Sequence[Question]) -> list[list[str | None]]:
    """Return the parameters of a question: a list for each."""
    rows = ((one.fqdn, one.pool_domain, policy.skeleton(one.subdomain), one.owner, one.tenant) for one in questions)
    return [list(column) for column in zip(*rows, strict=True)]


def _columns(wanted: Sequence[tuple[Reservation, Actor]]) -> list[list[object]]:
    """Return the parameters of RESERVE: a list for each."""
    rows = (
        (
            new.fqdn, *names.span(new.fqdn), new.mode, new.pool_domain, new.subdomain, new.created_by, new.ttl,
            new.token_digest, new.token_nonce, new.idempotency_digest, new.request_digest, by.name, by.request_id,
            by.name, new.tenant,
        )
        for new, by in wanted
    )  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


def allocation_of(row: asyncpg.Record) -> Allocation:
    """Return the allocation in a row of COLUMNS."""
    values = dict(row)
    for extra in values.keys() - _FIELDS:
        del values[extra]
    values["mode"] = Mode(values["mode"])
    values["state"] = State(values["state"])
    values["dns_state"] = DnsState(values["dns_state"])
    values["load_balancer_ips"] = tuple(values["load_balancer_ips"])
    values["ds"] = tuple(values["ds"])
    values["proof"] = Proof(values["proof"]) if values["proof"] else None
    values["needs"] = Needs(values["needs"]) if values["needs"] else None
    values["imports"] = msgspec.json.decode(values["imports"], type=tuple[RRset, ...]) if values["imports"] else ()
    return Allocation(**values)
