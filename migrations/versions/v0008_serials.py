"""Up to which serial a zone was looked at: of each published name, and of each pool zone with the changes of our own.

Expand: new columns, null in what the release before writes, and a new table, which it neither writes nor reads.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

_STATEMENTS = (
    "ALTER TABLE allocations ADD COLUMN serial bigint, ADD COLUMN listed_serial bigint",
    """
    CREATE TABLE parent_zones (
        pool_domain text        NOT NULL,
        writes      bigint      NOT NULL DEFAULT 0,
        serial      bigint,
        read_at     timestamptz,
        CONSTRAINT parent_zones_pkey PRIMARY KEY (pool_domain)
    )
    """,
)


def upgrade() -> None:
    """Make columns and table."""
    for statement in _STATEMENTS:
        op.execute(statement)
