"""Forms of thousands of nodes: below 1 MB in every format, with what that costs said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from google.protobuf import json_format

from cordboard.uqi import brevity, drafts, json_forms, react
from cordboard.uqi.drafts import Draft
from cordboard.uqi.fields import Choice, Entries, Field, Group, Items, Json, Text, Union
from cordboard.uqi.reading import Limits
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi.judges import tree_of
from tests.unit.uqi.large_inputs import NODES, SHAPES, nodes
from tests.unit.uqi.samples import an_input, bound, the_draft

LIMIT: Final = 1_000_000
EITHER: Final = {"enum": ["a", "b"]}


def fields(found: tuple[Field, ...]) -> int:
    """How many fields there are, at all levels."""
    count = 0
    for field in found:
        match field.kind:
            case Group(members):
                count += fields(members)
            case Items(inner) | Entries(inner):
                count += fields((inner,))
            case Union(variants=variants):
                count += fields(variants)
            case _:
                pass
    return count + len(found)


def sizes(draft: Draft) -> dict[str, int]:
    """Characters of a form in every format, and of its document as browsers get it."""
    tree = tree_of(draft)
    texts = {
        "document": json_format.MessageToJson(form_pb2.FormDocument.FromString(draft.document), indent=None),
        "json_schema": draft.json_schema,
        "appsmith": draft.appsmith,
        "json_forms": json.dumps(json_forms.project(tree).document),
        "react": json.dumps(react.project(tree).document),
    }
    return {name: len(text) for name, text in texts.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_form_of_thousands_of_nodes_stays_small_in_every_format(shape: Callable[[], dict[str, Any]]) -> None:
    assert nodes(shape()) >= NODES
    draft = the_draft(shape())
    assert max(sizes(draft).values()) < LIMIT, sizes(draft)
    assert draft.losses
    # What stands at the top always has a field of its own.
    assert len(tree_of(draft).fields) == len(shape()["properties"])


@pytest.mark.parametrize("shape", SHAPES)
def test_without_limits_the_same_form_is_too_large(
    monkeypatch: pytest.MonkeyPatch, shape: Callable[[], dict[str, Any]]
) -> None:
    monkeypatch.setattr(drafts, "LIMITS", Limits(depth=50, nested_fields=1_000_000))
    monkeypatch.setattr(drafts, "MAX_SCHEMA_CHARACTERS", 100_000_000)
    monkeypatch.setattr(brevity, "MOST_DESCRIBED", 100_000_000)
    draft = the_draft(shape())
    assert max(sizes(draft).values()) > LIMIT
    assert fields(tree_of(draft).fields) >= NODES


def test_choices_by_the_ten_thousand_stay_until_a_form_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {"enum": [f"value-{number}" for number in range(10_000)]}
    numbers = {"type": "integer", "enum": list(range(10_000))}
    some = {"type": "array", "uniqueItems": True, "items": choices}
    one = the_draft(an_input(first=choices, few=EITHER))
    assert {type(field.kind) for field in tree_of(one).fields} == {Choice}
    assert max(sizes(one).values()) < LIMIT
    lists = {f"f{number}": choices for number in range(2)}
    given = an_input(**lists, n=numbers, s=some, few=EITHER, o=an_input(city=choices))
    many = the_draft(given)
    assert max(sizes(many).values()) < LIMIT
    kinds = {field.name: field.kind for field in tree_of(many).fields}
    assert (kinds["f0"], kinds["n"], kinds["s"]) == (Text(), Json(), Json(("array",)))
    assert isinstance(kinds["few"], Choice)
    assert any("choices" in loss for loss in many.losses)
    assert bound(given, {"f1": "other"}) == {"f1": "other"}
    monkeypatch.setattr(brevity, "MOST_CHOICES", 1_000_000)
    assert max(sizes(the_draft(given)).values()) > LIMIT
