"""Claims: somebody's word that a domain is theirs, and what becomes of it.

Any number of claims may wait for a proof, also of one domain; they hold up nobody, and nothing is served for
them. A claim whose domain is proven becomes an allocation, which is unique: the database's constraints decide.
Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import asyncpg
import msgspec

from pdm_service import names
from pdm_service.callers import Actor
from pdm_service.errors import Conflict, IdempotencyKeyReused, OverlapsAllocation, PdmError
from pdm_service.model.allocation import Allocation, Claim, Mode, Proof
from pdm_service.model.records import RRset
from pdm_service.model.tokens import Credentials
from pdm_service.store import quotas
from pdm_service.store.database import Database
from pdm_service.store.rows import CLAIM, COLUMNS, LIVE, WORK_CHANNEL, allocation_of, claim_of

KEPT = timedelta(days=7)
"""How long a claim whose holder has committed waits for its proof."""


class NewClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What a reserve of a customer's domain stores."""

    fqdn: str
    mode: Mode
    created_by: str | None
    ttl: timedelta
    credentials: Credentials
    challenge: str
    tenant: str | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder of a claim wants served."""

    addresses: tuple[str, ...]
    sovereign_fqdn: str | None
    imports: tuple[RRset, ...]


class Claims:
    """Questions and transitions of claims."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- questions -----------------------------------------------------------------------------

    async def find(self, fqdn: str, token_digest: bytes, only: str | None) -> Claim | None:
        """Return the claim of a token (and of a client), an expired one included."""
        row = await self._database.row(
            f"""
            SELECT {CLAIM} FROM claims a
             WHERE a.fqdn = $1 AND a.token_digest = $2 AND ($3::text IS NULL OR a.owner = $3)
            """,
            fqdn, token_digest, only,
        )  # fmt: skip
        return claim_of(row) if row else None

    async def again(self, owner: str, idempotency_digest: bytes) -> Claim | None:
        """Return the claim that a client opened before with the same Idempotency-Key."""
        row = await self._database.row(
            f"SELECT {CLAIM} FROM claims a WHERE a.owner = $1 AND a.idempotency_digest = $2", owner, idempotency_digest
        )
        return claim_of(row) if row else None

    async def of(self, fqdn: str, only: str | None = None) -> list[Claim]:
        """Return the live claims of a domain (and of a client), the oldest first."""
        rows = await self._database.rows(
            f"""
            SELECT {CLAIM} FROM claims a
             WHERE a.fqdn = $1 AND {LIVE} AND ($2::text IS NULL OR a.owner = $2) ORDER BY a.reserved_at, a.id
            """,
            fqdn, only,
        )  # fmt: skip
        return [claim_of(row) for row in rows]

    async def held_by_others(self, fqdn: str, token_digest: bytes | None) -> str | None:
        """Return a live allocation at, above or below a domain that is not the token's, None if there is none.

        One that came by transition alone does not hold its own name against a better proof.
        """
        low, high = names.span(fqdn)
        row = await self._database.row(
            f"""
            SELECT a.fqdn FROM allocations a
             WHERE a.span && name_span($2, $3) AND {LIVE} AND ($4::bytea IS NULL OR a.token_digest <> $4)
               AND NOT (a.fqdn = $1 AND a.proof IS NOT DISTINCT FROM 'transition' AND a.state = 'active')
             LIMIT 1
            """,
            fqdn, low, high, token_digest,
        )  # fmt: skip
        return row["fqdn"] if row else None

    # --- transitions ---------------------------------------------------------------------------

    async def open(self, new: NewClaim, actor: Actor) -> Claim:
        """Open a claim, and have its delegation watched.

        Raises Conflict, OverlapsAllocation, IdempotencyKeyReused, QuotaExceeded.
        """
        if held := await self.held_by_others(new.fqdn, None):
            raise _held(new.fqdn, held)
        try:
            async with self._database.transaction() as connection:
                await quotas.count(connection, actor, new.tenant)
                secret = new.credentials
                row = await connection.fetchrow(
                    _OPEN, new.fqdn, *names.span(new.fqdn), new.mode, new.created_by, new.ttl, secret.token_digest,
                    secret.token_nonce, secret.idempotency_digest, secret.request_digest, new.challenge, actor.name,
                    actor.request_id, new.tenant,
                )  # fmt: skip
        except asyncpg.UniqueViolationError:
            raise IdempotencyKeyReused(
                "this Idempotency-Key belongs to another request; use a new key for each request"
            ) from None
        assert row is not None  # noqa: S101 - an INSERT without a condition
        return claim_of(row)

    async def renew(self, fqdn: str, token_digest: bytes, ttl: timedelta, actor: Actor) -> Claim | None:
        """Let a live claim end `ttl` from now, if that is later; None if it is not the token's."""
        row = await self._database.row(
            f"""
            WITH a AS (
                UPDATE claims SET expires_at = greatest(expires_at, now() + $3)
                 WHERE fqdn = $1 AND token_digest = $2 AND expires_at > now() AND ($6::text IS NULL OR owner = $6)
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'renewed', $4, $5, 'reserved', 'reserved' FROM a)
            SELECT {CLAIM} FROM a
            """,
            fqdn, token_digest, ttl, actor.name, actor.request_id, actor.only,
        )  # fmt: skip
        return claim_of(row) if row else None

    async def withdraw(self, claim: UUID, actor: Actor) -> Claim | None:
        """Delete a live claim; None if it is gone."""
        row = await self._database.row(
            f"""
            WITH a AS (DELETE FROM claims WHERE id = $1 AND expires_at > now() RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state)
                SELECT fqdn, id, 'released', $2, $3, 'reserved' FROM a)
            SELECT {CLAIM} FROM a
            """,
            claim, actor.name, actor.request_id,
        )  # fmt: skip
        return claim_of(row) if row else None

    async def wish(self, claim: UUID, wish: Wish, actor: Actor) -> Claim | None:
        """Store what a live claim's holder wants served once it is proven; None if the claim has expired."""
        row = await self._database.row(
            f"""
            WITH a AS (
                UPDATE claims
                   SET committed_at = coalesce(committed_at, now()), expires_at = greatest(expires_at, now() + $2),
                       load_balancer_ips = $3, sovereign_fqdn = $4, imports = $5
                 WHERE id = $1 AND expires_at > now() RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
                SELECT fqdn, id, 'committed', $6, $7, 'reserved', 'reserved', coalesce(proof, 'unproven') FROM a)
            SELECT {CLAIM} FROM a
            """,
            claim, KEPT, wish.addresses, wish.sovereign_fqdn, msgspec.json.encode(wish.imports).decode(),
            actor.name, actor.request_id,
        )  # fmt: skip
        return claim_of(row) if row else None

    async def prove(self, claims: Sequence[UUID], proof: Proof) -> None:
        """Record a proof of live claims, unless they have one as good."""
        if not claims:
            return
        await self._database.execute(
            """
            WITH a AS (
                UPDATE claims SET proof = $2
                 WHERE id = ANY($1) AND expires_at > now() AND (proof IS NULL OR proof = 'transition') RETURNING *)
            INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
            SELECT fqdn, id, 'proven', 'watch', 'reserved', 'reserved', proof FROM a
            """,
            list(claims), proof,
        )  # fmt: skip

    async def seen_elsewhere(self, fqdn: str, since: datetime) -> None:
        """Record that an observation begun at `since` saw the domain with other nameservers than the platform's."""
        await self._database.execute(
            """
            WITH orphan AS (DELETE FROM orphans WHERE fqdn = $1 AND since < $2::timestamptz - interval '30 days')
            UPDATE claims SET elsewhere_at = $2 WHERE fqdn = $1 AND reserved_at <= $2
            """,
            fqdn, since,
        )  # fmt: skip

    async def prove_by_transition(self, fqdn: str, seen_at: datetime) -> list[UUID]:
        """Return the claim that an observed change of the delegation proves: at most one.

        It was open when the domain was last seen elsewhere; nobody else has a claim at, above or below the
        domain, nor an allocation; and the domain was not released while it pointed here.
        """
        rows = await self._database.rows(
            f"""
            SELECT a.id FROM claims a
             WHERE a.fqdn = $1 AND a.mode = 'byo-manual' AND a.committed_at IS NOT NULL AND a.proof IS NULL
               AND {LIVE} AND a.elsewhere_at < $2
               AND NOT EXISTS (SELECT FROM claims other
                                WHERE other.span && a.span AND other.id <> a.id AND other.expires_at > now())
               AND NOT EXISTS (SELECT FROM allocations other WHERE other.span && a.span
                                  AND (other.expires_at IS NULL OR other.expires_at > now()))
               AND NOT EXISTS (SELECT FROM orphans WHERE orphans.fqdn = a.fqdn)
            """,
            fqdn, seen_at,
        )  # fmt: skip
        return [row["id"] for row in rows]

    async def adopt(self, claim: UUID, actor: Actor) -> Allocation | None:
        """Make a proven, committed claim an allocation; None if it has expired, or was adopted before.

        A holder by transition alone gives way to a better proof; other claims on the name end. Raises
        Conflict and OverlapsAllocation.
        """
        try:
            async with self._database.transaction() as connection:
                claimed = await connection.fetchrow(_TAKE, claim)
                if claimed is None:
                    return None
                strong = Proof(claimed["proof"]).strong
                if strong:
                    await connection.execute(_EVICT, claimed["fqdn"], claimed["id"], claimed["span"])
                row = await connection.fetchrow(
                    _ADOPT, *(claimed[column] for column in _CARRIED), actor.name, actor.request_id
                )
        except asyncpg.UniqueViolationError:
            raise Conflict("somebody else has the domain already") from None
        except asyncpg.ExclusionViolationError:
            raise OverlapsAllocation("the domain lies above or below a name that somebody else holds") from None
        return allocation_of(row) if row else None

    async def expire(self) -> int:
        """Delete claims that have expired; return how many."""
        rows = await self._database.rows(
            """
            WITH gone AS (DELETE FROM claims WHERE expires_at < now() - interval '1 hour' RETURNING fqdn, id)
            INSERT INTO events (fqdn, allocation_id, action, actor, from_state)
            SELECT fqdn, id, 'expired', 'clock', 'reserved' FROM gone RETURNING id
            """
        )
        return len(rows)


