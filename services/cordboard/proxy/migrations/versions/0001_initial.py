"""Calls, which are their own audit, and the ledger of idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import create_audit_tables, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "call",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        # Byte order, because ids sort by the time they were made.
        sa.Column("id", sa.Text(collation="C"), primary_key=True),
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("integration", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        # The number of proxy.v1.Call.Outcome; 0 stands from before the vendor is asked until the end is known.
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("vendor_status", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("token_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        # The batch it was written in, whose digest stands in the audit journal.
        sa.Column("batch", sa.Text, nullable=False),
    )
    op.create_index("call_age", "call", ["create_time"])
    op.create_table(
        "idempotency",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text(collation="C"), primary_key=True),
        # SHA-256 of what was asked.
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("call_id", sa.Text, nullable=False),
        # Until when the call that has the key may be running. Times of the database alone: replicas' clocks differ.
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("status", sa.Integer, nullable=False, server_default="0"),
        sa.Column("content_type", sa.Text, nullable=False, server_default=""),
        # The vendor's answer, kept for a day under row-level security, to be given again.
        sa.Column("body", sa.LargeBinary),
        sa.CheckConstraint("state IN ('started', 'done', 'indeterminate')", name="state_is_known"),
    )
    op.create_index("idempotency_age", "idempotency", ["create_time"])
    protect(op, "call", "idempotency")
    create_audit_tables(op)
