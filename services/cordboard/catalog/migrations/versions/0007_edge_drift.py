"""Where edges found that answers are not as the definitions say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OWN = "workspace_id = coalesce(current_setting('app.ws', true), '') OR current_setting('app.ws', true) = '*'"


def _key(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.Text(collation="C"), primary_key=True) for name in names)


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "edge_drift",
        sa.Column("workspace_id", sa.Text, nullable=False, server_default=""),
        *_key("edge_id", "slug", "version", "action"),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        *_key("place", "rule"),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sa.Column("looked", sa.BigInteger, nullable=False),
        sa.Column("first_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
    )
    op.create_index("edge_drift_last_time", "edge_drift", ["last_time"])
    op.create_index("edge_drift_version", "edge_drift", ["slug", "version"])
    # What the shared catalog's vendors answer belongs to no workspace, as its definitions do.
    op.execute("ALTER TABLE edge_drift ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE edge_drift FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY workspace ON edge_drift USING (workspace_id = '' OR {_OWN}) WITH CHECK ({_OWN})")
