"""Names of which a call of PowerDNS was given up, whose outcome is not known.

Expand: a new table, which the release before neither writes nor reads.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_STATEMENTS = (
    """
    CREATE TABLE late_calls (
        fqdn        text COLLATE "C" NOT NULL,
        pool_domain text,
        since       timestamptz NOT NULL DEFAULT now(),
        due_at      timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT late_calls_pkey PRIMARY KEY (fqdn)
    )
    """,
)


def upgrade() -> None:
    """Make the table."""
    for statement in _STATEMENTS:
        op.execute(statement)
