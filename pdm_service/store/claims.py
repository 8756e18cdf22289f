"""Claims: somebody's word that a domain is theirs, and what becomes of it.

Any number of claims may wait for a proof, also of one domain; they hold up nobody, and nothing is served for
them. A claim whose domain is proven becomes an allocation, which is unique: the database's constraints decide.
A proof is of today: what counts is what is seen when the claim becomes an allocation (docs/adr/0021).
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
from pdm_service.model.allocation import Ages, Allocation, Claim, Mode, Proof
from pdm_service.model.records import RRset
from pdm_service.model.tokens import Credentials
from pdm_service.store import quotas
from pdm_service.store.database import Database
from pdm_service.store.rows import CLAIM, COLUMNS, LIVE, WORK_CHANNEL, allocation_of, claim_of
from pdm_service.store.sessions import Lent

KEPT = timedelta(days=7)
"""How long a claim whose holder has committed waits for its proof."""
BELOW = "BYO-BELOW"
"""The finding that a commit acknowledges to end what others hold below the domain."""
_JUST_SEEN = timedelta(minutes=1)
"""How long after it was seen in DNS a proof makes an allocation: what follows from an observation follows at once."""


class NewClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What a reserve of a customer's domain stores."""

    fqdn: str
    mode: Mode
    created_by: str | None
    ttl: timedelta
    credentials: Credentials
    challenge: str
    tenant: str | None = None
    registered_at: datetime | None = None
    """When the domain was registered; given only where somebody holds it already."""
    above_others: bool = False
    """Whether it is claimed though somebody holds a name below it: whoever proves the upper one decides."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder of a claim wants served."""

    addresses: tuple[str, ...]
    sovereign_fqdn: str | None
    imports: tuple[RRset, ...]
    acknowledged: tuple[str, ...] = ()
    """Codes of findings that the holder knows of."""


