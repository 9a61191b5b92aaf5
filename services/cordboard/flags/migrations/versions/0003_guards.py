"""Guards of rollouts: what is known of both variants, and the lock of a rollout that was taken back."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables, and the column of the lock."""
    op.execute("ALTER TABLE rollout ADD COLUMN lock json")
    # Rollouts belong to the mesh and to no workspace: what is kept of calls here names none.
    op.execute(
        """
        CREATE TABLE rollout_trial (
            key text COLLATE "C" PRIMARY KEY REFERENCES rollout (key),
            revision bigint NOT NULL,
            comparison json NOT NULL)
        """
    )
    op.execute(
        """
        CREATE TABLE outcome_reporter (
            reporter text COLLATE "C" PRIMARY KEY,
            sequence bigint NOT NULL,
            report_time timestamptz NOT NULL)
        """
    )
