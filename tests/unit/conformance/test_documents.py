"""The judge of flag definitions and of sets: it reads a folder like that of flagd-schemas, and it can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.documents import invalid, judged, lines

FLAG: dict[str, Any] = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
DOCUMENTS: dict[str, Any] = {
    "flags/positive/right.json": {"$schema": "../../../flags.json", "flags": {"a": FLAG}},
    "flags/positive/told-wrong.json": {"$schema": "../../../flags.json", "flags": {"a": {**FLAG, "state": "ON"}}},
    "flags/negative/list.json": {"$schema": "../../../flags.json", "flags": [{"key": "a", **FLAG}]},
    "flagd/positive/list.json": {"$schema": "../../../flagd.json", "flags": [{"key": "a", **FLAG}]},
    "targeting/negative/operator.json": {"nope": []},
    "targeting/negative/passes.json": {"if": [True, "on"]},
}
SCHEMAS: dict[str, Any] = {
    "targeting": {"$id": "https://flagd.dev/schema/v0/targeting.json", "type": "object", "required": ["if"]},
    "flags": {
        "$id": "https://flagd.dev/schema/v0/flags.json",
        "properties": {"flags": {"additionalProperties": {"properties": {"targeting": {"$ref": "./targeting.json"}}}}},
    },
    "flagd": {"$id": "https://flagd.dev/schema/v0/flagd.json"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    contents = {f"test/{name}": content for name, content in DOCUMENTS.items()}
    contents |= {f"{name}.json": content for name, content in SCHEMAS.items()}
    for name, content in contents.items():
        file = tmp_path / "json" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def test_a_document_that_is_told_wrong_is_named(folder: Path) -> None:
    found = judged(folder)
    assert {one.name for one in found if not one.passed} == {
        "flags/positive/told-wrong.json",
        "targeting/negative/passes.json",
    }
    page = "\n".join(lines(found, {"all": (2, []), "one": (1, ["flags.a: is odd"])}))
    assert "| as they should be: taken | 3 | 2 |" in page
    assert "- flags/positive/told-wrong.json: state must be one of ENABLED, DISABLED" in page
    assert "- targeting/negative/passes.json: was taken" in page
    assert "| all | 2 | yes |" in page
    assert "| one | 1 | **no** |" in page


def test_a_set_is_held_to_the_schemas_of_the_folder(folder: Path) -> None:
    assert invalid(folder, {"flags": {"a": {"targeting": {"if": []}}}}) == []
    [problem] = invalid(folder, {"flags": {"a": {"targeting": {"and": []}}}})
    assert problem.startswith("flags.a.targeting: ")


def test_a_folder_without_documents_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        judged(tmp_path)
