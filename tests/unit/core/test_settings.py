"""Settings: a service with a wrong one does not start, and says which, and never says a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cordboard.core.schema import JsonSchema
from cordboard.core.settings import PREFIX, Settings, load, schema
from cordboard.local.certificates import Identities

URL = "postgresql+asyncpg://cordboard_catalog:hunter2@127.0.0.1:5432/cordboard"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, identities: Identities) -> Iterator[Any]:
    """Sets a good environment, changed; None takes a variable out."""

    def set_up(**changes: str | None) -> None:
        good = {
            "listen_address": "127.0.0.1:0", "database_url": URL, "identity_dir": str(identities.directory("catalog")),
        }  # fmt: skip
        for name, value in (good | changes).items():
            if value is None:
                monkeypatch.delenv(PREFIX + name.upper(), raising=False)
            else:
                monkeypatch.setenv(PREFIX + name.upper(), value)

    yield set_up


def refusal(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        load(Settings)
    assert ended.value.code == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "hunter2" not in written.err
    return written.err.splitlines()


def test_a_good_environment_is_read(environment: Any) -> None:
    environment(egress_allowed_networks='["10.0.0.0/8"]', public_url="https://cordboard.example", log_level="debug")
    settings = load(Settings)
    assert settings.database_url.get_secret_value() == URL
    assert settings.egress_allowed_networks == ("10.0.0.0/8",)
    assert (settings.profile, settings.log_level, settings.max_concurrent_calls) == ("production", "debug", 512)


def test_the_password_is_in_no_text_of_the_settings(environment: Any) -> None:
    environment()
    settings = load(Settings)
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_settings_do_not_change(environment: Any) -> None:
    environment()
    settings = load(Settings)
    with pytest.raises(ValidationError):
        settings.profile = "development"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["listen_address", "database_url", "identity_dir"])
def test_a_missing_one_is_named(environment: Any, capsys: pytest.CaptureFixture[str], name: str) -> None:
    environment(**{name: None})
    assert refusal(capsys) == [f"{PREFIX}{name.upper()}: Field required"]


def test_all_problems_are_told_at_once(environment: Any, capsys: pytest.CaptureFixture[str]) -> None:
    environment(listen_address=None, database_url="hunter2", grace_seconds="-1")
    assert [line.partition(":")[0] for line in refusal(capsys)] == [
        "CORDBOARD_LISTEN_ADDRESS", "CORDBOARD_DATABASE_URL", "CORDBOARD_GRACE_SECONDS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("profile", "hunter2"),
        ("listen_address", "8080"),
        ("listen_address", ":8080"),
        ("listen_address", "host:hunter2"),
        ("listen_address", "host:65536"),
        ("listen_address", "host:²"),
        ("listen_address", ""),
        ("catalog_address", "hunter2"),
        ("telemetry_address", "https://x"),
        ("database_url", "postgresql://role:hunter2@host/db"),
        ("database_url", "sqlite:///hunter2"),
        ("database_url", "postgresql+asyncpg://role:hunter2@host:port/db"),
        ("database_url", ""),
        ("database_pool_size", "0"),
        ("database_pool_size", "hunter2"),
        ("identity_dir", "/nowhere/hunter2"),
        ("trust_domain", ""),
        ("public_url", "http://hunter2.example"),
        ("egress_allowed_networks", '["hunter2"]'),
        ("egress_allowed_networks", '["10.0.0.1/8"]'),
        ("egress_allowed_networks", "10.0.0.0/8"),
        ("log_level", "hunter2"),
        ("max_message_bytes", "1"),
        ("grace_seconds", "-1"),
        ("grace_seconds", "nan"),
        ("grace_seconds", "inf"),
        ("max_concurrent_calls", "0"),
        ("access_log", "some"),
    ],
)
def test_a_wrong_one_is_named_and_not_quoted(
    environment: Any, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    environment(**{name: value})
    (line,) = refusal(capsys)
    assert line.startswith(f"{PREFIX}{name.upper()}")


def test_an_identity_without_its_key_is_refused(
    environment: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "tls.crt").touch()
    environment(identity_dir=str(tmp_path))
    assert refusal(capsys) == ["CORDBOARD_IDENTITY_DIR: must be a directory with tls.key, ca.crt"]


def test_the_schema_names_variables_and_holds() -> None:
    described = schema(Settings)["Settings"]
    judge = JsonSchema.compile(described)
    good = dict.fromkeys(described["required"], "x")
    assert judge.accepts(good)
    assert not judge.accepts(good | {"CORDBOARD_PROFILE": "x"})
    assert described["required"] == ["CORDBOARD_LISTEN_ADDRESS", "CORDBOARD_DATABASE_URL", "CORDBOARD_IDENTITY_DIR"]
    assert set(described["properties"]) == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert [name for name, about in described["properties"].items() if not about.get("description")] == []
    assert described["properties"]["CORDBOARD_DATABASE_URL"]["format"] == "password"
