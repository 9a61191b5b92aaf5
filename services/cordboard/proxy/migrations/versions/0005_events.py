"""Events, and the addresses that webhooks come to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

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
    op.create_table(
        "event_subscription",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text(collation="C"), primary_key=True),
        *_text("environment", "types", "connections", "kind", "url"),
        # What its webhooks are signed with, sealed.
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("resume_time", sa.DateTime(timezone=True)),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "event_delivery",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("subscription_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        *_text("ordering_key"),
        # 1: waits, 2: is told, 3: was given up.
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        *_text("holder", "reason"),
        # What is deleted is not told.
        sa.ForeignKeyConstraint(["workspace_id", "number"], ["event.workspace_id", "event.number"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["workspace_id", "subscription_id"],
            ["event_subscription.workspace_id", "event_subscription.id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index("event_delivery_event", "event_delivery", ["workspace_id", "number"])
    op.create_index(
        "event_delivery_order", "event_delivery", ["workspace_id", "subscription_id", "state", "ordering_key", "number"]
    )
    op.create_table(
        "polling_trigger",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text(collation="C"), primary_key=True),
        *_text("connection", "event_type", "environment"),
        # Who created it, as what: it asks for nobody else.
        sa.Column("submitter", JSONB, nullable=False),
        sa.Column("interval", sa.Float, nullable=False),
        # The greatest value that was seen, as JSON, sealed.
        sa.Column("cursor", sa.LargeBinary, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("next_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer, nullable=False),
        *_text("problem"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
    )
    op.create_index("polling_trigger_due", "polling_trigger", ["next_time"])
    op.create_table(
        "polled_item",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("trigger_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("item_id", sa.Text(collation="C"), primary_key=True),
        # SHA-256 of the item as it was.
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("seen_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.ForeignKeyConstraint(
            ["workspace_id", "trigger_id"], ["polling_trigger.workspace_id", "polling_trigger.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("polled_item_age", "polled_item", ["seen_time"])
    protect(op, "webhook_endpoint", "event_counter", "event", "event_subscription", "event_delivery")
    protect(op, "polling_trigger", "polled_item")


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
