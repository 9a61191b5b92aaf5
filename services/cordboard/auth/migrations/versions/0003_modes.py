"""Connections of every auth mode."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    # The ids and kinds of a combination's parts; whose OAuth client a credential was granted to: it can be refreshed by
    # that one alone.
    """
    ALTER TABLE connection
        ADD COLUMN parts jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN client_owner text NOT NULL DEFAULT 'platform' CHECK (client_owner IN ('platform', 'workspace')),
        ADD COLUMN verification text NOT NULL DEFAULT 'none'
            CHECK (verification IN ('none', 'pending', 'passed', 'failed')),
        ADD COLUMN idle_time timestamptz,
        ADD COLUMN ambiguous boolean NOT NULL DEFAULT false
    """,
    "CREATE INDEX connection_idle ON connection (idle_time) WHERE idle_time IS NOT NULL",
    """
    ALTER TABLE connect_session
        ADD COLUMN client_owner text NOT NULL DEFAULT 'platform',
        ADD COLUMN inputs bytea,
        ADD COLUMN browser_hash bytea,
        ADD COLUMN user_code text NOT NULL DEFAULT '',
        ADD COLUMN verification_uri text NOT NULL DEFAULT '',
        ADD COLUMN verification_uri_complete text NOT NULL DEFAULT '',
        ADD COLUMN poll_seconds integer NOT NULL DEFAULT 0,
        ADD COLUMN poll_time timestamptz,
        ADD COLUMN return_url text NOT NULL DEFAULT '',
        ADD COLUMN origin text NOT NULL DEFAULT ''
    """,
    "CREATE INDEX connect_session_poll ON connect_session (poll_time) WHERE poll_time IS NOT NULL",
    """
    ALTER TABLE revocation
        ADD COLUMN client_owner text NOT NULL DEFAULT 'platform',
        ADD COLUMN configuration jsonb NOT NULL DEFAULT '{}',
        ADD COLUMN client_id bytea,
        ADD COLUMN client_secret bytea
    """,
    """
    CREATE TABLE workspace_oauth_client (
        workspace_id text NOT NULL REFERENCES workspace,
        integration text NOT NULL,
        client_id text NOT NULL,
        revision bigint NOT NULL,
        sealed bytea,
        update_time timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, integration))
    """,
    # What all connections of a workspace to an integration share, unless they have a value of their own.
    """
    CREATE TABLE workspace_configuration (
        workspace_id text NOT NULL REFERENCES workspace,
        integration text NOT NULL,
        configuration jsonb NOT NULL,
        revision bigint NOT NULL,
        sealed bytea,
        update_time timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, integration))
    """,
)


def upgrade() -> None:
    """Creates the tables, and adds to those that exist."""
    for statement in STATEMENTS:
        op.execute(statement)
    protect(op, "workspace_oauth_client", "workspace_configuration")
