"""By which backends calls reach vendors, and what a comparison of two of them showed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from cordboard.core.migrate import protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COUNTS = ("calls", "same", "failed", "primary_milliseconds", "candidate_milliseconds")


def upgrade() -> None:
    """Creates the tables."""
    op.execute("CREATE SEQUENCE backend_revision")
    op.create_table(
        "backend_route",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("integration", sa.Text(collation="C"), primary_key=True),
        sa.Column("primary_backend", JSONB, nullable=False),
        sa.Column("candidate", JSONB),
        sa.Column("shadow_rate", sa.Float, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("revision", "era")),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cut_over_time", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "backend_comparison",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text(collation="C"), primary_key=True) for name in ("integration", "action")),
        # Rows of an era before the route's are of no report any more.
        sa.Column("era", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
        _of_route(),
    )
    op.create_table(
        "backend_difference",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text(collation="C"), primary_key=True) for name in ("integration", "action")),
        # A JSON Pointer; of a failure, its reason.
        *(sa.Column(name, sa.Text(collation="C"), primary_key=True) for name in ("kind", "pointer")),
        sa.Column("era", sa.BigInteger, nullable=False),
        # What kind of value stands there; never the value.
        *(sa.Column(name, sa.Text, nullable=False) for name in ("primary_value", "candidate_value")),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("last_call", sa.Text, nullable=False),
        _of_route(),
    )
    protect(op, "backend_route", "backend_comparison", "backend_difference")


def _of_route() -> sa.ForeignKeyConstraint:
    keys = ["workspace_id", "integration"]
    return sa.ForeignKeyConstraint(keys, [f"backend_route.{key}" for key in keys], ondelete="CASCADE")
