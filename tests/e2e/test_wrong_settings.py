"""A service with a wrong setting does not start: it names the setting, ends with code 2, and falls back to nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from cordboard.core.settings import PREFIX, load
from cordboard.local.certificates import SERVICES, Identities
from cordboard.local.environment import of_service
from cordboard.local.options import MeshOptions
from cordboard.local.settings_file import settings_kind

PASSWORD: Final = "hunter2-is-not-told"
# What no setting of its kind can be.
MALFORMED: Final = {
    "listen_address": "everywhere",
    "database_url": f"sqlite:///{PASSWORD}",
    "identity_dir": "/nonexistent",
    "kek": "/nonexistent",
    "public_url": "http://plain.example",
    "catalog_address": "catalog",
    "auth_address": "auth:port",
    "flags_address": "",
}


def required(service: str) -> list[str]:
    """Returns the settings that have no default."""
    return [name for name, field in settings_kind(service).model_fields.items() if field.is_required()]


def environment_of(service: str, identities: Identities, folder: Path) -> dict[str, str]:
    """Returns an environment in which the service would start, but for a database that is not there."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    if not (keys / "1.key").exists():
        (keys / "1.key").write_bytes(bytes(range(32)))
        (keys / "1.key").chmod(0o400)
    return of_service(
        service,
        MeshOptions(state_dir=folder),
        addresses=dict.fromkeys(SERVICES, "127.0.0.1:1") | {service: "127.0.0.1:0"},
        identity=identities.directory(service),
        database_url=f"postgresql+asyncpg://cordboard_{service}:{PASSWORD}@127.0.0.1:1/cordboard",
        public_url="https://localhost:1",
        key_encryption_keys=keys,
        hub_key=keys / "hub.key",
    )


async def started(service: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Starts a service; returns the code with which it ended, and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"cordboard.{service}",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(50):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(), errors.decode()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_is_told_nothing_or_nonsense_does_not_start(
    identities: Identities, tmp_path: Path, service: str
) -> None:
    good = environment_of(service, identities, tmp_path)
    names = required(service)
    variables = {PREFIX + name.upper(): name for name in names}
    bare = {name: value for name, value in good.items() if not name.startswith(PREFIX)}
    nonsense = good | {variable: MALFORMED[name] for variable, name in variables.items()}
    for environment in (bare, nonsense):
        code, output, errors = await started(service, environment)
        assert code == 2, errors
        lines = errors.splitlines()
        assert {line.partition(":")[0] for line in lines} == set(variables), errors
        assert "Traceback" not in errors
        assert PASSWORD not in output + errors


@pytest.mark.parametrize(("service", "name"), [(service, name) for service in SERVICES for name in required(service)])
def test_each_required_setting_is_missed_and_judged_by_itself(
    identities: Identities,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    name: str,
) -> None:
    good = environment_of(service, identities, tmp_path)
    for variable, value in good.items():
        if variable.startswith(PREFIX):
            monkeypatch.setenv(variable, value)
    # The control: with the good environment it would start.
    settings: Any = load(settings_kind(service))
    assert settings.database_url.get_secret_value().endswith("/cordboard")
    variable = PREFIX + name.upper()
    for wrong in (None, MALFORMED[name]):
        if wrong is None:
            monkeypatch.delenv(variable)
        else:
            monkeypatch.setenv(variable, wrong)
        with pytest.raises(SystemExit) as ended:
            load(settings_kind(service))
        errors = capsys.readouterr().err
        assert ended.value.code == 2
        assert [line.partition(":")[0] for line in errors.splitlines()] == [variable], errors
        assert len(errors.partition(":")[2].strip()) > 5
        assert PASSWORD not in errors
