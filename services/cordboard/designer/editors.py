"""The forms in which a person says how a form looks: made, drawn and bound as every other form is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.schema import JsonSchema
from cordboard.uqi import canonical
from cordboard.uqi.binding import bound
from cordboard.uqi.drafts import Draftsman, Failure
from cordboard.uqi.fields import Choice, File, MultiChoice, Text
from cordboard.uqi.texts import json_text
from cordboard.uqi.v1 import form_pb2

if TYPE_CHECKING:
    from cordboard.uqi.fields import Field

TEXT: Final = {"type": "string"}
PROSE: Final = {"type": "string", "maxLength": 4096}
LINE: Final = {"type": "string", "maxLength": 200}
TYPES: Final = ("text", "integer", "number", "boolean", "choice", "other")
# More of them are named by their values.
MOST_NAMES: Final = 25
_NAME: Final = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"}
_WIDGETS: Final = {
    "text": "One line of text",
    "multiline": "Several lines of text",
    "code": "Several lines, as code",
    "select": "A list to choose from",
    "toggle": "On or off",
    "date": "A day, or a moment",
    "file": "A file",
    "hidden": "Not drawn",
}
_TYPE_TITLES: Final = {
    "text": "Any text",
    "integer": "A whole number",
    "number": "A number",
    "boolean": "Yes or no",
    "choice": "One of a few texts",
    "other": "What a JSON Schema says",
}
# Members that hold JSON of a person's own.
_JSON: Final = frozenset({"input", "schema"})
_YES: Final = {"type": "boolean", "default": False}


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong with what was filled in: where (a JSON Pointer), in which field, and what."""

    pointer: str
    text: str
    field_id: str = ""


