"""Allocations and their audit trail.

Expand: the first schema.
"""

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    # Reversed names in byte order, each label as its hash: a name and all below it are one range, so
    # "lies above or below" is "ranges overlap".
    """CREATE TYPE name_span AS RANGE (subtype = text, collation = "C")""",
    # One sequence for all names: a generation is never used twice, also not by the next holder.
    "CREATE SEQUENCE allocation_generation",
    """
    CREATE TABLE allocations (
        fqdn               text COLLATE "C" PRIMARY KEY,
        span               name_span   NOT NULL,
        id                 uuid        NOT NULL DEFAULT gen_random_uuid(),
        mode               text        NOT NULL,
        pool_domain        text        NOT NULL,
        subdomain          text        NOT NULL,
        state              text        NOT NULL,
        created_by         text,
        reserved_at        timestamptz NOT NULL,
        expires_at         timestamptz,
        committed_at       timestamptz,
        token_digest       bytea       NOT NULL,
        token_nonce        bytea,
        idempotency_digest bytea,
        request_digest     bytea,
        sovereign_fqdn     text,
        load_balancer_ips  text[]      NOT NULL DEFAULT '{}',
        ds                 text[]      NOT NULL DEFAULT '{}',
        dns_state          text        NOT NULL DEFAULT 'none',
        dns_error          text,
        dns_updated_at     timestamptz,
        generation         bigint      NOT NULL DEFAULT nextval('allocation_generation'),
        attempts           integer     NOT NULL DEFAULT 0,
        due_at             timestamptz,  -- when a publisher should look; null = never
        lease_id           uuid,         -- the publisher at work, until lease_until
        lease_until        timestamptz,

        CONSTRAINT allocations_state CHECK (state IN (
            'reserved',    -- the caller acts next, or the clock
            'active',      -- the publisher acts until dns_state is published, then nobody
            'releasing'    -- the publisher acts next
        )),
        CONSTRAINT allocations_mode CHECK (mode IN ('pool')),
        CONSTRAINT allocations_dns CHECK (CASE state
            WHEN 'reserved'  THEN dns_state = 'none' AND due_at IS NULL AND expires_at IS NOT NULL
            WHEN 'active'    THEN dns_state IN ('pending', 'published') AND due_at IS NOT NULL
                                  AND expires_at IS NULL AND cardinality(load_balancer_ips) > 0
            WHEN 'releasing' THEN dns_state = 'removing' AND due_at IS NOT NULL AND expires_at IS NULL
        END),
        -- Nobody's zone lies above or below somebody else's. Deferred, since a check in the middle of
        -- INSERT … ON CONFLICT would let two callers for one name wait for each other.
        CONSTRAINT allocations_overlap EXCLUDE USING spgist (span WITH &&) DEFERRABLE INITIALLY DEFERRED
    )
    """,
    # One Idempotency-Key stands for one reservation.
    """
    CREATE UNIQUE INDEX allocations_idempotency ON allocations (idempotency_digest)
     WHERE idempotency_digest IS NOT NULL
    """,
    "CREATE INDEX allocations_due ON allocations (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX allocations_unsettled ON allocations (due_at) WHERE dns_state IN ('pending', 'removing')",
    "CREATE INDEX allocations_expiry ON allocations (expires_at) WHERE expires_at IS NOT NULL",
    # Appended to in the transaction of the change it tells of, never updated.
    """
    CREATE TABLE events (
        id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at            timestamptz NOT NULL DEFAULT now(),
        fqdn          text COLLATE "C" NOT NULL,
        allocation_id uuid        NOT NULL,
        action        text        NOT NULL,
        actor         text        NOT NULL,
        request_id    text,
        from_state    text,
        to_state      text,
        outcome       text
    )
    """,
    "CREATE INDEX events_fqdn ON events (fqdn, id)",
)


def upgrade() -> None:
    """Create everything."""
    for statement in _STATEMENTS:
        op.execute(statement)
