"""Choices: which integrations workspaces have switched on or off themselves."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import protect

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    # What decides is the flag `choice.{key}`, whose revisions are the history. Here is who chose what now, and why.
    op.execute(
        """
        CREATE TABLE choice (
            integration text COLLATE "C" NOT NULL,
            workspace_id text COLLATE "C" NOT NULL,
            environment text COLLATE "C" NOT NULL,
            choice text NOT NULL CHECK (choice IN ('on', 'off')),
            creator text NOT NULL,
            reason text NOT NULL,
            update_time timestamptz NOT NULL,
            PRIMARY KEY (integration, workspace_id, environment))
        """
    )
    op.execute("CREATE INDEX choice_of_workspace ON choice (workspace_id, environment, integration)")
    protect(op, "choice")
