"""Integrations, the versions of their definitions, and the number of the newest change."""

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
    # The catalog belongs to the mesh and to no workspace, so none of these has a workspace_id.
    op.create_table(
        "head",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True, server_default=sa.true()),
        sa.Column("sequence", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.execute("INSERT INTO head DEFAULT VALUES")
    op.create_table(
        "integration",
        sa.Column("slug", sa.Text(collation="C"), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("category", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("criticality", sa.Integer, nullable=False),
        sa.Column("active_version", sa.Text, nullable=False),
        sa.Column("action_count", sa.Integer, nullable=False),
        sa.Column("auth_schemes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "definition_version",
        sa.Column("slug", sa.Text(collation="C"), sa.ForeignKey("integration.slug"), primary_key=True),
        sa.Column("version", sa.Text(collation="C"), primary_key=True),
        sa.Column("content_hash", sa.Text, nullable=False),
        # The serialised Definition, to the last byte as it was published.
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
    )
    op.execute(
        """
        CREATE FUNCTION definition_version_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a definition version never changes' USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER definition_version_stays BEFORE UPDATE OR DELETE ON definition_version
        FOR EACH ROW EXECUTE FUNCTION definition_version_refuse()
        """
    )
    create_audit_tables(op)
