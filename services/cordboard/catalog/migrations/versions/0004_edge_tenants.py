"""What a hub knows of the tenants of its edges, and what an edge knows of its hub's pins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table and the columns."""
    op.create_table(
        "workspace_customer",
        sa.Column("workspace_id", sa.Text(collation="C"), primary_key=True),
        # As Auth said it last; empty: the workspace belongs to no customer.
        sa.Column("customer", sa.Text, nullable=False),
    )
    protect(op, "workspace_customer")
    # At an edge: whether the hub's pin is the one that holds, and what the hub says, which a pin set here goes before.
    op.add_column("pin", sa.Column("from_hub", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("pin", sa.Column("hub_version", sa.Text(collation="C"), nullable=False, server_default=""))
