"""Rotation of keys, shredding, incidents."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    # From when on a version seals: every process knows it by then.
    "ALTER TABLE workspace_key ADD COLUMN seal_time timestamptz NOT NULL DEFAULT now()",
    # None of these has a column `workspace_id`: operators alone see them, and no tenant has rows in them.
    """
    CREATE TABLE key_rotation (
        rotation_id text PRIMARY KEY,
        level text NOT NULL CHECK (level IN ('kek', 'workspace', 'data')),
        workspace text NOT NULL,
        state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
        place integer NOT NULL DEFAULT 0,
        cursor text[] NOT NULL DEFAULT '{}',
        work_time timestamptz,
        done bigint NOT NULL DEFAULT 0,
        total bigint NOT NULL DEFAULT 0,
        problem text NOT NULL DEFAULT '',
        actor text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        update_time timestamptz NOT NULL DEFAULT now())
    """,
    "CREATE UNIQUE INDEX key_rotation_one ON key_rotation ((true)) WHERE state = 'running'",
    """
    CREATE TABLE transfer_key (
        key_id text PRIMARY KEY,
        public_key text NOT NULL,
        sealed bytea NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now())
    """,
    """
    CREATE TABLE shredded_workspace (
        workspace text PRIMARY KEY,
        reason text NOT NULL,
        actor text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now())
    """,
    """
    CREATE TABLE cut_off (
        cut_off_id text PRIMARY KEY,
        workspace text NOT NULL,
        integration text NOT NULL,
        reason text NOT NULL,
        revoke boolean NOT NULL,
        actor text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        restore_time timestamptz)
    """,
    "CREATE UNIQUE INDEX cut_off_one ON cut_off (workspace, integration) WHERE restore_time IS NULL",
    """
    CREATE TABLE read_alert (
        alert_id text PRIMARY KEY,
        workspace text NOT NULL,
        caller text NOT NULL,
        connections integer NOT NULL,
        seconds double precision NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now())
    """,
)


def upgrade() -> None:
    """Creates them."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Refuses: what was rotated or shredded stays so."""
    raise NotImplementedError("the vault's migration is not undone")
