"""A form in the browser against the server: what it gives back means what it was drawn with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from cordboard.core.schema import JsonSchema
from cordboard.uqi.binding import bound
from cordboard.uqi.drafts import Draft
from cordboard.uqi.fields import Field, Group, Secret
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi.judges import Filler, tree_of


def asked(draft: Draft, **given: Any) -> dict[str, Any]:
    """Returns what the browser is asked about a form."""
    document = form_pb2.FormDocument.FromString(draft.document)
    told = json_format.MessageToDict(document, always_print_fields_with_no_presence=True)
    return {"document": told, **given}


def trial(draft: Draft, seed: int = 1) -> tuple[dict[str, Any], Callable[[dict[str, Any]], list[str]]]:
    """Returns what the browser is asked, filled in, and what tells from its answer what is wrong with it."""
    tree = tree_of(draft)
    # A secret that is stored is never drawn.
    values = _without_secrets(tree.fields, Filler(random.Random(seed), "json_schema").members(tree.fields))

    def wrong(found: dict[str, Any]) -> list[str]:
        if found["wrong"]:
            return list(found["wrong"])
        judge = JsonSchema.compile(json.loads(draft.json_schema))
        read = _without_secrets(tree.fields, found["values"])
        came, went = bound(tree, judge, read, "json_schema"), bound(tree, judge, values, "json_schema")
        said = [] if came.input == went.input else [f"{_short(values)} came back as {_short(found['values'])}"]
        # What the page says is wrong the server says, too.
        if found["problems"] and not went.problems:
            said.append(f"only the page minds {found['problems'][:3]} in {_short(values)}")
        return said

    return asked(draft, values=values), wrong


def _without_secrets(fields: tuple[Field, ...], values: dict[str, Any]) -> dict[str, Any]:
    known = {field.name: field.kind for field in fields}
    return {
        name: _without_secrets(kind.fields, value)
        if isinstance(kind := known.get(name), Group) and isinstance(value, dict)
        else value
        for name, value in values.items()
        if not isinstance(known.get(name), Secret)
    }


def _short(values: dict[str, Any]) -> str:
    return json.dumps(values)[:500]
