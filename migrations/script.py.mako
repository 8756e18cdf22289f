"""${message}

Expand or contract, and why this is safe while the release before still runs: (say it here)
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Say what changes."""
    op.execute("")
