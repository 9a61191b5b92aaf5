"""What `cordboard up` makes of its options, before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cordboard.cli.__main__ import application
from cordboard.local.environment import of_service
from cordboard.local.options import MeshOptions


def environment(service: str, options: MeshOptions) -> dict[str, str]:
    """Returns what a service of a mesh with these options is told."""
    return of_service(
        service,
        options,
        addresses={service: "127.0.0.1:1"},
        identity=Path("/identity"),
        database_url="postgresql+asyncpg://localhost/cordboard",
        public_url="https://localhost:1",
        key_encryption_keys=Path("/keys"),
        hub_key=Path("/hub.key"),
    )


def test_the_catalog_alone_is_told_the_folders_of_sources(tmp_path: Path) -> None:
    chosen = MeshOptions(state_dir=tmp_path, source_folders=(tmp_path, Path("/srv/apis")))
    options = MeshOptions.from_json(chosen.to_json())
    assert options == chosen
    assert json.loads(environment("catalog", options)["CORDBOARD_SOURCE_FOLDERS"]) == [str(tmp_path), "/srv/apis"]
    assert "CORDBOARD_SOURCE_FOLDERS" not in environment("proxy", options)
    assert "CORDBOARD_SOURCE_FOLDERS" not in environment("catalog", MeshOptions(state_dir=tmp_path))


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_refused_before_anything_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    told = ["--state-dir", str(tmp_path / "state"), "up", "--source-folder", str(tmp_path / name)]
    done = CliRunner().invoke(application(), told)
    assert done.exit_code == 2
    assert "there is no such folder" in " ".join(word for word in done.output.split() if word != "│")
    assert not (tmp_path / "state").exists()
