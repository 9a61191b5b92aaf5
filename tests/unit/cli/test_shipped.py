"""Definitions come with an installation; and an edge that has nothing yet says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.cli import shipped
from cordboard.cli.check import definition_files
from cordboard.cli.edges import hint_of
from cordboard.cli.failures import CommandFailed


def test_the_definitions_of_this_release_are_found_by_their_slugs() -> None:
    files = definition_files(shipped.shipped_folder())
    assert len(files) >= 25
    assert shipped.shipped_file("slack") in files


@pytest.mark.parametrize("slug", ["no-such", "../README", "schema.json", ""])
def test_what_did_not_come_with_it_is_told(slug: str) -> None:
    with pytest.raises(CommandFailed, match="came with this installation"):
        shipped.shipped_file(slug)


def test_the_folder_of_the_wheel_goes_before_that_of_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "integrations").mkdir()
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)
    assert shipped.shipped_folder() == tmp_path / "integrations"
    (tmp_path / "integrations").rmdir()
    assert shipped.shipped_folder().name == "integrations"
    assert shipped.shipped_folder() != tmp_path / "integrations"


def test_an_edge_that_has_nothing_says_what_it_may_begin_with() -> None:
    assert "edges bundle" in hint_of(pb.SyncState(hub="hub-1", edge="shop"))
    assert hint_of(pb.SyncState(hub="hub-1", edge="shop", sequence=7)) == ""
    assert hint_of(pb.SyncState()) == ""
