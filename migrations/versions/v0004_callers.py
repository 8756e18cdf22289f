"""Who holds a name, names held declaratively, names kept for their last holder, an audit trail to export.

Expand: new columns with defaults, which the release before neither writes nor reads. What it writes belongs to
the client `local`, as all of its rows do.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

# As `policy.skeleton` has it; a test compares the two.
_SKELETON = """
    replace(replace(replace(translate(replace(subdomain, '-', ''), '01i', 'oll'), 'rn', 'm'), 'vv', 'w'), 'cl', 'd')
"""

_STATEMENTS = (
    f"""
    ALTER TABLE allocations
        ADD COLUMN owner    text    NOT NULL DEFAULT 'local',  -- the client that made it
        ADD COLUMN tenant   text,                              -- for whom, in that client's words
        ADD COLUMN declared boolean NOT NULL DEFAULT false,    -- held by PUT: no token, no end
        ADD COLUMN skeleton text COLLATE "C" GENERATED ALWAYS AS ({_SKELETON}) STORED,
        DROP CONSTRAINT allocations_dns,
        ADD CONSTRAINT allocations_dns CHECK (CASE state
            WHEN 'reserved'  THEN dns_state = 'none' AND due_at IS NULL AND (expires_at IS NOT NULL) <> declared
            WHEN 'active'    THEN dns_state IN ('pending', 'published') AND due_at IS NOT NULL
                                  AND expires_at IS NULL AND cardinality(load_balancer_ips) > 0
            WHEN 'releasing' THEN dns_state = 'removing' AND due_at IS NOT NULL AND expires_at IS NULL
        END),
        ADD CONSTRAINT allocations_declared CHECK (NOT declared OR (mode = 'pool' AND tenant IS NOT NULL))
    """,
    "ALTER TABLE claims ADD COLUMN owner text NOT NULL DEFAULT 'local', ADD COLUMN tenant text",
    # An Idempotency-Key is its client's own.
    "DROP INDEX allocations_idempotency",
    """
    CREATE UNIQUE INDEX allocations_idempotency ON allocations (owner, idempotency_digest)
     WHERE idempotency_digest IS NOT NULL
    """,
    "DROP INDEX claims_idempotency",
    """
    CREATE UNIQUE INDEX claims_idempotency ON claims (owner, idempotency_digest)
     WHERE idempotency_digest IS NOT NULL
    """,
    # Where callers are not told apart nothing is counted or looked up by them.
    "CREATE INDEX allocations_owner ON allocations (owner, tenant) WHERE owner <> 'local'",
    "CREATE INDEX claims_owner ON claims (owner, tenant) WHERE owner <> 'local'",
    "CREATE INDEX allocations_skeleton ON allocations (skeleton, pool_domain) WHERE pool_domain IS NOT NULL",
    # --- released active names, which nobody gets for a time but who had them last
    f"""
    CREATE TABLE quarantine (
        fqdn        text COLLATE "C" PRIMARY KEY,
        pool_domain text        NOT NULL,
        subdomain   text        NOT NULL,
        skeleton    text COLLATE "C" GENERATED ALWAYS AS ({_SKELETON}) STORED,
        owner       text        NOT NULL,
        tenant      text,
        since       timestamptz NOT NULL DEFAULT now(),
        until       timestamptz NOT NULL
    )
    """,
    "CREATE INDEX quarantine_until ON quarantine (until)",
    "CREATE INDEX quarantine_skeleton ON quarantine (skeleton, pool_domain)",
    # --- the audit trail: for whom a name was reserved; and an order that nothing can still slip into
    """
    ALTER TABLE events
        ADD COLUMN tenant text,
        ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()
    """,
    "CREATE INDEX events_order ON events (xid, id)",
    "CREATE INDEX events_at ON events USING brin (at)",
    "CREATE INDEX events_reserved ON events (actor, at) WHERE action = 'reserved' AND actor <> 'local'",
)


def upgrade() -> None:
    """Widen what there is."""
    for statement in _STATEMENTS:
        op.execute(statement)
