"""What a hub knows of the tenants of its edges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "workspace_customer",
        sa.Column("workspace_id", sa.Text(collation="C"), primary_key=True),
        # As Auth said it last; empty: the workspace belongs to no customer.
        sa.Column("customer", sa.Text, nullable=False),
    )
    protect(op, "workspace_customer")
