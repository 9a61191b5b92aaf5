"""Proposals: changes of flags that wait for a second person."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    # Proposals belong to the mesh and to no workspace, as flags do. An operator reads what they would move.
    op.execute(
        """
        CREATE TABLE proposal (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            flag text COLLATE "C" NOT NULL,
            request bytea NOT NULL,
            before json,
            after json NOT NULL,
            contexts integer NOT NULL,
            moved integer NOT NULL,
            moves json NOT NULL,
            proposer text NOT NULL,
            reason text NOT NULL,
            state text NOT NULL CHECK (state IN ('pending', 'approved', 'rejected')),
            create_time timestamptz NOT NULL,
            expire_time timestamptz NOT NULL,
            decider text NOT NULL DEFAULT '',
            decision_reason text NOT NULL DEFAULT '',
            decide_time timestamptz)
        """
    )
