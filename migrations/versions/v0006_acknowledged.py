"""What the commit of a customer's domain acknowledged, kept with the allocation.

Expand: a new column, null in what the release before writes: not known.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the column."""
    op.execute("ALTER TABLE allocations ADD COLUMN acknowledged text[]")
