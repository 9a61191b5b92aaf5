"""Traces that were not picked and that somebody found a reason to keep, for a minute; and which spans link to which."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = (
    """
CREATE TABLE kept_trace (
    trace_id uuid PRIMARY KEY,
    keep_time timestamptz NOT NULL DEFAULT now()
)""",
    "CREATE INDEX kept_trace_by_time ON kept_trace (keep_time)",
    """
CREATE TABLE span_link (
    linked_trace uuid NOT NULL,
    linked_span bigint NOT NULL,
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    start_ns bigint NOT NULL,
    relation text NOT NULL,
    PRIMARY KEY (linked_trace, trace_id, span_id, linked_span)
)""",
    "CREATE INDEX span_link_by_time ON span_link (start_ns)",
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in TABLES:
        op.execute(statement)
