"""The form as Appsmith UQI JSON, in the plain dialect of its SaaS plugins; and where each value stands in it.

Appsmith takes any text with `{{ }}` for code. Text from a definition is neutralised wherever it goes, and the only
expressions are the ones made here, of command ids alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cordboard.uqi.fields import (
    Boolean,
    Choice,
    Command,
    Datasource,
    Entries,
    Field,
    File,
    FormTree,
    Group,
    Integer,
    Items,
    Json,
    Kind,
    Moment,
    MultiChoice,
    Number,
    Option,
    Scalar,
    Secret,
    Text,
)
from cordboard.uqi.texts import clean, json_text, neutral

FORM_DATA: Final = "actionConfiguration.formData"
AUTHENTICATION: Final = "datasourceConfiguration.authentication"
# Where Appsmith's AuthenticationDTO keeps what the fields of our auth forms hold.
DATASOURCE_KEYS: Final = {"api_key": "value", "username": "username", "password": "password", "token": "bearerToken"}

_MOST_CONTROLS: Final = 2_000
_MOST_OPTIONS: Final = 1_000
_MOST_COLUMNS: Final = 6
_TOOLTIP: Final = 400
_EXAMPLES: Final = {"date": "2026-01-31", "time": "09:30:00", "date-time": "2026-01-31T09:30:00Z"}
_SCALARS: Final = (Text, Number, Integer, Boolean, Moment, Choice, Secret)
_WIDE: Final = frozenset({"QUERY_DYNAMIC_TEXT", "ARRAY_FIELD", "KEYVALUE_ARRAY", "FILE_PICKER"})


@dataclass(frozen=True, slots=True)
class Projection:
    """A document, and what it could not show as the form has it."""

    document: dict[str, Any]
    losses: tuple[str, ...]


def project(tree: FormTree) -> Projection:
    """Returns the `editor` of an action's form or the `form` of an auth scheme's."""
    if isinstance(tree.target, Command):
        return _Editor(tree.target.id).project(tree)
    return _datasource(tree, tree.target)


def option_texts(options: tuple[Option, ...]) -> dict[str, Scalar]:
    """Returns each option's value by the text that stands for it in Appsmith, which knows only strings there."""
    texts: dict[str, Scalar] = {}
    for option in options:
        plain = neutral(option.value if isinstance(option.value, str) else json_text(option.value))
        text = plain
        attempt = 2
        while text in texts:
            text = f"{plain} ({attempt})"
            attempt += 1
        texts[text] = option.value
    return texts


def is_flat(item: Field) -> bool:
    """Tells whether a list's items become rows of a table: objects with a few plain values each."""
    return (
        isinstance(item.kind, Group)
        and not item.kind.open
        and len(item.kind.fields) <= _MOST_COLUMNS
        and all(isinstance(column.kind, _SCALARS) for column in item.kind.fields)
    )


