"""Forms before the programs that draw them: JSON Forms, React JSON Schema Form, AJV, and Appsmith's rules.

Where Bind and AJV may differ, and nothing else: what is in a projection only as text (free JSON, files), what a
projection leaves to Bind (unions, items, keywords that validators read differently), and what Bind is kinder about than
AJV (text for numbers, blanks, and values that do not count). The trials hold none of the third kind.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cordboard.catalog.document import read
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.schema import JsonSchema
from cordboard.uqi import canonical, json_forms, react
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import FormTree
from cordboard.uqi.presentation import slots
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi import judges
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.judges import CLIENTS, Filler
from tests.unit.uqi.samples import the_draft
from tests.unit.uqi.torture import CASES

SHIPPED = sorted((Path(__file__).parents[3] / "integrations").glob("*.yaml"))
with_node = pytest.mark.skipif(not judges.INSTALLED, reason="needs Node.js and `npm ci` in tests/node")
ROUNDS = 8


def drafts(definition: Definition) -> list[Draft]:
    """Every form of a definition."""
    draftsman = Draftsman(definition)
    made = draftsman.drafts(draftsman.ids())
    assert all(isinstance(each, Draft) for each in made), made
    return [each for each in made if isinstance(each, Draft)]


@pytest.fixture(scope="module")
def torture() -> dict[str, Draft]:
    """A form of each case."""
    return {name: the_draft(given) for name, given in CASES.items()}


def has_round_trips(draft: Draft) -> None:
    """Checks that the canonical document and every projection give back the form, as far as each promises."""
    tree = judges.tree_of(draft)
    document = form_pb2.FormDocument.FromString(draft.document)
    assert canonical.read(document) == tree
    assert document.revision
    told = slots(tree)
    drawn = json_forms.project(tree).document
    assert json.loads(json.dumps(drawn))["uischema"]["options"]["uqi"] == json.loads(json.dumps(told))
    assert react.project(tree).document["uiSchema"]["ui:options"]["uqi"] == told


def test_every_case_gives_back_its_form_from_every_format(torture: dict[str, Draft]) -> None:
    for name, draft in torture.items():
        has_round_trips(draft)
        document = json.loads(draft.appsmith)
        assert problems(document) == [], name
        if name != "hostile":
            assert document["editor"][1]["_uqi"] == slots(judges.tree_of(draft)), name


def test_the_same_definition_always_gives_the_same_bytes(torture: dict[str, Draft]) -> None:
    assert {name: the_draft(given) for name, given in CASES.items()} == torture


@with_node
def test_every_case_is_drawn_by_every_renderer(torture: dict[str, Draft]) -> None:
    asked = [judges.asked(draft, judges.tree_of(draft)) for draft in torture.values()]
    for name, found in zip(torture, judges.judged(asked), strict=True):
        assert found["problems"] == [], name


@with_node
def test_every_case_is_drawn_when_it_is_filled_in(torture: dict[str, Draft]) -> None:
    asked = []
    for draft in torture.values():
        tree = judges.tree_of(draft)
        request = judges.asked(draft, tree)
        request["jsonForms"]["data"] = Filler(random.Random(1), "json_forms").members(tree.fields)
        request["react"]["formData"] = Filler(random.Random(1), "react").members(tree.fields)
        asked.append(request)
    for name, found in zip(torture, judges.judged(asked), strict=True):
        assert found["problems"] == [], name


@with_node
def test_shipped_definitions_are_drawn_by_every_renderer() -> None:
    # One way to sign in and two actions of each; all forms of all definitions are for `python -m tests.scale.forms`.
    each = [drafts(read(path.read_text()).definition) for path in SHIPPED]
    found = [draft for made in each for draft in (*made[:2], made[-1])]
    assert found
    for draft in found:
        has_round_trips(draft)
        assert problems(json.loads(draft.appsmith)) == [], draft.id
    asked = [judges.asked(draft, judges.tree_of(draft)) for draft in found]
    for draft, said in zip(found, judges.judged(asked), strict=True):
        assert said["problems"] == [], draft.id


@with_node
def test_the_judges_see_what_is_wrong() -> None:
    draft = the_draft(CASES["scalars"])
    tree = judges.tree_of(draft)
    broken = [judges.asked(draft, tree) for _ in range(4)]
    broken[0]["jsonForms"]["schema"]["properties"]["text"] = {"anyOf": [{"type": "object"}, {"type": "string"}]}
    broken[1]["react"]["schema"]["properties"]["text"] = {"type": "mystery"}
    broken[2]["appsmith"]["editor"][1]["conditionals"]["show"] = "{{actionConfiguration.formData.command}}"
    broken[3]["schema"]["properties"]["text"] = {"type": 5}
    for found in judges.judged(broken):
        assert found["problems"]


def trials(tree: FormTree, client: Any, mistakes: float) -> list[dict[str, Any]]:
    """Values of a client, every second time with mistakes."""
    chances = [(seed, mistakes if seed % 2 else 0.0) for seed in range(ROUNDS)]
    return [Filler(random.Random(seed), client, chance).members(tree.fields) for seed, chance in chances]


@with_node
def test_bind_and_ajv_agree_on_what_is_right(torture: dict[str, Draft]) -> None:
    asked, expected = [], []
    for name, draft in torture.items():
        tree = judges.tree_of(draft)
        judge = JsonSchema.compile(json.loads(draft.json_schema))
        request = judges.asked(draft, tree)
        asked.append(request)
        for client in CLIENTS:
            for values in trials(tree, client, 0.25):
                request["trials"].append({"target": client, "values": values})
                expected.append((name, client, values, judges.verdict(tree, judge, values, client)))
    said = [verdict for found in judges.judged(asked) for verdict in found["trials"]]
    counted: Counter[tuple[bool, bool]] = Counter()
    for (name, client, values, (ours, shown)), theirs in zip(expected, said, strict=True):
        counted[ours, theirs] += 1
        assert ours == theirs or (theirs and not ours and not shown), (name, client, values)
    assert min(counted[True, True], counted[False, False]) > 30


@with_node
def test_every_client_shows_a_field_in_the_same_case(torture: dict[str, Draft]) -> None:
    asked, expected = [], []
    for name, draft in torture.items():
        tree = judges.tree_of(draft)
        request = judges.asked(draft, tree)
        asked.append(request)
        for values in trials(tree, "json_forms", 0.0):
            shown = judges.visible(tree.fields, values)
            filled = {"command": "ACME_CREATE", "ACME_CREATE": judges.in_appsmith(tree.fields, values)}
            request["trials"] += [
                {"shown": "json_forms", "values": values},
                {"shown": "appsmith", "values": filled},
                {"shown": "react", "values": judges.by_name(tree.fields, values)},
            ]
            prefix = "actionConfiguration.formData."
            in_appsmith = {f"{prefix}ACME_CREATE.{each}" for each in shown} | {f"{prefix}command"}
            names = judges.names_shown(tree.fields, shown)
            expected += [(name, values, shown), (name, values, in_appsmith), (name, values, names)]
    said = [set(each) for found in judges.judged(asked) for each in found["trials"]]
    for number, ((name, values, ours), theirs) in enumerate(zip(expected, said, strict=True)):
        assert ours == theirs, (name, ("json_forms", "appsmith", "react")[number % 3], values)
