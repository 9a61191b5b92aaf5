"""Auth's tables."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import create_audit_tables, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE workspace (
        workspace_id text PRIMARY KEY,
        display_name text NOT NULL DEFAULT '',
        customer text NOT NULL DEFAULT '',
        tier text NOT NULL,
        region text NOT NULL DEFAULT '',
        revision bigint NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        update_time timestamptz NOT NULL DEFAULT now())
    """,
    # No reference to workspace: the mesh's own secrets have a key too, and it is no tenant.
    """
    CREATE TABLE workspace_key (
        workspace_id text NOT NULL,
        version integer NOT NULL,
        key_id text NOT NULL,
        wrapped bytea NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, version))
    """,
    """
    CREATE TABLE signing_key (
        kid text PRIMARY KEY,
        jwk jsonb NOT NULL,
        sealed bytea NOT NULL,
        create_time timestamptz NOT NULL,
        sign_time timestamptz NOT NULL UNIQUE,
        expire_time timestamptz)
    """,
    """
    CREATE TABLE oauth_client (
        integration text PRIMARY KEY,
        client_id text NOT NULL,
        revision bigint NOT NULL,
        sealed bytea,
        update_time timestamptz NOT NULL DEFAULT now())
    """,
    """
    CREATE TABLE connect_session (
        workspace_id text NOT NULL REFERENCES workspace,
        session_id text NOT NULL,
        integration text NOT NULL,
        auth_scheme text NOT NULL,
        kind text NOT NULL,
        environment text NOT NULL,
        connection_id text NOT NULL,
        display_name text NOT NULL,
        scopes text[] NOT NULL,
        configuration jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'exchanging', 'connected', 'failed')),
        error text NOT NULL DEFAULT '',
        state_hash bytea UNIQUE,
        verifier bytea,
        actor text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz NOT NULL,
        PRIMARY KEY (workspace_id, session_id))
    """,
    "CREATE INDEX connect_session_expire ON connect_session (expire_time)",
    """
    CREATE TABLE connection (
        workspace_id text NOT NULL REFERENCES workspace,
        connection_id text NOT NULL,
        integration text NOT NULL,
        auth_scheme text NOT NULL,
        kind text NOT NULL,
        environment text NOT NULL,
        display_name text NOT NULL,
        scopes text[] NOT NULL,
        configuration jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('ready', 'reconnect_required')),
        problem text NOT NULL DEFAULT '',
        generation bigint NOT NULL,
        refreshable boolean NOT NULL,
        expire_time timestamptz,
        refresh_time timestamptz,
        lease_owner text,
        lease_until timestamptz,
        failures integer NOT NULL DEFAULT 0,
        retry_time timestamptz,
        forced_until timestamptz,
        create_time timestamptz NOT NULL DEFAULT now(),
        update_time timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, connection_id))
    """,
    "CREATE INDEX connection_integration ON connection (workspace_id, integration, connection_id)",
    """
    CREATE TABLE credential (
        workspace_id text NOT NULL,
        connection_id text NOT NULL,
        generation bigint NOT NULL,
        field text NOT NULL,
        sealed bytea NOT NULL,
        PRIMARY KEY (workspace_id, connection_id, generation, field),
        FOREIGN KEY (workspace_id, connection_id) REFERENCES connection ON DELETE CASCADE)
    """,
    # One row: the number of the last change of any connection. Whoever changes one holds it until the commit, so that
    # numbers are committed in their order and no watcher misses one.
    "CREATE TABLE connection_head (sequence bigint NOT NULL)",
    "CREATE UNIQUE INDEX connection_head_one ON connection_head ((true))",
    "INSERT INTO connection_head VALUES (0)",
    # The last change of each connection, also of those that are gone: their generations are never used again.
    """
    CREATE TABLE connection_change (
        workspace_id text NOT NULL,
        connection_id text NOT NULL,
        sequence bigint NOT NULL UNIQUE,
        generation bigint NOT NULL,
        highest_generation bigint NOT NULL,
        PRIMARY KEY (workspace_id, connection_id))
    """,
    """
    CREATE TABLE revocation (
        workspace_id text NOT NULL,
        revocation_id text NOT NULL,
        integration text NOT NULL,
        auth_scheme text NOT NULL,
        connection_id text NOT NULL,
        generation bigint NOT NULL,
        field text NOT NULL,
        sealed bytea NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        next_time timestamptz NOT NULL DEFAULT now(),
        create_time timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, revocation_id))
    """,
    "CREATE INDEX revocation_next ON revocation (next_time)",
)
TENANTS = (
    "workspace",
    "workspace_key",
    "connect_session",
    "connection",
    "credential",
    "connection_change",
    "revocation",
)


def upgrade() -> None:
    """Creates them, and the audit journal."""
    for statement in TABLES:
        op.execute(statement)
    protect(op, *TENANTS)
    create_audit_tables(op)


def downgrade() -> None:
    """Refuses: what the vault holds cannot be made again."""
    raise NotImplementedError("auth's first migration is not undone")