class _Editor:
    """Draws one action's form."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._controls = 0
        self._losses: list[str] = []

    def project(self, tree: FormTree) -> Projection:
        command = self._command
        title = _label(tree.title)
        selector = {
            "label": "Command",
            "description": "Which action to run",
            "configProperty": f"{FORM_DATA}.command",
            "controlType": "DROP_DOWN",
            "isSearchable": True,
            "isRequired": True,
            "initialValue": command,
            "options": [{"label": title, "value": command}],
        }
        zone = {"controlType": "DOUBLE_COLUMN_ZONE", "identifier": "SELECTOR_Z1", "children": [selector]}
        section = {
            "controlType": "SECTION_V2",
            "identifier": command,
            "name": title,
            "conditionals": {"show": f"{{{{{FORM_DATA}.command === '{command}'}}}}"},
            "children": self._zones(tree.fields),
        }
        head = {"controlType": "SECTION_V2", "identifier": "SELECTOR", "children": [zone]}
        if self._controls > _MOST_CONTROLS:
            left = self._controls - _MOST_CONTROLS
            self._losses.append(f"Appsmith: {left} fields beyond {_MOST_CONTROLS} are not shown")
        return Projection({"editor": [head, section]}, tuple(self._losses))

    def _zones(self, fields: tuple[Field, ...]) -> list[dict[str, Any]]:
        """Returns zones of one column for wide controls and of two for the others, in the order of the fields."""
        zones: list[dict[str, Any]] = []
        last: tuple[str, str] | None = None
        for heading, control in self._leaves(fields, f"{FORM_DATA}.{self._command}", "", required=True):
            layout = "SINGLE_COLUMN_ZONE" if control["controlType"] in _WIDE else "DOUBLE_COLUMN_ZONE"
            if last != (layout, heading):
                identifier = f"{self._command}_Z{len(zones) + 1}"
                zone: dict[str, Any] = {"controlType": layout, "identifier": identifier, "children": []}
                if heading:
                    zone["label"] = heading
                zones.append(zone)
                last = (layout, heading)
            zones[-1]["children"].append(control)
        return zones

    def _leaves(
        self, fields: tuple[Field, ...], parent: str, heading: str, *, required: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for field in fields:
            path = f"{parent}.{field.key}"
            # A required member of an optional group is required only where the group is given.
            needed = required and field.required
            if isinstance(field.kind, Group):
                title = f"{heading} / {_label(field.title)}" if heading else _label(field.title)
                yield from self._leaves(field.kind.fields, path, title, required=needed)
                continue
            self._controls += 1
            if self._controls <= _MOST_CONTROLS:
                yield heading, self._control(field, path, given=required)

    def _control(self, field: Field, path: str, *, given: bool) -> dict[str, Any]:
        """Returns a field's control; `given` says that the object it is in is there whether filled in or not."""
        label = _label(field.title, deprecated=field.deprecated)
        control: dict[str, Any] = {"label": label, "configProperty": path, **self._appearance(field)}
        if given and field.required and not isinstance(field.kind, Boolean):
            control["isRequired"] = True
        if field.description:
            control["tooltipText"] = neutral(clean(field.description, _TOOLTIP))
        if control["controlType"] not in ("SWITCH", "FILE_PICKER", "ARRAY_FIELD", "KEYVALUE_ARRAY"):
            control.setdefault("placeholderText", neutral(field.example) or f"Enter {_label(field.title)}")
        # A value that is there from the start would make an optional object be sent that nobody filled in.
        return control | (self._initial(field, control["controlType"]) if given else {})

    def _appearance(self, field: Field) -> dict[str, Any]:
        """Returns the control type, with what belongs to it."""
        kind = field.kind
        if isinstance(kind, Choice | MultiChoice):
            return self._choice(field, kind.options, several=isinstance(kind, MultiChoice))
        if isinstance(kind, Boolean):
            return {"controlType": "SWITCH"}
        if isinstance(kind, File):
            return {"controlType": "FILE_PICKER"}
        if isinstance(kind, Secret):
            return {"controlType": "INPUT_TEXT", "dataType": "PASSWORD", "encrypted": True}
        if isinstance(kind, Entries) and isinstance(kind.value.kind, _SCALARS):
            return {"controlType": "KEYVALUE_ARRAY"}
        if isinstance(kind, Items) and is_flat(kind.item) and isinstance(kind.item.kind, Group):
            return {"controlType": "ARRAY_FIELD", "schema": [self._column(column) for column in kind.item.kind.fields]}
        return self._text(field, kind)

    def _text(self, field: Field, kind: Kind) -> dict[str, Any]:
        if isinstance(kind, Moment):
            return {"controlType": "QUERY_DYNAMIC_INPUT_TEXT", "placeholderText": _EXAMPLES[kind.part]}
        if isinstance(kind, Text) and kind.multiline:
            return {"controlType": "QUERY_DYNAMIC_TEXT"}
        if isinstance(kind, Items):
            if isinstance(kind.item.kind, _SCALARS):
                return {"controlType": "QUERY_DYNAMIC_INPUT_TEXT", "placeholderText": '["first", "second"]'}
            self._losses.append(f"Appsmith: {'.'.join(field.path)}: a list that is no flat table; shown as JSON")
            return {"controlType": "QUERY_DYNAMIC_TEXT", "inputType": "JSON", "placeholderText": "[]"}
        if isinstance(kind, Entries):
            self._losses.append(f"Appsmith: {'.'.join(field.path)}: values that are not plain; shown as JSON")
            return {"controlType": "QUERY_DYNAMIC_TEXT", "inputType": "JSON", "placeholderText": '{"key": "value"}'}
        if isinstance(kind, Json) and not (kind.types and {"object", "array"}.isdisjoint(kind.types)):
            return {"controlType": "QUERY_DYNAMIC_TEXT", "inputType": "JSON"}
        return {"controlType": "QUERY_DYNAMIC_INPUT_TEXT"}

    def _choice(self, field: Field, options: tuple[Option, ...], *, several: bool) -> dict[str, Any]:
        if len(options) > _MOST_OPTIONS:
            self._losses.append(f"Appsmith: {'.'.join(field.path)}: {len(options)} options; shown as text")
            return {"controlType": "QUERY_DYNAMIC_INPUT_TEXT"}
        shown = [
            {"label": neutral(option.title), "value": text}
            for option, text in zip(options, option_texts(options), strict=True)
        ]
        control = {"controlType": "DROP_DOWN", "options": shown, "isSearchable": len(options) > 8}
        control |= {"isMultiSelect": True} if several else {}
        return control if field.required else control | {"isAllowClear": True}

    def _column(self, column: Field) -> dict[str, Any]:
        shown = {"label": _label(column.title), "key": column.key, **self._appearance(column)}
        if shown["controlType"] == "SWITCH":
            # Rows are drawn side by side, where only text and dropdowns fit.
            yes_no = [{"label": "Yes", "value": "true"}, {"label": "No", "value": "false"}]
            shown |= {"controlType": "DROP_DOWN", "options": yes_no}
        return shown | ({"isRequired": True} if column.required else {})

    def _initial(self, field: Field, control_type: str) -> dict[str, Any]:
        if field.default is None or field.default.value is None:
            return {}
        value = _initial_value(field, field.default.value, control_type)
        if "{{" in json_text(value) or "}}" in json_text(value):
            self._losses.append(f"Appsmith: {'.'.join(field.path)}: its default would be read as an expression")
            return {}
        return {"initialValue": value}


