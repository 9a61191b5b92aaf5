"""Consumers: who follows the flags, and how far each is."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import protect

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    # What is lost with a crash is said again within seconds, so that writing it costs no journal of the database.
    op.execute(
        """
        CREATE UNLOGGED TABLE consumer (
            id text COLLATE "C" PRIMARY KEY,
            kind text NOT NULL,
            protocol text NOT NULL,
            workspace_id text COLLATE "C" NOT NULL,
            sequence bigint NOT NULL,
            ack_time timestamptz,
            fresh_time timestamptz,
            report_time timestamptz NOT NULL)
        """
    )
    protect(op, "consumer")
