"""Real API descriptions: every action and auth scheme of each has a form that keeps the rules, in seconds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cordboard.catalog.openapi import import_document
from cordboard.core.errors import DocumentInvalid
from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.drafts import Draft, Draftsman
from tests.unit.uqi.appsmith_rules import problems

pytestmark = pytest.mark.corpus

FOLDER = Path(os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "missing"))
DOCUMENTS = sorted(path for path in FOLDER.glob("*") if path.suffix in (".json", ".yaml", ".yml"))
# For the largest of them, with 600 operations; the machine may be busy.
MOST_SECONDS = 6.0
MOST_CHARACTERS = 1_000_000


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_action_and_scheme_has_a_form(path: Path) -> None:
    try:
        definition = import_document(path.read_text()).definition
    except DocumentInvalid:
        return  # no forms are promised for what the Catalog refuses; its own corpus test says which those are
    started = time.process_time()
    draftsman = Draftsman(definition)
    made = draftsman.drafts(draftsman.ids())
    assert time.process_time() - started < MOST_SECONDS
    assert len(made) == len(definition.actions) + len(definition.auth_schemes)
    commands = set()
    for draft in made:
        assert isinstance(draft, Draft), draft
        schema = json.loads(draft.json_schema)
        JsonSchema.compile(schema)
        assert json_schema.project(json_schema.read(schema)) == schema, draft.id
        assert problems(json.loads(draft.appsmith)) == [], draft.id
        commands.add(schema["x-uqi"].get("command", draft.id))
        assert len(draft.json_schema) < MOST_CHARACTERS, draft.id
        assert len(draft.appsmith) < MOST_CHARACTERS, draft.id
    assert len(commands) == len(made)