def _initial_value(field: Field, value: Any, control_type: str) -> Any:
    if control_type == "DROP_DOWN" and isinstance(field.kind, Choice | MultiChoice):
        texts = {json_text(known): text for text, known in option_texts(field.kind.options).items()}
        chosen = value if isinstance(value, list) else [value]
        shown = [texts[json_text(item)] for item in chosen]
        return shown if isinstance(value, list) else shown[0]
    if control_type == "KEYVALUE_ARRAY":
        return [{"key": key, "value": _as_text(item)} for key, item in value.items()]
    if control_type == "ARRAY_FIELD" and isinstance(field.kind, Items) and isinstance(field.kind.item.kind, Group):
        keys = {column.name: column.key for column in field.kind.item.kind.fields}
        return [{keys[name]: _as_text(item) for name, item in row.items()} for row in value]
    return value if control_type == "SWITCH" else _as_text(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _datasource(tree: FormTree, target: Datasource) -> Projection:
    fixed = (("authenticationType", target.authentication_type), *target.fixed)
    children: list[dict[str, Any]] = [
        {
            "label": neutral(name),
            "configProperty": f"{AUTHENTICATION}.{name}",
            "controlType": "INPUT_TEXT",
            "initialValue": neutral(value),
            "hidden": True,
        }
        for name, value in fixed
    ]
    for field in tree.fields:
        key = DATASOURCE_KEYS[field.name]
        control: dict[str, Any] = {
            "label": _label(field.title),
            "configProperty": f"{AUTHENTICATION}.{key}",
            "controlType": "INPUT_TEXT",
            "isRequired": field.required,
        }
        if isinstance(field.kind, Secret):
            exists = f"{AUTHENTICATION}.secretExists.{key}"
            control |= {"dataType": "PASSWORD", "encrypted": True, "isSecretExistsPath": exists}
        if field.description:
            control["description"] = neutral(clean(field.description, _TOOLTIP))
        children.append(control)
    losses = tuple(f"Appsmith: {name}: its braces are set apart" for name, value in fixed if neutral(value) != value)
    return Projection({"form": [{"sectionName": _label(tree.title), "id": 1, "children": children}]}, losses)


def _label(title: str, *, deprecated: bool = False) -> str:
    return neutral(f"{title} (deprecated)" if deprecated else title)
