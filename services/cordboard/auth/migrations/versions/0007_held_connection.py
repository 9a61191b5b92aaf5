"""The read of a lease as one statement."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# It runs as whoever calls it, so row-level security holds: for what the transaction says that it is about, or for this
# one workspace where it says nothing, as a statement of its own does.
HELD_CONNECTION = """
    CREATE FUNCTION held_connection(in_workspace text, in_connection text)
    RETURNS TABLE (
        held connection, shared workspace_configuration, fields text[], records bytea[], is_cut_off boolean,
        read_time timestamptz)
    LANGUAGE plpgsql SECURITY INVOKER AS $$
    BEGIN
        IF in_workspace IN ('', '*') THEN
            RAISE EXCEPTION 'a workspace is needed' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF coalesce(current_setting('app.ws', true), '') = '' THEN
            PERFORM set_config('app.ws', in_workspace, true);
        END IF;
        RETURN QUERY
        SELECT c, w, k.fields, k.records,
            EXISTS (
                SELECT FROM cut_off o
                WHERE o.restore_time IS NULL AND o.workspace IN ('', c.workspace_id)
                AND o.integration IN ('', c.integration)),
            clock_timestamp()
        FROM connection c
        LEFT JOIN workspace_configuration w ON w.workspace_id = c.workspace_id AND w.integration = c.integration
        LEFT JOIN LATERAL (
            SELECT array_agg(s.field) AS fields, array_agg(s.sealed) AS records FROM credential s
            WHERE s.workspace_id = c.workspace_id AND s.connection_id = c.connection_id
            AND s.generation = c.generation) k ON true
        WHERE c.connection_id = in_connection AND c.workspace_id = in_workspace;
    END $$
"""


def upgrade() -> None:
    """Creates the function."""
    op.execute(HELD_CONNECTION)
    op.execute("REVOKE ALL ON FUNCTION held_connection(text, text) FROM PUBLIC")
