"""The programs that draw forms, as judges of ours: AJV, JSON Forms, React JSON Schema Form, and Appsmith's rules."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_forms, json_schema, react
from cordboard.uqi.appsmith import option_texts
from cordboard.uqi.binding import Client
from cordboard.uqi.binding import bound as bind
from cordboard.uqi.conditions import holds
from cordboard.uqi.drafts import Draft
from cordboard.uqi.fields import (
    VARIANT,
    Boolean,
    Choice,
    Entries,
    Field,
    File,
    FormTree,
    Group,
    Integer,
    Items,
    Json,
    Moment,
    MultiChoice,
    Number,
    Text,
    Union,
)
from cordboard.uqi.hints import walk
from cordboard.uqi.json_forms import _PLAIN as PLAIN
from cordboard.uqi.presentation import bounds

NODE: Final = Path(__file__).parents[2] / "node"
INSTALLED: Final = shutil.which("node") is not None and (NODE / "node_modules" / "@rjsf").is_dir()
CLIENTS: Final[tuple[Client, ...]] = ("json_schema", "json_forms", "react")
_MOMENTS: Final = {"date": "2026-01-31", "time": "09:30:00Z", "date-time": "2026-01-31T09:30:00Z"}


def asked(draft: Draft, tree: FormTree) -> dict[str, Any]:
    """Returns what the judges are asked about a form."""
    return {
        "schema": json.loads(draft.json_schema),
        "jsonForms": json_forms.project(tree).document,
        "react": react.project(tree).document,
        "appsmith": json.loads(draft.appsmith),
        "trials": [],
    }


def judged(requests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields what the judges say of each form, in order."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    command = ["node", "forms.mjs"]
    done = subprocess.run(command, cwd=NODE, input=lines, capture_output=True, text=True, check=True)
    yield from (json.loads(line) for line in done.stdout.splitlines())


def tree_of(draft: Draft) -> FormTree:
    """Returns the fields of a form."""
    return json_schema.read(json.loads(draft.json_schema))


class Filler:
    """Fills in a form as a client's user would, sometimes wrongly."""

    def __init__(self, rng: random.Random, client: Client, mistakes: float = 0.0) -> None:
        self._rng = rng
        self._client = client
        self._keyed = client in ("json_forms", "appsmith")
        self._texts = client != "json_schema"
        self._mistakes = mistakes

    def members(self, fields: tuple[Field, ...]) -> dict[str, Any]:
        """Values for these fields: the required ones, and some of the others."""
        given = {}
        for field in fields:
            if field.name == "__proto__" and self._client == "json_schema":
                continue  # AJV looks at no member of that name
            if field.hidden or not (field.required or self._rng.random() < 0.6):
                continue
            if self._client == "json_schema" and field.required and field.default is not None:
                given[field.name] = self._value(field)  # AJV fills in no default, and then misses it
                continue
            if field.required and self._rng.random() < self._mistakes / 2:
                continue
            given[self._name(field)] = self._value(field)
        return given

    def _name(self, field: Field) -> str:
        if self._keyed:
            return field.key
        return react.name_of(field) if self._client == "react" else field.name

    def _value(self, field: Field) -> Any:
        kind = field.kind
        if self._rng.random() < self._mistakes and not isinstance(kind, Json | File | Union):
            return self._wrong(field)
        match kind:
            case Group(fields):
                return self.members(fields)
            case Union(variants):
                return self._variant(self._rng.choice(variants))
            case Choice(options):
                value = self._rng.choice(options).value
                return _text_of(options, value) if self._client == "appsmith" else value
            case MultiChoice(options):
                if self._client == "json_forms" and len(options) > 1000:
                    return json.dumps([options[0].value])
                return [] if self._client == "appsmith" else [self._rng.choice(options).value]
            case Items(item):
                rows = isinstance(item.kind, Group) and all(isinstance(each.kind, PLAIN) for each in item.kind.fields)
                flat = isinstance(item.kind, PLAIN) or (rows and not getattr(item.kind, "open", False))
                if self._client == "appsmith" or (self._client == "json_forms" and not flat):
                    return json.dumps([Filler(self._rng, "json_schema")._value(item)])
                return [self._value(item)]
            case Entries(value):
                if self._client == "appsmith" or (self._client == "json_forms" and not isinstance(value.kind, PLAIN)):
                    return json.dumps({"one": Filler(self._rng, "json_schema")._value(value)})
                one = self._value(value)
                return [{"key": "one", "value": one}] if self._keyed else {"one": one}
            case Json(types):
                value = _of_type(types)
                return json.dumps(value) if self._texts and not isinstance(value, str) else value
            case _:
                value = self._scalar(field)
                typed = self._client == "appsmith" and not isinstance(kind, Boolean) and not isinstance(value, str)
                return json.dumps(value) if typed else value

    def _scalar(self, field: Field) -> Any:
        match field.kind:
            case Boolean():
                return self._rng.random() < 0.5
            case Integer() | Number():
                least = field.constraints.get("minimum", field.constraints.get("exclusiveMinimum", 0) + 1)
                most = field.constraints.get("maximum", least + 5)
                return max(int(least), min(int(most), int(least) + self._rng.randrange(3)))
            case Moment(part):
                return _MOMENTS[part]
            case File(accept):
                told = next((each for each in accept if "*" not in each and "/" in each), "text/plain")
                return f"data:{told};name=a.txt;base64,aGk=" if self._client == "react" else "aGk="
            case _:
                least = field.constraints.get("minLength", 1)
                return "abcdefgh"[: max(least, 1)] + "x" * max(0, least - 8)

    def _variant(self, variant: Field) -> Any:
        if self._client == "react":
            # What a shape must not be, free JSON beside it may be; there is no choice to hold it against.
            return Filler(self._rng, self._client)._value(variant)
        value = self._value(variant)
        return {VARIANT: variant.key, variant.key: value} if self._keyed else value

    def _wrong(self, field: Field) -> Any:
        match field.kind:
            case Items() | MultiChoice() | Entries() | Group():
                return 5
            case Integer() | Number() if "maximum" in field.constraints and self._rng.random() < 0.5:
                return field.constraints["maximum"] + 1
            case Text() if "maxLength" in bounds(field) and bounds(field)["maxLength"] < 1000:
                return "x" * (bounds(field)["maxLength"] + 1)
            case Text():
                return ["x"]
            case _:
                return "zzz"


