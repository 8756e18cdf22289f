"""What the pool registrar has on record of the pool domains, and who looks after it.

Expand: one new table.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE pool_registrations (
            pool_domain text COLLATE "C" PRIMARY KEY,
            state       text        NOT NULL DEFAULT 'unknown',
            nameservers text[],
            ds          text[],      -- null: the registrar does not tell
            problem     text,
            operation   text,        -- what the registrar carries out by itself
            checked_at  timestamptz, -- the last look, whatever came of it
            moved_at    timestamptz, -- the last change of nameservers, noted before it is sent
            signed_at   timestamptz, -- the last change of the DS, likewise
            repaired_at timestamptz,
            due_at      timestamptz NOT NULL DEFAULT now(),
            lease_id    uuid,        -- the replica that looks, until lease_until
            lease_until timestamptz,

            CONSTRAINT pool_registrations_state CHECK (state IN (
                'unknown',   -- not looked at yet
                'in-order',
                'changing',  -- sent to the registrar, not on record yet
                'failed'     -- the problem says why; tried again by itself
            ))
        )
    """)
