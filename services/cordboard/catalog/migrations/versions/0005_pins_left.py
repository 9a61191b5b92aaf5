"""Finds the hub's pins at an edge by what happens to them, and not by looking at all of them."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the indexes, which stay small: they have only the pins that something may still happen to."""
    op.execute("CREATE INDEX pin_left ON pin (slug) WHERE from_hub AND hub_version = ''")
    op.execute("CREATE INDEX pin_waiting ON pin (slug) WHERE hub_version <> '' AND hub_version <> version")
