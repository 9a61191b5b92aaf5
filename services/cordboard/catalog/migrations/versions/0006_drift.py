"""Where answers are not as the definitions say, by the Proxy's reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("answer_look", "drift")
_OWN = "workspace_id = coalesce(current_setting('app.ws', true), '') OR current_setting('app.ws', true) = '*'"


def _action() -> tuple[sa.Column[str], ...]:
    names = ("slug", "version", "action")
    return tuple(sa.Column(name, sa.Text(collation="C"), primary_key=True) for name in names)


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "answer_look",
        sa.Column("workspace_id", sa.Text, nullable=False, server_default=""),
        *_action(),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "drift",
        sa.Column("workspace_id", sa.Text, nullable=False, server_default=""),
        *_action(),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Text(collation="C"), primary_key=True),
        sa.Column("rule", sa.Text(collation="C"), primary_key=True),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sa.Column("first_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
    )
    for table in TABLES:
        op.create_index(f"{table}_last_time", table, ["last_time"])
        # What the shared catalog's vendors answer belongs to no workspace, as its definitions do.
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY workspace ON {table} USING (workspace_id = '' OR {_OWN}) WITH CHECK ({_OWN})")
