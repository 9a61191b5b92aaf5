"""Sealed answers of idempotency keys."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Changes the tables."""
    op.execute("SELECT set_config('app.ws', '*', true)")
    # Answers were plain until now, and nothing can seal them here. What was done is still never done again.
    op.execute("UPDATE idempotency SET state = 'indeterminate', body = NULL WHERE state = 'done'")
