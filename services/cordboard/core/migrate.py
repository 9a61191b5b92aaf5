"""Brings every service's schema up to date, in one process, under the role that owns them.

`python -m cordboard.core.migrate` reads CORDBOARD_MIGRATE_DATABASE_URL (postgresql+asyncpg://, the owner's role) and
runs the Alembic chain of each service in the schema of its name. A service's own role may read and write its tables
and no more: it owns nothing, so row-level security holds for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic import command, context
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

SCHEMAS: Final = ("catalog", "auth", "uqi", "flags", "proxy", "telemetry")
URL_VARIABLE: Final = "CORDBOARD_MIGRATE_DATABASE_URL"
# Two runners of a rolling deployment wait for each other here.
LOCK: Final = 7_205_759_403

_AUDIT: Final = (
    """
    CREATE TABLE audit_head (
        chain text PRIMARY KEY, sequence bigint NOT NULL, hash bytea NOT NULL)
    """,
    """
    CREATE TABLE audit_entry (
        workspace_id text NOT NULL, sequence bigint NOT NULL, body text NOT NULL, hash bytea NOT NULL,
        time timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (workspace_id, sequence))
    """,
    """
    CREATE FUNCTION audit_append(in_chain text, in_bodies text[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    DECLARE
        head audit_head%ROWTYPE;
        next_body text;
    BEGIN
        INSERT INTO audit_head VALUES (in_chain, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
        SELECT * INTO head FROM audit_head WHERE chain = in_chain FOR UPDATE;
        FOREACH next_body IN ARRAY in_bodies LOOP
            head.sequence := head.sequence + 1;
            head.hash := sha256(
                '\\x01'::bytea || int8send(head.sequence) || head.hash || sha256(convert_to(next_body, 'UTF8')));
            INSERT INTO audit_entry (workspace_id, sequence, body, hash)
            VALUES (in_chain, head.sequence, next_body, head.hash);
        END LOOP;
        UPDATE audit_head SET sequence = head.sequence, hash = head.hash WHERE chain = in_chain;
        RETURN head.sequence;
    END $$
    """,
    """
    CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit journal only grows' USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    "CREATE TRIGGER audit_grows BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit_entry EXECUTE FUNCTION audit_refuse()",
    "REVOKE ALL ON FUNCTION audit_append(text, text[]) FROM PUBLIC",
)
_POLICY: Final = "workspace_id = nullif(current_setting('app.ws', true), '') OR current_setting('app.ws', true) = '*'"


def protect(op: Any, *tables: str) -> None:
    """Puts tables with a `workspace_id` under row-level security, for their owner too. For migrations."""
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY workspace ON {table} USING ({_POLICY}) WITH CHECK ({_POLICY})")


def create_audit_tables(op: Any) -> None:
    """Creates the audit journal of a service: its tables, the one function that appends, and what keeps them. For
    migrations.
    """
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    for statement in _AUDIT:
        op.execute(statement.replace("{schema}", schema))
    protect(op, "audit_entry")
    # The function runs as the owner, for whom the policy above holds too.
    op.execute("CREATE POLICY journal ON audit_entry TO CURRENT_USER USING (true) WITH CHECK (true)")


def run_environment() -> None:
    """Runs the migrations on the connection that the runner opened. For each service's `migrations/env.py`."""
    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table_schema=attributes["schema"])
    with context.begin_transaction():
        context.run_migrations()


async def migrate(url: str, schemas: Sequence[str] = SCHEMAS) -> None:
    """Brings the schemas to their newest revision, each in one transaction."""
    engine = create_async_engine(url, hide_parameters=True)
    try:
        for schema in schemas:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
                await connection.execute(text(f"SET LOCAL search_path TO {schema}"))
                await connection.run_sync(_upgrade, schema)
                for statement in _grants(schema):
                    await connection.execute(text(statement))
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, schema: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / schema / "migrations"))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")


def _grants(schema: str) -> tuple[str, ...]:
    role = f"cordboard_{schema}"
    return (
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
        f"REVOKE ALL ON {schema}.alembic_version FROM {role}",
        # The journal is read directly and written by its function alone.
        *(
            f"""DO $$ BEGIN IF to_regclass('{schema}.{table}') IS NOT NULL THEN
                REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {schema}.{table} FROM {role}; END IF; END $$"""
            for table in ("audit_entry", "audit_head")
        ),
    )


def main() -> None:
    """Migrates everything; exits with 2 when the URL is missing."""
    url = os.environ.get(URL_VARIABLE, "")
    if not url.startswith("postgresql+asyncpg://"):
        sys.stderr.write(f"{URL_VARIABLE}: must be postgresql+asyncpg://… of the role that owns the schemas\n")
        raise SystemExit(2)
    asyncio.run(migrate(url))


if __name__ == "__main__":
    main()
