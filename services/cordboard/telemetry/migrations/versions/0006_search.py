"""Searches of spans by integration, by workspace and by duration, each from an index that has them in their order."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    # Generated: whoever writes spans need not know of them, and those that are there already have them too.
    """
ALTER TABLE span
    ADD COLUMN integration text GENERATED ALWAYS AS (attributes->>'cordboard.integration') STORED,
    ADD COLUMN workspace text GENERATED ALWAYS AS (attributes->>'cordboard.workspace') STORED""",
    # What a search also asks for is in the index: it looks at a span's row only for its words.
    """
CREATE INDEX span_by_integration ON span (integration, start_ns DESC, trace_id DESC)
    INCLUDE (status, duration_ns, service, workspace) WHERE integration IS NOT NULL""",
    """
CREATE INDEX span_by_workspace ON span (workspace, start_ns DESC, trace_id DESC)
    INCLUDE (status, duration_ns, service, integration) WHERE workspace IS NOT NULL""",
    "CREATE INDEX span_by_duration ON span (duration_ns, start_ns)",
)


def upgrade() -> None:
    """Makes the columns and the indexes."""
    for statement in STATEMENTS:
        op.execute(statement)
