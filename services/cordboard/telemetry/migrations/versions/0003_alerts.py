"""Alerts, whose turn it is to evaluate them, what keeps them quiet, and what is still to be told to whom."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = (
    """
CREATE TABLE alert (
    id uuid PRIMARY KEY,
    rule text NOT NULL,
    labels jsonb NOT NULL,
    state smallint NOT NULL,
    value float8 NOT NULL,
    summary text NOT NULL,
    trace text NOT NULL,
    start_time timestamptz NOT NULL,
    fire_time timestamptz,
    resolve_time timestamptz,
    told smallint NOT NULL DEFAULT 0,
    told_time timestamptz
)""",
    "COMMENT ON COLUMN alert.told IS 'The state that was told last; 0: none'",
    "CREATE INDEX alert_by_rule ON alert (rule, id)",
    """
CREATE TABLE alert_turn (
    rule text PRIMARY KEY,
    due_time timestamptz NOT NULL,
    evaluate_time timestamptz
)""",
    """
CREATE TABLE silence (
    id text PRIMARY KEY,
    rule text NOT NULL,
    labels jsonb NOT NULL,
    reason text NOT NULL,
    creator text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL
)""",
    """
CREATE TABLE alert_delivery (
    id uuid PRIMARY KEY,
    channel text NOT NULL,
    message jsonb NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL,
    due_time timestamptz NOT NULL,
    end_time timestamptz,
    problem text NOT NULL DEFAULT ''
)""",
    "CREATE INDEX alert_delivery_due ON alert_delivery (due_time) WHERE end_time IS NULL",
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in TABLES:
        op.execute(statement)
