"""PostgreSQL as a mesh has it: who may log in, and what each role may do."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pytest

from cordboard.local import postgres as module
from cordboard.local import roles
from cordboard.local.certificates import SERVICES
from cordboard.local.commands import Account
from cordboard.local.failures import Unusable
from cordboard.local.postgres import (
    Postgres,
    PostgresPrograms,
    can_reach,
    data_directory,
    remove_data,
    unprivileged_account,
)
from tests.fixtures.postgres import Databases


def plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def test_it_is_version_18_with_checksums_and_without_a_socket(postgres: Postgres) -> None:
    connection = await postgres.connect()
    try:
        assert (await connection.fetchval("SHOW server_version")).startswith("18.")
        assert await connection.fetchval("SHOW data_checksums") == "on"
        assert await connection.fetchval("SHOW unix_socket_directories") == ""
        assert await connection.fetchval("SHOW jit") == "off"
        assert await connection.fetchval("SHOW log_error_verbosity") == "terse"
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_sees_its_own_schema_and_has_limits(postgres: Postgres, service: str) -> None:
    connection = await asyncpg.connect(plain(postgres.database_url(service)))
    try:
        assert await connection.fetchval("SELECT current_schema") == service
        assert await connection.fetchval("SHOW statement_timeout") == "10s"
        assert await connection.fetchval("SHOW lock_timeout") == "3s"
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "15s"
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert not any(role[name] for name in ("rolsuper", "rolbypassrls", "rolcreatedb", "rolcreaterole"))
        other = "auth" if service != "auth" else "catalog"
        assert not await connection.fetchval("SELECT has_schema_privilege($1, 'USAGE')", other)
        assert not await connection.fetchval("SELECT has_schema_privilege('public', 'USAGE')")
        assert await connection.fetchval("SELECT has_schema_privilege($1, 'CREATE')", service) == (
            service == "telemetry"
        )
    finally:
        await connection.close()


async def test_nobody_gets_in_without_the_password(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://cordboard_auth:guess@127.0.0.1:{postgres.port}/cordboard")


async def test_a_second_provision_changes_nothing(postgres: Postgres) -> None:
    await postgres.provision()
    connection = await asyncpg.connect(plain(postgres.database_url("owner")))
    await connection.close()


def test_the_program_makes_passwords_once_and_the_roles_that_have_them(postgres: Postgres, tmp_path: Path) -> None:
    roles.main(["--passwords", str(tmp_path)])
    made = roles.read_passwords(tmp_path)
    roles.main(["--passwords", str(tmp_path)])
    assert roles.read_passwords(tmp_path) == made
    assert len(set(made.values())) == len(roles.ROLES)
    assert (tmp_path / "cordboard_auth" / "password").stat().st_mode & 0o777 == 0o600
    for role, password in postgres.passwords.items():
        (tmp_path / role / "password").write_text(password)
    roles.main(["--passwords", str(tmp_path), "--host", "127.0.0.1", "--port", str(postgres.port)])
    (tmp_path / roles.SUPERUSER / "password").write_text("guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        roles.main(["--passwords", str(tmp_path), "--host", "127.0.0.1", "--port", str(postgres.port)])


async def test_each_test_has_tables_and_no_rows_of_another(database: Databases) -> None:
    first, second = database("telemetry"), database("telemetry")
    assert first.name != second.name
    for made in (first, second):
        connection = await asyncpg.connect(plain(made.superuser_url))
        try:
            tables = await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'telemetry'")
            assert len(tables) > 1
        finally:
            await connection.close()


def test_passwords_are_not_shown(postgres: Postgres) -> None:
    assert not any(password in repr(postgres) for password in postgres.passwords.values())


def test_an_account_reaches_only_what_it_may_pass_through() -> None:
    stranger = Account(os.getuid() + 12_345, os.getgid() + 12_345)
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder, "inner")
        inner.mkdir()
        Path(folder).chmod(0o711)
        assert can_reach(inner, stranger)
        inner.chmod(0o700)
        assert not can_reach(inner, stranger)
        inner.chmod(0o755)
        Path(folder).chmod(0o700)
        assert not can_reach(inner, stranger)


def test_data_goes_elsewhere_when_its_account_cannot_follow(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wanted = closed / "postgres"
    stranger = Account(os.getuid() + 12_345, os.getgid() + 12_345)
    elsewhere = data_directory(wanted, stranger)
    assert not elsewhere.is_relative_to(tmp_path)
    assert can_reach(elsewhere.parent, stranger)
    assert elsewhere == data_directory(wanted, stranger)
    assert data_directory(wanted, None) == wanted
    remove_data(elsewhere, wanted)
    assert not elsewhere.parent.exists()
    # A state directory that is made again begins with other data: it has other passwords.
    again = data_directory(wanted, stranger)
    assert again != elsewhere
    remove_data(again, wanted)
    assert list(closed.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_programs_are_copied_to_where_their_account_can_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = PostgresPrograms.installed()
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    for part in (installed.root, installed.root.parent.parent / f"{installed.root.parent.name}.libs"):
        target = hidden / part.relative_to(installed.root.parent.parent)
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(part)
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    monkeypatch.setattr(module, "shared_folder", lambda _account: open_folder)
    account = unprivileged_account()
    copied = PostgresPrograms(hidden / installed.root.parent.name / installed.root.name).reachable_by(account)
    assert copied.root.is_relative_to(open_folder)
    answer = subprocess.run([str(copied.initialiser), "--version"], capture_output=True, text=True, check=True)
    assert "18." in answer.stdout


def test_data_of_another_version_is_not_touched(postgres: Postgres, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(Unusable, match="made by PostgreSQL 16"):
        Postgres(postgres.programs, data, 1, postgres.passwords).initialise()
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]
