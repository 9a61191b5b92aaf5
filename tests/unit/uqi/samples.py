"""Definitions and forms for the tests, each with the one thing in it that the test is about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.binding import bind
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import Field, FormTree
from cordboard.uqi.store import FormRecord

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def a_definition(
    *inputs: dict[str, Any] | str, slug: str = "acme", schemas: dict[str, Any] | str | None = None
) -> pb.Definition:
    """A definition with one action for each input schema: `create`, `create-2`, …"""
    actions = [
        pb.Action(
            id="create" if number == 1 else f"create-{number}",
            title=f"Create thing {number}",
            description="Creates a thing.",
            input_schema_json=given if isinstance(given, str) else json.dumps(given),
            request=pb.RequestPlan(method="POST", path="/things"),
        )
        for number, given in enumerate(inputs, 1)
    ]
    shared = schemas if isinstance(schemas, str) else json.dumps(schemas) if schemas else ""
    return pb.Definition(slug=slug, title="Acme", actions=actions, schemas_json=shared)


def an_input(*required: str, **properties: Any) -> dict[str, Any]:
    """The schema of an input with these properties."""
    return {"type": "object", "properties": properties, "required": list(required)}


def the_draft(given: dict[str, Any] | str, schemas: dict[str, Any] | str | None = None) -> Draft:
    """The form of an action with this input."""
    (draft,) = Draftsman(a_definition(given, schemas=schemas)).drafts(["action.create"])
    assert isinstance(draft, Draft), draft
    return draft


def stored(slug: str, drafts: Iterable[Draft]) -> list[FormRecord]:
    """Forms as they are stored, as far as an editor is made of them."""
    return [
        FormRecord(
            slug, "1.0.0", draft.id, draft.title, draft.description, draft.losses, draft.etag, NOW,
            appsmith=draft.appsmith, revision=draft.revision,
        )
        for draft in drafts
    ]  # fmt: skip


def the_tree(given: dict[str, Any] | str, schemas: dict[str, Any] | str | None = None) -> FormTree:
    """The fields of the form of an action with this input."""
    return json_schema.read(json.loads(the_draft(given, schemas).json_schema))


def the_field(schema: Any, schemas: dict[str, Any] | None = None) -> Field:
    """The field of an input called `thing` with this schema."""
    (field,) = the_tree(an_input(thing=schema), schemas).fields
    return field


def bound(given: dict[str, Any], values: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the values mean for an action with this input."""
    schema = json.loads(the_draft(given, schemas).json_schema)
    return bind(json_schema.read(schema), JsonSchema.compile(schema), values)


def an_auth_form(**kind: Any) -> Draft:
    """The form of an auth scheme of that kind."""
    definition = pb.Definition(slug="acme", title="Acme", auth_schemes=[pb.AuthScheme(id="main", **kind)])
    (draft,) = Draftsman(definition).drafts(["auth.main"])
    assert isinstance(draft, Draft), draft
    return draft
