"""When a claim's proof was seen last, what its commit acknowledged, what stands in its way; whose turn a look is.

Expand: new columns with defaults, which the release before neither writes nor reads. A proof that it wrote has no
time, and counts only when it is seen again.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_STATEMENTS = (
    """
    ALTER TABLE claims
        ADD COLUMN proof_seen_at timestamptz,
        ADD COLUMN acknowledged  text[] NOT NULL DEFAULT '{}',
        ADD COLUMN registered_at timestamptz,
        ADD COLUMN problem       text
    """,
    "ALTER TABLE watches ADD COLUMN whose text",
)


def upgrade() -> None:
    """Make the columns."""
    for statement in _STATEMENTS:
        op.execute(statement)
