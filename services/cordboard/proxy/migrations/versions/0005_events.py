"""Events, and the addresses that webhooks come to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "webhook_endpoint",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text(collation="C"), primary_key=True),
        *_text("connection", "integration", "environment"),
        # SHA-256 of the token: whoever reads the table cannot send there.
        sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "event_counter",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        # The number of the last event. Its row is locked while events are added, so that numbers have no gap, and none
        # becomes visible after a greater one.
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "event",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        *_text("id", "connection", "integration", "version", "event_type", "environment", "ordering_key"),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("time", "receive_time")),
        # The data as JSON, sealed.
        sa.Column("data", sa.LargeBinary, nullable=False),
        *_text("drift", "trace_id"),
    )
    # What the vendor sends again is known by it.
    op.create_index("event_id", "event", ["workspace_id", "connection", "id"], unique=True)
    op.create_index("event_age", "event", ["receive_time"])
    protect(op, "webhook_endpoint", "event_counter", "event")


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