def in_appsmith(fields: tuple[Field, ...], values: dict[str, Any]) -> dict[str, Any]:
    """Returns values by keys as Appsmith keeps them: everything that is typed or chosen is text."""
    found: dict[str, Any] = {}
    for field in fields:
        if field.key not in values:
            continue
        value = values[field.key]
        match field.kind:
            case Group(members) if isinstance(value, dict):
                found[field.key] = in_appsmith(members, value)
            case Union(variants) if isinstance(value, dict):
                found[field.key] = {VARIANT: value[VARIANT], **in_appsmith(variants, value)}
            case Choice(options):
                found[field.key] = _text_of(options, value)
            case _:
                as_it_is = isinstance(value, str | bool)
                found[field.key] = value if as_it_is else json.dumps(value)
    return found


def by_name(fields: tuple[Field, ...], values: dict[str, Any]) -> dict[str, Any]:
    """Returns values by keys as React JSON Schema Form has them, without unions."""
    return {
        react.name_of(field): by_name(field.kind.fields, values[field.key])
        if isinstance(field.kind, Group)
        else values[field.key]
        for field in fields
        if field.key in values and not isinstance(field.kind, Union | Entries | Items)
    }


def names_shown(fields: tuple[Field, ...], shown: set[str], above: str = "") -> set[str]:
    """Returns the paths of the fields of objects that are shown, by the names that React JSON Schema Form has."""
    found: set[str] = set()
    for field in fields:
        inside = {each for each in shown if each == field.id or each.startswith(f"{field.id}.")}
        if inside and not isinstance(field.kind, Union):
            here = f"{above}{react.name_of(field)}"
            found.add(here)
            if isinstance(field.kind, Group):
                found |= names_shown(field.kind.fields, inside, f"{here}.")
    return found


def _of_type(types: tuple[str, ...]) -> Any:
    values = {
        "object": {"a": 1},
        "array": [1],
        "string": "a",
        "number": 1.5,
        "integer": 1,
        "boolean": True,
        "null": None,
    }
    return next((values[name] for name in types), {"a": 1})


def _text_of(options: Any, value: Any) -> str:
    texts = {json.dumps(known): text for text, known in option_texts(options).items()}
    return texts[json.dumps(value)]


def verdict(tree: FormTree, judge: JsonSchema, values: dict[str, Any], client: Client) -> tuple[bool, bool]:
    """Tells whether Bind takes the values; and, when it does not, whether a projection could have known."""
    found = bind(tree, judge, values, client)
    if not found.problems:
        return True, True
    fields = {field.id: field for field in walk(tree.fields)}
    return False, any(_is_shown(fields.get(each.field_id), client) for each in found.problems)


def _is_shown(field: Field | None, client: Client) -> bool:
    """Tells whether everything that decides about a field is in its projection, and not left to Bind alone."""
    if client == "json_schema":
        return not isinstance(field.kind if field else None, Moment | File)
    if field is None or isinstance(field.kind, Json | File | Union | Items | Entries | MultiChoice):
        return False
    return not set(field.constraints) - set(bounds(field)) - {"format", "title"}


def visible(fields: tuple[Field, ...], values: dict[str, Any]) -> set[str]:
    """Returns the ids of the controls that are shown for values by keys; evaluated here, for all clients alike."""

    def at(field: str) -> Any:
        found: Any = values
        for step in field.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return found

    def of(fields: tuple[Field, ...]) -> Iterator[str]:
        for field in fields:
            if field.hidden and not (field.required and field.default is None):
                continue
            if field.active_when is not None and not holds(field.active_when, at):
                continue
            if isinstance(field.kind, Group):
                yield from of(field.kind.fields)
            elif isinstance(field.kind, Union):
                yield f"{field.id}.{VARIANT}"
                yield from of(tuple(each for each in field.kind.variants if at(f"{field.id}.{VARIANT}") == each.key))
            else:
                yield field.id

    return set(of(fields))