_OPEN: LiteralString = f"""
    WITH a AS (
        INSERT INTO claims (fqdn, span, mode, created_by, expires_at, token_digest, token_nonce,
                            idempotency_digest, request_digest, challenge, owner, tenant)
        VALUES ($1, name_span($2, $3), $4, $5, now() + $6::interval, $7, $8, $9, $10, $11, $12, $14)
        RETURNING *),
    watched AS (
        INSERT INTO watches AS w (fqdn, due_at) SELECT fqdn, now() FROM a
            ON CONFLICT (fqdn) DO UPDATE SET due_at = now()),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, to_state, outcome, tenant)
        SELECT fqdn, id, 'reserved', $12, $13, 'reserved', mode, tenant FROM a)
    SELECT {CLAIM}, pg_notify('{WORK_CHANNEL}', '') FROM a
"""
_CARRIED = (
    "fqdn", "span", "id", "mode", "created_by", "reserved_at", "token_digest", "token_nonce", "idempotency_digest",
    "request_digest", "sovereign_fqdn", "load_balancer_ips", "proof", "imports", "owner", "tenant",
)  # fmt: skip
_TAKE: LiteralString = """
    DELETE FROM claims WHERE id = $1 AND expires_at > now() AND committed_at IS NOT NULL AND proof IS NOT NULL
    RETURNING *
"""
_EVICT: LiteralString = """
    WITH holder AS (
        DELETE FROM allocations WHERE fqdn = $1 AND proof = 'transition' AND state = 'active'
        RETURNING fqdn, id, state),
    rivals AS (
        DELETE FROM claims WHERE span && $3 AND id <> $2 RETURNING fqdn, id, 'reserved' AS state),
    cleared AS (DELETE FROM orphans WHERE fqdn = $1)
    INSERT INTO events (fqdn, allocation_id, action, actor, from_state, outcome)
    SELECT fqdn, id, 'evicted', 'claim', state, 'somebody else proved that the domain is theirs'
      FROM (TABLE holder UNION ALL TABLE rivals) AS gone
"""
_ADOPT: LiteralString = f"""
    WITH a AS (
        INSERT INTO allocations (
            fqdn, span, id, mode, created_by, reserved_at, token_digest, token_nonce, idempotency_digest,
            request_digest, sovereign_fqdn, load_balancer_ips, proof, imports, owner, tenant,
            state, committed_at, dns_state, dns_updated_at, due_at, needs)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                'active', now(), 'pending', now(), now(), CASE WHEN $4 = 'byo-api' THEN 'registrar-token' END)
        RETURNING *),
    watched AS (
        INSERT INTO watches AS w (fqdn, due_at) SELECT fqdn, now() FROM a
            ON CONFLICT (fqdn) DO UPDATE SET due_at = now()),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
        SELECT fqdn, id, 'committed', $17, $18, 'reserved', 'active', proof FROM a)
    SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
"""


def _held(fqdn: str, held: str) -> PdmError:
    if held == fqdn:
        return Conflict(f"{fqdn} is in use, or on its way out; if it is yours, ask its holder to release it")
    return OverlapsAllocation(f"{fqdn} lies above or below a name that somebody else holds")
