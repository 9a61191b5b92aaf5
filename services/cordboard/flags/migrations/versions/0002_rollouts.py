"""Rollouts: plans that write flags, stage by stage."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    # Rollouts belong to the mesh and to no workspace, as flags do.
    op.execute(
        """
        CREATE TABLE rollout (
            key text COLLATE "C" PRIMARY KEY REFERENCES flag (key),
            edition bigint NOT NULL CHECK (edition >= 1),
            plan json NOT NULL,
            stage integer NOT NULL CHECK (stage >= 0),
            start_time timestamptz,
            stage_time timestamptz,
            next_time timestamptz,
            freeze_reason text NOT NULL,
            create_time timestamptz NOT NULL,
            update_time timestamptz NOT NULL)
        """
    )
    op.execute("CREATE INDEX rollout_by_next_time ON rollout (next_time) WHERE next_time IS NOT NULL")
