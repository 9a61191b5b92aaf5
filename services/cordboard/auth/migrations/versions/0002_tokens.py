"""Revocations of tokens, API keys, operators' sign-ins and sessions."""

from __future__ import annotations

from alembic import op

from cordboard.core.migrate import protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    # Drawn in the transaction that revokes, so that the order of numbers is the order of commits.
    """
    CREATE TABLE revocation_head (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        sequence bigint NOT NULL DEFAULT 0)
    """,
    "INSERT INTO revocation_head DEFAULT VALUES",
    # No column `workspace_id`: every service has to see every row, and none of them says more than an id.
    """
    CREATE TABLE token_revocation (
        kind text NOT NULL CHECK (kind IN ('token', 'workspace', 'signing-key', 'api-key')),
        workspace text NOT NULL,
        subject text NOT NULL,
        sequence bigint NOT NULL UNIQUE,
        generation bigint NOT NULL DEFAULT 0,
        reason text NOT NULL,
        actor text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz,
        PRIMARY KEY (kind, workspace, subject))
    """,
    """
    CREATE TABLE api_key_pepper (
        version integer PRIMARY KEY,
        sealed bytea NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now())
    """,
    """
    CREATE TABLE api_key (
        workspace_id text NOT NULL REFERENCES workspace,
        key_id text NOT NULL,
        display_name text NOT NULL,
        environment text NOT NULL,
        roles text[] NOT NULL,
        digest bytea NOT NULL,
        pepper integer NOT NULL REFERENCES api_key_pepper,
        creator text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz,
        last_use_time timestamptz,
        revoke_time timestamptz,
        PRIMARY KEY (workspace_id, key_id))
    """,
    "CREATE UNIQUE INDEX api_key_id ON api_key (key_id)",
    """
    CREATE TABLE login_attempt (
        state_hash text PRIMARY KEY,
        nonce text NOT NULL,
        sealed bytea NOT NULL,
        redirect_uri text NOT NULL,
        challenge text NOT NULL,
        client_state text NOT NULL,
        return_path text NOT NULL,
        binding_hash text NOT NULL,
        expire_time timestamptz NOT NULL)
    """,
    """
    CREATE TABLE login_code (
        code_hash text PRIMARY KEY,
        challenge text NOT NULL,
        subject text NOT NULL,
        roles text[] NOT NULL,
        expire_time timestamptz NOT NULL)
    """,
    """
    CREATE TABLE operator_session (
        session_hash text PRIMARY KEY,
        subject text NOT NULL,
        roles text[] NOT NULL,
        generation bigint NOT NULL,
        expire_time timestamptz NOT NULL)
    """,
)


def upgrade() -> None:
    """Creates the tables."""
    for statement in TABLES:
        op.execute(statement)
    protect(op, "api_key")


def downgrade() -> None:
    """Refuses: what was revoked stays so."""
    raise NotImplementedError("the migration of tokens is not undone")
