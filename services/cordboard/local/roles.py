"""Who may do what in the mesh's database: an owner who migrates, and for each service a role and a schema of its name.

Run as a program it makes the roles' passwords, as one file each, or the roles themselves: what a mesh in containers
does once before its migrations.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import asyncpg

from cordboard.local.certificates import SERVICES
from cordboard.local.state import write_atomically

DATABASE = "cordboard"
OWNER = "cordboard_owner"
SUPERUSER = "postgres"
ROLES = (SUPERUSER, OWNER, *(f"cordboard_{service}" for service in SERVICES))

# What no statement of a service may take longer than: a call has a deadline, its statement has one too.
LIMITS: Mapping[str, str] = {
    "statement_timeout": "10s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "15s",
}

Connect = Callable[[str], Awaitable[asyncpg.Connection]]
"""Connects as the superuser to the database of this name."""


async def provision(connect: Connect, passwords: Mapping[str, str]) -> None:
    """Makes the roles, the database and a schema for each service; repeating it changes nothing but passwords."""
    connection = await connect("postgres")
    try:
        known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        await connection.execute(";\n".join(_roles(known, passwords)))
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await connection.close()
    connection = await connect(DATABASE)
    try:
        await connection.execute(";\n".join(_schemas()))
    finally:
        await connection.close()


def _roles(known: set[str], passwords: Mapping[str, str]) -> list[str]:
    statements = ["SET log_min_error_statement = panic"]
    for role in ROLES:
        if role == SUPERUSER:
            continue
        statements.append(
            f"{'ALTER' if role in known else 'CREATE'} ROLE {role} "
            "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION "
            f"PASSWORD {_literal(passwords[role])}"
        )
    for service in SERVICES:
        settings = {"search_path": service, **LIMITS}
        statements += [f"ALTER ROLE cordboard_{service} SET {name} TO '{value}'" for name, value in settings.items()]
    return statements


def _schemas() -> list[str]:
    statements = [
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {DATABASE} TO {OWNER}",
    ]
    for service in SERVICES:
        role = f"cordboard_{service}"
        statements += [
            f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {OWNER}",
            f"REVOKE ALL ON SCHEMA {service} FROM PUBLIC",
            f"GRANT USAGE ON SCHEMA {service} TO {role}",
            f"GRANT CONNECT ON DATABASE {DATABASE} TO {role}",
            # Only who owns a table may add a partition to it: migrations may hand a table over to its service.
            f"GRANT {role} TO {OWNER} WITH INHERIT FALSE, SET TRUE",
        ]
    # Telemetry keeps spans by day, and makes each day's partition itself.
    statements.append("GRANT CREATE ON SCHEMA telemetry TO cordboard_telemetry")
    return statements


def _literal(text: str) -> str:
    # DDL takes no parameters. With standard_conforming_strings, the default, a quote is all there is to double.
    return "'" + text.replace("'", "''") + "'"


def make_passwords(directory: Path) -> None:
    """Writes a random password for each role that has none, to a file of its own in a folder of the role's name."""
    for role in ROLES:
        file = directory / role / "password"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(file, secrets.token_urlsafe(24).encode())


def read_passwords(directory: Path) -> dict[str, str]:
    """Returns what `make_passwords` wrote."""
    return {role: (directory / role / "password").read_text() for role in ROLES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes passwords, or with `--host` the roles that have them."""
    parser = argparse.ArgumentParser(
        prog="python -m cordboard.local.roles", description="Prepares the database of a mesh in containers."
    )
    parser.add_argument("--passwords", type=Path, required=True, help="directory with PASSWORDS/<role>/password")
    parser.add_argument("--host", help="PostgreSQL's host: make the roles and schemas there")
    parser.add_argument("--port", type=int, default=5432, help="PostgreSQL's port (default 5432)")
    options = parser.parse_args(arguments)
    if options.host is None:
        make_passwords(options.passwords)
        return
    passwords = read_passwords(options.passwords)

    async def connect(database: str) -> asyncpg.Connection:
        connection: asyncpg.Connection = await asyncpg.connect(
            host=options.host,
            port=options.port,
            user=SUPERUSER,
            password=passwords[SUPERUSER],
            database=database,
        )
        return connection

    asyncio.run(provision(connect, passwords))


if __name__ == "__main__":
    main()
