"""Flags, their revisions, and the number of the newest change."""

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
    # Flags belong to the mesh and to no workspace, so none of these has a workspace_id.
    op.create_table(
        "head",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True, server_default=sa.true()),
        sa.Column("sequence", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.execute("INSERT INTO head DEFAULT VALUES")
    op.create_table(
        "flag",
        # Byte order, because page tokens carry on in the order in which a program compares keys.
        sa.Column("key", sa.Text(collation="C"), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "flag_revision",
        sa.Column("key", sa.Text(collation="C"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        # Text kept as it came (not jsonb): a revision is what was put, to the last character.
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("killed", sa.Boolean, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("revision >= 1", name="revision_counts_from_one"),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a revision is never changed'; END $$
        """
    )
    op.execute(
        "CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON flag_revision"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.create_foreign_key("flag_has_its_revision", "flag", "flag_revision", ["key", "revision"], ["key", "revision"])
    create_audit_tables(op)
