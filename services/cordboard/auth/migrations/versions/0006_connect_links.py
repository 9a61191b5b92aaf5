"""Links to the connect page."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE connect_link (
        workspace_id text NOT NULL REFERENCES workspace,
        link_id text NOT NULL UNIQUE,
        key_hash bytea NOT NULL,
        integration text NOT NULL,
        auth_schemes text[] NOT NULL,
        environment text NOT NULL,
        connection_id text NOT NULL,
        display_name text NOT NULL,
        scopes text[] NOT NULL,
        configuration jsonb NOT NULL,
        inputs bytea,
        return_url text NOT NULL,
        origin text NOT NULL,
        session_id text NOT NULL DEFAULT '',
        actor text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, link_id))
    """,
    "CREATE INDEX connect_link_expire ON connect_link (expire_time)",
    # The link whose page goes on when the person is back from the vendor.
    "ALTER TABLE connect_session ADD COLUMN link_id text NOT NULL DEFAULT ''",
)


def upgrade() -> None:
    """Creates the table, and adds to the sessions."""
    for statement in STATEMENTS:
        op.execute(statement)
    protect(op, "connect_link")
