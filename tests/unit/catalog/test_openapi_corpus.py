"""Every real API description of the folder CORDBOARD_OPENAPI_SAMPLES becomes a definition, or one clear error."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.document import read, write
from cordboard.catalog.openapi import import_document
from cordboard.core.errors import DocumentInvalid

pytestmark = pytest.mark.corpus

VARIABLE = "CORDBOARD_OPENAPI_SAMPLES"
MAX_SECONDS = 8.0


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of API descriptions."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        pytest.skip(f"{VARIABLE} names no folder of API descriptions: NOTHING real is imported in this run")
    return Path(named)


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[str]]:
    """Counts over the whole folder; printed at the end."""
    counted: Counter[str] = Counter()
    yield counted
    print("\n" + "  ".join(f"{name}: {number}" for name, number in sorted(counted.items())))


def samples(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".yaml", ".yml"))
    assert found, f"{folder} holds no API descriptions"
    return found


def test_every_description_imports_with_each_operation_an_action_or_a_listed_loss(
    folder: Path, counts: Counter[str]
) -> None:
    for path in samples(folder):
        text = path.read_text()
        started = time.process_time()
        try:
            became = import_document(text, owner="corpus")
        except DocumentInvalid as error:
            # Only what is broken as a text.
            assert "cannot be read" in error.text, path
            counts["refused with a sentence"] += 1
            continue
        took = time.process_time() - started
        report = became.report
        lost = sum(finding.severity == finding.SEVERITY_LOSS for finding in report.findings)
        counts.update(
            {
                "imported": 1,
                "operations": report.operation_count,
                "actions": report.action_count,
                "paged": sum(action.HasField("paging") for action in became.definition.actions),
                "losses": lost,
            }
        )
        assert took < MAX_SECONDS, path
        assert problems(became.definition) == [], path
        assert report.action_count == len(became.definition.actions), path
        assert report.operation_count <= report.action_count + lost, path
        assert became == import_document(text, owner="corpus"), path
        print(f"{path.name:40} {took:5.2f} s  {report.action_count:4} of {report.operation_count:4}  {lost:4} losses")
    assert counts["imported"]


def test_every_definition_can_be_written_and_read(folder: Path) -> None:
    written = 0
    for path in samples(folder):
        try:
            definition = import_document(path.read_text()).definition
        except DocumentInvalid:
            continue
        assert read(write(definition)).definition == definition, path
        written += 1
    assert written
