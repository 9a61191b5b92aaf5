"""What a file says to the services of a local mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from cordboard.local.failures import Unusable
from cordboard.local.options import MeshOptions
from cordboard.local.settings_file import OWN, read_settings, settings_kind


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(text)
    return file


def test_settings_become_the_environment_of_their_service(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        telemetry:
          alert_webhook_url: https://alerts.example.com
          alert_group_seconds: 30
          alert_email_to: [ada@example.com, bob@example.com]
          alert_email_from:
        "*":
          access_log: all
        """,
    )
    found = read_settings(file)
    assert found == {
        "telemetry": {
            "CORDBOARD_ALERT_WEBHOOK_URL": "https://alerts.example.com",
            "CORDBOARD_ALERT_GROUP_SECONDS": "30",
            "CORDBOARD_ALERT_EMAIL_TO": '["ada@example.com", "bob@example.com"]',
            "CORDBOARD_ALERT_EMAIL_FROM": "",
        },
        "*": {"CORDBOARD_ACCESS_LOG": "all"},
    }
    assert MeshOptions(extra_env=found).extra_env == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("telemetry:\n  alert_webhok_url: x\n", "telemetry.alert_webhok_url: is no setting; is it alert_webhook_url?"),
        ("proxy: {alert_webhook_url: x}\n", "proxy.alert_webhook_url: is no setting"),
        ("post: {a: b}\n", "post: is no service; there are"),
        ("'*': {listen_address: 'localhost:1'}\n", "*.listen_address: the local mesh decides it itself"),
        ("telemetry: loud\n", "telemetry: has to have settings by name"),
        ("- telemetry\n", "has to have a section for each service"),
        ("", "has to have a section for each service"),
        ("telemetry: {alert_smtp_password: 'sesame\n", "line 2: found unexpected end of stream"),
        (None, "No such file"),
        (b"\xff\xfe\xfd", "is no text in UTF-8"),
    ],
)
def test_what_nobody_would_read_is_refused_by_its_name(tmp_path: Path, text: str | bytes | None, said: str) -> None:
    file = tmp_path / "settings.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Unusable) as refused:
        read_settings(file)
    assert said in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_what_the_mesh_decides_itself_are_settings() -> None:
    assert settings_kind("telemetry").model_fields.keys() >= OWN