class Refused(Exception):
    """What a person asked for cannot be; each of `problems` says why."""

    def __init__(self, *problems: Wrong) -> None:
        """Takes what is wrong, at least one thing."""
        super().__init__("; ".join(each.text for each in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Editor:
    """A form of what can be said of one part of a form."""

    document: form_pb2.FormDocument
    _schema: str
    members: tuple[str, ...]
    """The members of the document's part that it is about."""

    def plain(self) -> dict[str, Any]:
        """Returns the document as JSON, as the renderer draws it."""
        return json_format.MessageToDict(self.document)

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what was filled in as a document has it; raises Refused with everything that is wrong."""
        judge = JsonSchema.compile(json.loads(self._schema))
        found = bound(canonical.read(self.document), judge, given, "json_schema")
        if found.problems:
            raise Refused(*(Wrong(one.pointer, one.violation.description, one.field_id) for one in found.problems))
        kept = pruned(found.input)
        return kept if isinstance(kept, dict) else {}


def pruned(value: Any) -> Any:
    """Returns a value without members that say nothing: empty texts, lists and objects, and nothing at all."""
    if isinstance(value, dict):
        inner = {name: each if name in _JSON else pruned(each) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each not in ("", None) and each not in ([], {})}
    if isinstance(value, list):
        return [pruned(each) for each in value]
    return value


def titled(title: str = "") -> Editor:
    """Returns the editor of what an action or an auth scheme is called; `title` is what it is called without."""
    return _editor(
        "What people call it",
        {
            "title": {**LINE, "title": "Title"},
            "description": {**PROSE, "title": "Description"},
            "translations": _translations({"title": LINE, "description": PROSE}),
        },
        placeholders={"title": title},
    )


def hint(field: Field, actions: Sequence[str], widget: str = "") -> Editor:
    """Returns the editor of how a field of an action looks.

    `actions` are those that can list choices, and `widget` is what the definition has it drawn as.
    """
    options = field.kind.options if isinstance(field.kind, Choice | MultiChoice) else ()
    names = [each.value if isinstance(each.value, str) else json_text(each.value) for each in options]
    is_text = isinstance(field.kind, Text | File)
    can_be = {*(("text", "multiline", "code", "select", "file") if is_text else ()), "hidden", widget}
    widgets = [each for each in _WIDGETS if each in can_be]
    limits = {
        "accept": {
            "type": "array",
            "title": "Files that it takes",
            "items": {**LINE, "title": "Kind", "description": "Such as image/png, image/* or .pdf.", "minLength": 1},
        },
        "max_bytes": {"type": "integer", "title": "Largest file, in bytes", "minimum": 1, "maximum": 2**31 - 1},
    }
    choices: dict[str, Any] = {}
    if names:
        members = {name: {**LINE, "title": name or "Nothing"} for name in names}
        few = (
            {"properties": members}
            if len(names) <= MOST_NAMES
            else {"additionalProperties": {**LINE, "title": "Label"}}
        )
        choices = {"choices": {"type": "object", "title": "Names of the choices", **few}}
    source = {
        "type": "object",
        "title": "Choices from the vendor",
        "properties": {
            "action": {"enum": list(actions), "title": "Action that lists them"},
            "value_pointer": {**TEXT, "title": "Value of an item", "description": "A JSON Pointer, such as /id."},
            "label_pointer": {**TEXT, "title": "Label of an item", "description": "A JSON Pointer; empty: the value."},
            "search_property": {**TEXT, "title": "Input that takes what a person types to search"},
            "input": {"type": "object", "title": "Its input, as JSON"},
            "input_fields": {
                "type": "object",
                "title": "Inputs that take values of other fields",
                "additionalProperties": {**TEXT, "title": "Field"},
            },
        },
        "required": ["action", "value_pointer"],
    }
    can_ask = bool(actions) and not names
    texts: dict[str, Any] = {"label": LINE, "help": PROSE, "placeholder": LINE, "group": LINE, "tab": LINE}
    return _editor(
        "How the field looks",
        {
            "label": {**LINE, "title": "Label"},
            "help": {**PROSE, "title": "Help", "description": "Shown below the field."},
            "placeholder": {**LINE, "title": "Placeholder", "description": "Shown in the empty field."},
            "group": {**LINE, "title": "Group", "description": "Fields of one group stand together under it."},
            "tab": {**LINE, "title": "Tab", "description": "The tab that it stands on."},
            "columns": {
                "oneOf": [{"const": count, "title": f"{count} side by side"} for count in (2, 3, 4)],
                "title": "Columns",
                "description": "With the neighbours that say the same.",
            },
            "order": {"type": "integer", "title": "Order", "description": "Smaller first; the buttons set it too."},
            "widget": {"oneOf": [{"const": one, "title": _WIDGETS[one]} for one in widgets], "title": "Drawn as"},
            **(limits if isinstance(field.kind, File) else {}),
            **choices,
            **({"options": source} if can_ask else {}),
            "translations": _translations({**texts, **choices}),
        },
        placeholders={"label": field.title},
    )


def auth_field(*, is_own: bool, title: str) -> Editor:
    """Returns the editor of what an auth scheme asks for; `is_own`: the definition adds the field itself."""
    own = {
        "plain": {**_YES, "title": "Not secret, and may be shown"},
        "optional": {**_YES, "title": "May be left out"},
        "multiline": {**_YES, "title": "Has several lines, as a PEM file has"},
    }
    return _editor(
        "What the field asks for",
        {
            "title": {**LINE, "title": "Label"},
            "description": {**PROSE, "title": "Help", "description": "Where to find it."},
            **(own if is_own else {}),
            "translations": _translations({"title": LINE, "description": PROSE}),
        },
        placeholders={"title": title},
    )


def variable(*, is_other: bool) -> Editor:
    """Returns the editor of a config variable; `is_other`: its schema says more than a type."""
    types = [one for one in TYPES if one != "other" or is_other]
    cases = [
        {
            "if": {"properties": {"type": {"const": "choice"}}, "required": ["type"]},
            "then": {
                "properties": {
                    "choices": {
                        "type": "array",
                        "title": "The texts",
                        "items": {**LINE, "title": "Text", "minLength": 1},
                    }
                },
                "required": ["choices"],
            },
        },
        {
            "if": {"properties": {"type": {"const": "other"}}, "required": ["type"]},
            "then": {
                "properties": {"schema": {"type": "object", "title": "JSON Schema"}},
                "required": ["schema"],
            },
        },
    ]
    return _editor(
        "What a customer sets",
        {
            "title": {**LINE, "title": "Label"},
            "description": {**PROSE, "title": "Help", "description": "What to ask a person for."},
            "type": {"oneOf": [{"const": one, "title": _TYPE_TITLES[one]} for one in types], "title": "What it is"},
            "required": {**_YES, "title": "Nothing works without it"},
            "secret": {**_YES, "title": "Kept like a credential, and never shown"},
            "default_value": {**LINE, "title": "Value where none is set"},
            "translations": _translations({"title": LINE, "description": PROSE}),
        },
        required=["type"],
        cases=cases if is_other else cases[:1],
        members=("title", "description", "schema", "required", "secret", "default_value", "translations"),
    )


def named(title: str) -> Editor:
    """Returns the editor of a new part, of which the name alone is asked for."""
    return _editor(title, {"name": {**_NAME, "title": "Name"}}, required=["name"])


def _translations(texts: Mapping[str, Any]) -> dict[str, Any]:
    words = {
        "label": "Label", "help": "Help", "placeholder": "Placeholder", "group": "Group", "tab": "Tab",
        "title": "Title", "description": "Description", "choices": "Names of the choices",
    }  # fmt: skip
    members = {name: {**schema, "title": words[name]} for name, schema in texts.items()}
    language = {**LINE, "title": "Language", "description": "Such as de, or pt-BR.", "minLength": 2}
    item = {
        "type": "object",
        "title": "Language",
        "properties": {"language": language, **members},
        "required": ["language"],
    }
    return {"type": "array", "title": "In other languages", "items": item}


def _editor(
    title: str,
    properties: Mapping[str, Any],
    *,
    required: Sequence[str] = (),
    cases: Sequence[dict[str, Any]] = (),
    placeholders: Mapping[str, str] | None = None,
    members: Sequence[str] = (),
) -> Editor:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(required)}
    if cases:
        schema["allOf"] = list(cases)
    order = [*properties, *(name for case in cases for name in case["then"]["properties"])]
    if "translations" in order:
        order.append(order.pop(order.index("translations")))
    hints = [
        pb.FormHint(property=name, order=place, placeholder=(placeholders or {}).get(name, ""))
        for place, name in enumerate(order, 1)
    ]
    action = pb.Action(id="part", title=title, input_schema_json=json.dumps(schema), form_hints=hints)
    (draft,) = Draftsman(pb.Definition(slug="designer", title="Designer", actions=[action])).drafts(["action.part"])
    if isinstance(draft, Failure):
        raise TypeError(draft.problem)
    document = form_pb2.FormDocument.FromString(draft.document)
    return Editor(document, draft.json_schema, tuple(members or properties))