class Claims:
    """Questions and transitions of claims."""

    def __init__(self, database: Database, ages: Ages) -> None:
        self._database = database
        self._ages = ages

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

    async def held_by_others(
        self, fqdn: str, token_digest: bytes | None, outdated: datetime | None = None
    ) -> str | None:
        """Return a live allocation at or above a domain that is not the token's, None if there is none.

        One that came by transition alone, or whose proof is older than `outdated`, does not hold its own name against
        a strong proof.
        """
        row = await self._database.row(
            f"""
            SELECT a.fqdn FROM allocations a
             WHERE a.span @> name_span($2, $3) AND {LIVE} AND ($4::bytea IS NULL OR a.token_digest <> $4)
               AND NOT (a.fqdn = $1 AND {_GIVES_WAY})
             LIMIT 1
            """,
            fqdn, *names.span(fqdn), token_digest, outdated,
        )  # fmt: skip
        return row["fqdn"] if row else None

    async def below(self, fqdn: str) -> list[Allocation]:
        """Return the customers' domains below a domain that are held, in order."""
        rows = await self._database.rows(
            f"""
            SELECT {COLUMNS} FROM allocations a
             WHERE a.span <@ name_span($2, $3) AND a.fqdn <> $1 AND a.mode <> 'pool' ORDER BY a.fqdn
            """,
            fqdn, *names.span(fqdn),
        )  # fmt: skip
        return [allocation_of(row) for row in rows]

    # --- transitions ---------------------------------------------------------------------------

    async def open(self, new: NewClaim, actor: Actor, outdated: datetime | None = None) -> Claim:
        """Open a claim, and have its delegation watched; a proof older than `outdated` holds the domain no more.

        Raises Conflict, OverlapsAllocation, IdempotencyKeyReused, QuotaExceeded.
        """
        if held := await self.held_by_others(new.fqdn, None, outdated):
            raise _held(new.fqdn, held)
        if not new.above_others and await self.below(new.fqdn):
            text = f"{new.fqdn} lies above a name that is held here; if it is yours, acknowledge {BELOW}"
            raise OverlapsAllocation(text)
        try:
            async with self._database.writing.transaction() as connection:
                await quotas.count(connection, actor, new.tenant)
                secret = new.credentials
                row = await connection.fetchrow(
                    _OPEN, new.fqdn, *names.span(new.fqdn), new.mode, new.created_by, new.ttl, secret.token_digest,
                    secret.token_nonce, secret.idempotency_digest, secret.request_digest, new.challenge, actor.name,
                    actor.request_id, new.tenant, new.registered_at,
                )  # fmt: skip
        except asyncpg.UniqueViolationError:
            raise IdempotencyKeyReused(
                "this Idempotency-Key belongs to another request; use a new key for each request"
            ) from None
        assert row is not None  # noqa: S101 - an INSERT without a condition
        return claim_of(row)

    async def renew(self, fqdn: str, token_digest: bytes, ttl: timedelta, actor: Actor) -> Claim | None:
        """Let a live claim end `ttl` from now, if that is later, but at its greatest age; None if not the token's."""
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE claims
                   SET expires_at = greatest(expires_at, least(now() + $3::interval, reserved_at + $7::interval))
                 WHERE fqdn = $1 AND token_digest = $2 AND expires_at > now() AND ($6::text IS NULL OR owner = $6)
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state)
                SELECT fqdn, id, 'renewed', $4, $5, 'reserved', 'reserved' FROM a)
            SELECT {CLAIM} FROM a
            """,
            fqdn, token_digest, ttl, actor.name, actor.request_id, actor.only, self._ages.reservation,
        )  # fmt: skip
        return claim_of(row) if row else None

    async def withdraw(self, claim: UUID, actor: Actor) -> Claim | None:
        """Delete a live claim; None if it is gone."""
        row = await self._database.writing.row(
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
        row = await self._database.writing.row(
            f"""
            WITH a AS (
                UPDATE claims
                   SET committed_at = coalesce(committed_at, now()),
                       expires_at = greatest(expires_at, least(now() + $2::interval, reserved_at + $9::interval)),
                       load_balancer_ips = $3, sovereign_fqdn = $4, imports = $5, acknowledged = $8, problem = NULL
                 WHERE id = $1 AND expires_at > now() RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
                SELECT fqdn, id, 'committed', $6, $7, 'reserved', 'reserved', coalesce(proof, 'unproven') FROM a)
            SELECT {CLAIM} FROM a
            """,
            claim, KEPT, wish.addresses, wish.sovereign_fqdn, msgspec.json.encode(wish.imports).decode(),
            actor.name, actor.request_id, wish.acknowledged, self._ages.reservation,
        )  # fmt: skip
        return claim_of(row) if row else None

    async def refused(self, claim: UUID, problem: str) -> bool:
        """Record why a proven claim cannot be had, for its holder to read; return whether that is new."""
        row = await self._database.writing.row(
            "UPDATE claims SET problem = $2 WHERE id = $1 AND problem IS DISTINCT FROM $2 RETURNING id", claim, problem
        )
        return row is not None

    async def prove(self, claims: Sequence[UUID], proof: Proof, actor: Actor) -> None:
        """Record that a proof of live claims was seen now, unless it is a weak one and they have a strong one."""
        if not claims:
            return
        await self._database.writing.execute(
            """
            WITH before AS (
                SELECT id, proof FROM claims
                 WHERE id = ANY($1) AND expires_at > now()
                   AND ($2 <> 'transition' OR proof IS NULL OR proof = 'transition')
                 ORDER BY id FOR UPDATE),
            a AS (
                UPDATE claims c SET proof = $2, proof_seen_at = now() FROM before
                 WHERE c.id = before.id RETURNING c.fqdn, c.id, c.proof, before.proof AS former)
            INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
            SELECT fqdn, id, 'proven', $3, $4, 'reserved', 'reserved', proof FROM a WHERE former IS DISTINCT FROM proof
            """,
            list(claims), proof, actor.name, actor.request_id,
        )  # fmt: skip

    async def lapse(self, fqdn: str, seen: Sequence[UUID], *, denied: bool) -> None:
        """Forget the proofs of a domain's other claims than `seen` that were not seen for too long.

        With `denied`, when nameservers said that the others' records are not there, a committed claim loses its TXT
        proof at once: it would become an allocation now.
        """
        await self._database.writing.execute(
            """
            WITH before AS (
                SELECT id, proof FROM claims
                 WHERE fqdn = $1 AND proof IS NOT NULL AND NOT id = ANY($2)
                   AND (coalesce(proof_seen_at, reserved_at) <= now() - $3::interval
                        OR ($4 AND proof = 'txt' AND committed_at IS NOT NULL))
                 ORDER BY id FOR UPDATE),
            a AS (
                UPDATE claims c SET proof = NULL FROM before
                 WHERE c.id = before.id RETURNING c.fqdn, c.id, before.proof AS former)
            INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
            SELECT fqdn, id, 'lapsed', 'watch', 'reserved', 'reserved', former FROM a
            """,
            fqdn, list(seen), self._ages.proof, denied,
        )  # fmt: skip

    async def seen_elsewhere(self, fqdn: str, since: datetime) -> None:
        """Record that an observation begun at `since` saw the domain with other nameservers than the platform's."""
        await self._database.writing.execute(
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
             WHERE a.fqdn = $1 AND a.mode = 'byo-manual' AND a.committed_at IS NOT NULL
               AND (a.proof IS NULL OR a.proof = 'transition') AND {LIVE} AND a.elsewhere_at < $2
               AND NOT EXISTS (SELECT FROM claims other
                                WHERE other.span && a.span AND other.id <> a.id AND other.expires_at > now())
               AND NOT EXISTS (SELECT FROM allocations other WHERE other.span && a.span
                                  AND (other.expires_at IS NULL OR other.expires_at > now()))
               AND NOT EXISTS (SELECT FROM orphans WHERE orphans.fqdn = a.fqdn)
            """,
            fqdn, seen_at,
        )  # fmt: skip
        return [row["id"] for row in rows]

    async def adopt(self, claim: UUID, actor: Actor, outdated: datetime | None = None) -> Allocation | None:
        """Make a committed claim, whose proof was just seen, an allocation; None if it is not that, or not yet.

        A holder by transition alone, or one whose proof is older than `outdated` or than the registration, gives way to
        a strong proof; other claims at and below the name end. What others hold below it goes out of DNS first, if the
        commit acknowledged that. Raises Conflict and OverlapsAllocation.
        """
        try:
            async with self._database.writing.transaction() as connection:
                await connection.execute(_IN_ORDER, claim)
                claimed = await connection.fetchrow(_TAKE, claim, self._ages.proof, _JUST_SEEN)
                if claimed is None:
                    return None
                if Proof(claimed["proof"]).strong:
                    if await _clear_below(connection, claimed, actor):
                        return None
                    moments = [moment for moment in (outdated, claimed["registered_at"]) if moment]
                    where = (claimed["fqdn"], claimed["id"], claimed["span"])
                    await connection.execute(_EVICT, *where, actor.request_id, max(moments, default=None))
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
        rows = await self._database.writing.rows(
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
                            idempotency_digest, request_digest, challenge, owner, tenant, registered_at)
        VALUES ($1, name_span($2, $3), $4, $5, now() + $6::interval, $7, $8, $9, $10, $11, $12, $14, $15)
        RETURNING *),
    watched AS (
        INSERT INTO watches AS w (fqdn, due_at, whose) SELECT fqdn, now(), owner || '/' || coalesce(tenant, '') FROM a
            ON CONFLICT (fqdn) DO UPDATE SET due_at = now(), whose = coalesce(w.whose, excluded.whose)),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, to_state, outcome, tenant)
        SELECT fqdn, id, 'reserved', $12, $13, 'reserved', mode, tenant FROM a)
    SELECT {CLAIM}, pg_notify('{WORK_CHANNEL}', '') FROM a
"""
_CARRIED = (
    "fqdn", "span", "id", "mode", "created_by", "reserved_at", "token_digest", "token_nonce", "idempotency_digest",
    "request_digest", "sovereign_fqdn", "load_balancer_ips", "proof", "imports", "owner", "tenant",
    "acknowledged",
)  # fmt: skip
# `a` holds a domain, $5 is what its proof must not be older than (null: nothing is).
_GIVES_WAY: LiteralString = """
    a.mode <> 'pool' AND a.state = 'active'
    AND (a.proof = 'transition' OR a.committed_at < coalesce($5::timestamptz, '-infinity'))
"""

# Whoever takes several claims takes them in one order, and nobody waits for another in a circle.
_IN_ORDER: LiteralString = """
    SELECT FROM claims WHERE span && (SELECT span FROM claims WHERE id = $1) ORDER BY id FOR UPDATE
"""
# Of two strong proofs the one counts that was seen last.
_TAKE: LiteralString = """
    SELECT * FROM claims a
     WHERE id = $1 AND expires_at > now() AND committed_at IS NOT NULL
       AND proof_seen_at > now() - CASE proof WHEN 'registrar' THEN $2::interval ELSE $3::interval END
       AND NOT EXISTS (SELECT FROM claims o
                        WHERE o.fqdn = a.fqdn AND o.id <> a.id AND o.expires_at > now()
                          AND o.proof IN ('txt', 'registrar') AND o.proof_seen_at > a.proof_seen_at)
"""
_BELOW: LiteralString = """
    SELECT fqdn, state FROM allocations WHERE span <@ $2 AND fqdn <> $1 AND mode <> 'pool' ORDER BY fqdn FOR UPDATE
"""
_SEND_AWAY: LiteralString = f"""
    WITH a AS (
        UPDATE allocations
           SET state = 'releasing', dns_state = 'removing', dns_updated_at = now(), dns_error = NULL, needs = NULL,
               not_before = NULL, due_at = now(), generation = nextval('allocation_generation'), attempts = 0
         WHERE fqdn = ANY($1) AND state = 'active' AND mode <> 'pool' RETURNING *),
    orphaned AS (
        INSERT INTO orphans (fqdn) SELECT fqdn FROM a ON CONFLICT (fqdn) DO UPDATE SET since = now()),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
        SELECT fqdn, id, 'evicted', 'claim', $2, 'active', 'releasing', $3 FROM a)
    SELECT pg_notify('{WORK_CHANNEL}', '') FROM a
"""
_EVICT: LiteralString = f"""
    WITH holder AS (
        DELETE FROM allocations a WHERE fqdn = $1 AND {_GIVES_WAY} RETURNING fqdn, id, state),
    rivals AS (
        DELETE FROM claims WHERE span <@ $3 AND id <> $2 RETURNING fqdn, id, 'reserved' AS state),
    cleared AS (DELETE FROM orphans WHERE fqdn = $1)
    INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, outcome)
    SELECT fqdn, id, 'evicted', 'claim', $4, state, 'somebody else proved that the domain is theirs'
      FROM (TABLE holder UNION ALL TABLE rivals) AS gone
"""
_ADOPT: LiteralString = f"""
    WITH claim AS (DELETE FROM claims WHERE id = $3),
    a AS (
        INSERT INTO allocations (
            fqdn, span, id, mode, created_by, reserved_at, token_digest, token_nonce, idempotency_digest,
            request_digest, sovereign_fqdn, load_balancer_ips, proof, imports, owner, tenant, acknowledged,
            state, committed_at, dns_state, dns_updated_at, due_at, needs)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                'active', now(), 'pending', now(), now(), CASE WHEN $4 = 'byo-api' THEN 'registrar-token' END)
        RETURNING *),
    watched AS (
        INSERT INTO watches AS w (fqdn, due_at, whose) SELECT fqdn, now(), owner || '/' || coalesce(tenant, '') FROM a
            ON CONFLICT (fqdn) DO UPDATE SET due_at = now(), whose = excluded.whose),
    noted AS (
        INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
        SELECT fqdn, id, 'committed', $18, $19, 'reserved', 'active', proof FROM a)
    SELECT {COLUMNS}, pg_notify('{WORK_CHANNEL}', '') FROM a
"""


async def _clear_below(connection: Lent, claimed: asyncpg.Record, actor: Actor) -> bool:
    """Send away what others hold below a claimed domain; return whether there is anything that must go first.

    Raises OverlapsAllocation where the commit has not acknowledged it.
    """
    rows = await connection.fetch(_BELOW, claimed["fqdn"], claimed["span"])
    held = [row["fqdn"] for row in rows]
    active = [row["fqdn"] for row in rows if row["state"] == "active"]
    if active and BELOW not in claimed["acknowledged"]:
        text = f"{', '.join(active)} below it is held here; a commit that acknowledges {BELOW} ends that"
        raise OverlapsAllocation(text)
    if held:
        outcome = f"somebody else proved that {claimed['fqdn']} is theirs"
        await connection.execute(_SEND_AWAY, held, actor.request_id, outcome)
        text = f"{', '.join(held)} below it goes out of DNS first"
        await connection.execute("UPDATE claims SET problem = $2 WHERE id = $1", claimed["id"], text)
    return bool(held)


def _held(fqdn: str, held: str) -> PdmError:
    if held == fqdn:
        return Conflict(f"{fqdn} is in use, or on its way out; if it is yours, ask its holder to release it")
    return OverlapsAllocation(f"{fqdn} lies above or below a name that somebody else holds")
