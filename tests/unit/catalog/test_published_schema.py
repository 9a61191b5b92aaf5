"""The JSON Schema of documents, as it is published, is current and says what the reader does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from cordboard.catalog import schema
from cordboard.catalog.document import read
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.schema import JsonSchema
from tests.unit.catalog.definitions import DOCUMENT, definitions, plain

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "integrations" / "schema.json"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The protos with their comments."""
    path = tmp_path_factory.mktemp("image") / "image.binpb"
    spec = importlib.util.spec_from_file_location("build", ROOT / "protos" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.write_image(str(path))
    return path


@pytest.fixture(scope="module")
def published() -> JsonSchema:
    """The published schema, compiled."""
    return JsonSchema.compile(json.loads(PUBLISHED.read_text()))


def test_the_published_schema_is_current(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "schema.json"
    monkeypatch.setattr("sys.argv", ["schema", str(image), str(made)])
    schema.main()
    assert made.read_text() == PUBLISHED.read_text()


def test_the_wrong_number_of_arguments_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["schema"])
    with pytest.raises(SystemExit) as caught:
        schema.main()
    assert caught.value.code == 2


def test_every_field_is_described() -> None:
    document: dict[str, Any] = json.loads(PUBLISHED.read_text())
    for one in (document, *document["$defs"].values()):
        assert one["description"]
        assert all(field["description"] for field in one["properties"].values())


def test_a_good_document_fits(published: JsonSchema) -> None:
    assert published.violations(plain(read(DOCUMENT).definition)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"nope": 1},
        {"category": "API"},
        {"tags": "x"},
        {"slug": 1},
        {"actions": [{"id": "x"}]},
        {"auth_schemes": [{"id": "x", "none": {}, "basic": {}}]},
        {"auth_schemes": [{"id": "x"}]},
        {"actions": [{"id": "x", "request": {"method": "GET", "path": "/"}, "timeout": 5}]},
    ],
)
def test_a_bad_document_does_not(published: JsonSchema, change: dict[str, Any]) -> None:
    assert published.violations({**plain(read(DOCUMENT).definition), **change})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(definitions())
def test_the_schema_objects_to_nothing_but_what_is_missing(published: JsonSchema, definition: Definition) -> None:
    for violation in published.violations(plain(definition)):
        assert violation.description in ("is required", '"oneOf"') or "oneOf" in violation.description, violation
