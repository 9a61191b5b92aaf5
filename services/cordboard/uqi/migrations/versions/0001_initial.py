"""Forms by definition version, and which version of an integration is the active one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import create_audit_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    # Forms belong to the mesh and to no workspace, so none of these has a workspace_id.
    op.create_table(
        "form_set",
        sa.Column("integration", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("generator", sa.Text, nullable=False),
        sa.Column("form_count", sa.Integer, nullable=False),
        # A list of {"form": id, "problem": text}: the forms that could not be made.
        sa.Column("failures", sa.JSON, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "form",
        sa.Column("integration", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        # Byte order, because page tokens carry on in the order in which a program compares ids.
        sa.Column("form", sa.Text(collation="C"), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        # Text, not jsonb: the order of the fields is part of the form.
        sa.Column("json_schema", sa.Text, nullable=False),
        sa.Column("appsmith", sa.Text, nullable=False),
        sa.Column("losses", sa.JSON, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration", "version"], ["form_set.integration", "form_set.version"], ondelete="CASCADE"
        ),
    )
    op.create_table(
        "active_version",
        sa.Column("integration", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        # The Catalog's number of the change that made it so: a slower replica does not undo a later one.
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    create_audit_tables(op)
