"""Lifecycle, pins, ownership and private definitions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cordboard.core.migrate import protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SHARED = ("integration", "definition_version", "version_state", "review")
_OWN = "workspace_id = coalesce(current_setting('app.ws', true), '') OR current_setting('app.ws', true) = '*'"

BACKFILL = """
    INSERT INTO version_state (workspace_id, slug, version, state, sequence, revision, activation, successor, reason,
        update_time, updater)
    SELECT '', slug, version, 3, sequence, 1, sequence, '', '', create_time, creator FROM definition_version
"""
FUNCTIONS = (
    """
    CREATE OR REPLACE FUNCTION definition_version_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND EXISTS (
            SELECT FROM version_state WHERE slug = OLD.slug AND version = OLD.version AND state <= 1) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'a definition version never changes' USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    """
    CREATE FUNCTION version_state_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a version that was published is no draft again' USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    """
    CREATE TRIGGER version_state_goes_on BEFORE UPDATE ON version_state
    FOR EACH ROW WHEN (OLD.state > 1 AND NEW.state <= 1) EXECUTE FUNCTION version_state_refuse()
    """,
    """
    CREATE TRIGGER version_state_stays BEFORE DELETE ON version_state
    FOR EACH ROW WHEN (OLD.state > 1) EXECUTE FUNCTION version_state_refuse()
    """,
)


def upgrade() -> None:
    """Creates the tables."""
    # Rows of the shared catalog belong to no workspace: theirs is empty, and everybody may read them.
    for table in ("integration", "definition_version"):
        op.add_column(table, sa.Column("workspace_id", sa.Text, nullable=False, server_default=""))
    op.add_column("integration", sa.Column("state", sa.Integer, nullable=False, server_default="3"))
    # What lists and the inventory say of a version, so that neither has to read definitions.
    op.add_column("definition_version", sa.Column("listing", sa.LargeBinary))
    op.add_column("definition_version", sa.Column("facts", sa.JSON))
    # A version is written before the integration that it describes.
    op.execute(
        "ALTER TABLE definition_version ALTER CONSTRAINT definition_version_slug_fkey DEFERRABLE INITIALLY DEFERRED"
    )
    op.create_table(
        "version_state",
        sa.Column("workspace_id", sa.Text, nullable=False, server_default=""),
        sa.Column("slug", sa.Text(collation="C"), primary_key=True),
        sa.Column("version", sa.Text(collation="C"), primary_key=True),
        # The number of VersionState; 0: a draft that was deleted, which other replicas have to hear of.
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        # The number of the change that activated it last; 0: none did.
        sa.Column("activation", sa.BigInteger, nullable=False),
        sa.Column("sunset_time", sa.DateTime(timezone=True)),
        sa.Column("successor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Text, nullable=False),
    )
    op.execute(BACKFILL)
    op.create_table(
        "review",
        sa.Column("workspace_id", sa.Text, nullable=False, server_default=""),
        sa.Column("slug", sa.Text(collation="C"), sa.ForeignKey("integration.slug"), primary_key=True),
        sa.Column("review_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
    )
    op.create_table(
        "pin",
        sa.Column("workspace_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("environment", sa.Text(collation="C"), primary_key=True),
        sa.Column("slug", sa.Text(collation="C"), primary_key=True),
        # Empty: it was taken away, which watchers that were not there have to hear of.
        sa.Column("version", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
    )
    op.create_index("pin_version", "pin", ["slug", "version"])
    op.create_table(
        "usage",
        sa.Column("workspace_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("environment", sa.Text(collation="C"), primary_key=True),
        sa.Column("slug", sa.Text(collation="C"), primary_key=True),
        sa.Column("version", sa.Text(collation="C"), primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("last_call_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("usage_version", "usage", ["slug", "version", "last_call_time"])
    for statement in FUNCTIONS:
        op.execute(statement)
    protect(op, "pin", "usage")
    for table in SHARED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY workspace ON {table} USING (workspace_id = '' OR {_OWN}) WITH CHECK ({_OWN})")
