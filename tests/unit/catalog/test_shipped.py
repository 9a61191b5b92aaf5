"""The definitions that come with Cordboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from cordboard.catalog.capabilities import RUNTIME, needed
from cordboard.catalog.document import read
from cordboard.catalog.folder import File, check_files
from cordboard.catalog.v1 import definition_pb2 as pb

FOLDER = Path(__file__).resolve().parents[3] / "integrations"
FILES = [File(path.name, path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))]
DEFINITIONS = [read(file.text).definition for file in FILES]
ids = [definition.slug for definition in DEFINITIONS]


def kinds(prefix: str, message: type[pb.AuthScheme] | type[pb.Paging]) -> set[str]:
    names = {field.name.replace("_", "-") for field in message.DESCRIPTOR.oneofs_by_name["kind"].fields}
    return {f"{prefix}.{name}" for name in names} & RUNTIME


def test_every_shipped_definition_passes_the_check() -> None:
    assert [(report.file, report.findings) for report in check_files(FILES) if report.findings] == []
    assert len(FILES) >= 25


def test_each_holds_to_its_own_promise() -> None:
    assert [report.file for report in check_files(FILES, FILES) if report.findings] == []


def test_every_kind_of_sign_in_and_of_paging_is_used() -> None:
    used = frozenset().union(*(needed(definition) for definition in DEFINITIONS))

    assert kinds("auth", pb.AuthScheme) - used == set()
    assert kinds("paging", pb.Paging) - used == set()


@pytest.mark.parametrize("definition", DEFINITIONS, ids=ids)
def test_each_says_what_it_is(definition: pb.Definition) -> None:
    examples = [example for action in definition.actions for example in action.examples]

    assert definition.description
    assert definition.category
    assert definition.compatibility == pb.COMPATIBILITY_MODE_BACKWARD
    assert 4 <= len(definition.actions) <= 10
    assert all(action.title for action in definition.actions)
    assert all(scheme.title or scheme.description for scheme in definition.auth_schemes)
    assert len(examples) >= 3
    assert all(example.HasField("response") for example in examples)
