"""The read of a lease and its entry of the journal as one statement."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The entry is written where the credential will be given as it is. Its text comes in two halves: the generation that
# belongs between them is known here first. It runs as whoever calls it, as the read alone does.
LEASED_CONNECTION = """
    CREATE FUNCTION leased_connection(in_workspace text, in_connection text, in_before text, in_after text)
    RETURNS TABLE (
        held connection, shared workspace_configuration, fields text[], records bytea[], is_cut_off boolean,
        read_time timestamptz, is_written boolean)
    LANGUAGE plpgsql SECURITY INVOKER AS $$
    BEGIN
        RETURN QUERY
        SELECT r.held, r.shared, r.fields, r.records, r.is_cut_off, r.read_time,
            CASE WHEN (r.held).state = 'ready' AND NOT r.is_cut_off AND (
                (r.held).expire_time IS NULL
                OR r.read_time < CASE WHEN (r.held).refreshable
                    THEN coalesce((r.held).refresh_time, (r.held).expire_time) ELSE (r.held).expire_time END)
            THEN audit_append(in_workspace, ARRAY[in_before || (r.held).generation || in_after]) > 0
            ELSE false END
        FROM held_connection(in_workspace, in_connection) r;
    END $$
"""


def upgrade() -> None:
    """Creates the function."""
    op.execute(LEASED_CONNECTION)
    op.execute("REVOKE ALL ON FUNCTION leased_connection(text, text, text, text) FROM PUBLIC")
