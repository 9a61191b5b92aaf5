"""The form as Appsmith UQI JSON, in the plain dialect of its SaaS plugins; and where each value stands in it.

Appsmith takes any text with `{{ }}` for code. Text from a definition is neutralised wherever it goes, and the only
expressions are the ones made from conditions, of ids and quoted values alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from cordboard.uqi.conditions import Compare, Condition, both
from cordboard.uqi.expressions import expression, present
from cordboard.uqi.fields import (
    VARIANT,
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
    Settings,
    Text,
    Union,
)
from cordboard.uqi.hints import walk
from cordboard.uqi.presentation import slots
from cordboard.uqi.texts import clean, json_text, neutral
from cordboard.uqi.words import Words, words_in

FORM_DATA: Final = "actionConfiguration.formData"
AUTHENTICATION: Final = "datasourceConfiguration.authentication"
PROPERTIES: Final = "datasourceConfiguration.properties"
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
    """Returns the `editor` of an action's form, or the `form` of an auth scheme's and of settings."""
    if isinstance(tree.target, Command):
        return _Editor(tree.target.id, words_in(tree.language)).project(tree)
    if isinstance(tree.target, Settings):
        return _settings(tree)
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
        and all(isinstance(column.kind, _SCALARS) and not column.hidden for column in item.kind.fields)
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    """What holds for all fields of one object: its heading, when it counts, and whether it is there in any case."""

    heading: str = ""
    when: Condition | None = None
    given: bool = True


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A control, with the heading it stands under and when it is shown."""

    heading: str
    when: Condition | None
    control: dict[str, Any]


class _Editor:
    """Draws one action's form."""

    def __init__(self, command: str, words: Words) -> None:
        self._command = command
        self._words = words
        self._branch = f"{FORM_DATA}.{command}"
        self._known: dict[str, Field] = {}
        self._controls = 0
        self._losses: list[str] = []

    def project(self, tree: FormTree) -> Projection:
        command = self._command
        self._known = {field.id: field for field in walk(tree.fields)}
        if any(field.tab for field in self._known.values()):
            self._losses.append("Appsmith: tabs; shown as headings")
        if any(field.columns for field in self._known.values()):
            self._losses.append("Appsmith: columns; it has two where the fields are narrow")
        title = neutral(tree.title)
        selector = {
            "label": self._words.command,
            "description": self._words.which_action,
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
            "_uqi": _harmless(slots(tree)),
        }
        head = {"controlType": "SECTION_V2", "identifier": "SELECTOR", "children": [zone]}
        if self._controls > _MOST_CONTROLS:
            left = self._controls - _MOST_CONTROLS
            self._losses.append(f"Appsmith: {left} fields beyond {_MOST_CONTROLS} are not shown")
        return Projection({"editor": [head, section]}, tuple(self._losses))

    def _zones(self, fields: tuple[Field, ...]) -> list[dict[str, Any]]:
        """Returns zones of one column for wide controls and of two for the others, in the order of the fields."""
        zones: list[dict[str, Any]] = []
        last: tuple[str, str, Condition | None] | None = None
        for leaf in self._leaves(fields, _Setting()):
            layout = "SINGLE_COLUMN_ZONE" if leaf.control["controlType"] in _WIDE else "DOUBLE_COLUMN_ZONE"
            if last != (layout, leaf.heading, leaf.when):
                identifier = f"{self._command}_Z{len(zones) + 1}"
                zone: dict[str, Any] = {"controlType": layout, "identifier": identifier, "children": []}
                if leaf.heading:
                    zone["label"] = leaf.heading
                if leaf.when is not None:
                    shown = expression(leaf.when, self._branch, self._known, option_texts)
                    zone |= {"propertyName": identifier, "conditionals": {"show": f"{{{{!!({shown})}}}}"}}
                zones.append(zone)
                last = (layout, leaf.heading, leaf.when)
            zones[-1]["children"].append(leaf.control)
        return zones

    def _leaves(self, fields: tuple[Field, ...], setting: _Setting) -> Iterator[_Leaf]:
        for field in fields:
            if field.hidden and not (field.required and field.default is None):
                continue
            own = replace(setting, when=both(setting.when, field.active_when), heading=_group(field) or setting.heading)
            # A required member of an optional group is required only where the group is given.
            within = replace(own, heading=_heading(own.heading, field), given=setting.given and field.required)
            match field.kind:
                case Group(members):
                    yield from self._leaves(members, within)
                case Union(variants):
                    yield from self._union(field, variants, own, within)
                case _:
                    yield from self._leaf(self._control(field, given=setting.given), own)

    def _leaf(self, control: dict[str, Any], setting: _Setting) -> Iterator[_Leaf]:
        self._controls += 1
        if self._controls <= _MOST_CONTROLS:
            yield _Leaf(setting.heading, setting.when, control)

    def _union(self, field: Field, variants: tuple[Field, ...], own: _Setting, within: _Setting) -> Iterator[_Leaf]:
        chosen = f"{field.id}.{VARIANT}"
        options = [{"label": neutral(each.title), "value": each.key} for each in variants]
        selector: dict[str, Any] = {
            "label": self._labelled(field),
            "configProperty": f"{self._branch}.{chosen}",
            "controlType": "DROP_DOWN",
            "options": options,
            "isSearchable": len(options) > 8,
            "placeholderText": self._words.which,
            **({"isRequired": True} if own.given and field.required else {"isAllowClear": True}),
        }
        if field.description:
            selector["tooltipText"] = neutral(clean(field.description, _TOOLTIP))
        yield from self._leaf(selector, replace(own, heading=within.heading))
        for each in variants:
            case = replace(within, when=both(within.when, Compare(chosen, "in", (each.key,))), given=False)
            if isinstance(each.kind, Group):
                yield from self._leaves(each.kind.fields, case)
            else:
                yield from self._leaves((each,), case)

    def _control(self, field: Field, *, given: bool) -> dict[str, Any]:
        """Returns a field's control; `given` says that the object it is in is there whether filled in or not."""
        label = self._labelled(field)
        path = f"{self._branch}.{field.id}"
        control: dict[str, Any] = {"label": label, "configProperty": path, **self._appearance(field)}
        if given and field.required and not isinstance(field.kind, Boolean):
            control["isRequired"] = True
        if description := self._words.described(field):
            control["tooltipText"] = neutral(clean(description, _TOOLTIP))
        if control["controlType"] not in ("SWITCH", "FILE_PICKER", "ARRAY_FIELD", "KEYVALUE_ARRAY"):
            control.setdefault(
                "placeholderText",
                neutral(field.placeholder or field.example or self._words.enter.replace("{label}", field.title)),
            )
        # A value that is there from the start would make an optional object be sent that nobody filled in.
        counts = given and field.active_when is None
        return control | (self._initial(field, control["controlType"]) if counts else {})

    def _labelled(self, field: Field) -> str:
        return neutral(self._words.titled(field.title, deprecated=field.deprecated))

    def _appearance(self, field: Field) -> dict[str, Any]:
        """Returns the control type, with what belongs to it."""
        kind = field.kind
        if field.source is not None:
            return self._dynamic(field)
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

    def _dynamic(self, field: Field) -> dict[str, Any]:
        """Returns a dropdown that asks for its choices, as soon as every field they depend on is filled in."""
        paths = {name: f"{self._branch}.{other}" for name, other in field.source.inputs} if field.source else {}
        ready = " && ".join(present(path, self._branch) for path in paths.values()) or "true"
        params = {
            "requestType": field.id,
            "displayType": "DROP_DOWN",
            "parameters": {name: f"{{{{{path}}}}}" for name, path in sorted(paths.items())},
        }
        return {
            "controlType": "DROP_DOWN",
            "options": [],
            "isSearchable": True,
            **({"isMultiSelect": True} if isinstance(field.kind, Items) else {}),
            **({} if field.required else {"isAllowClear": True}),
            "fetchOptionsConditionally": True,
            "conditionals": {
                "fetchDynamicValues": {"condition": f"{{{{!!({ready})}}}}", "config": {"url": "", "params": params}}
            },
        }

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
        if column.active_when is not None:
            self._losses.append(f"Appsmith: {'.'.join(column.path)}: always shown, for rows know no conditions")
        shown = {"label": neutral(column.title), "key": column.key, **self._appearance(column)}
        if shown["controlType"] == "SWITCH":
            # Rows are drawn side by side, where only text and dropdowns fit.
            shown |= {"controlType": "DROP_DOWN", "options": _yes_no(self._words)}
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
        key = DATASOURCE_KEYS.get(field.name, field.key)
        control = _plain_control(field, f"{AUTHENTICATION}.{key}")
        if isinstance(field.kind, Secret):
            control["isSecretExistsPath"] = f"{AUTHENTICATION}.secretExists.{key}"
        children.append(control)
    losses = tuple(f"Appsmith: {name}: its braces are set apart" for name, value in fixed if neutral(value) != value)
    return Projection({"form": [{"sectionName": neutral(tree.title), "id": 1, "children": children}]}, losses)


def _settings(tree: FormTree) -> Projection:
    """Returns settings as rows of a data source's properties, each with its name and its value."""
    words = words_in(tree.language)
    children: list[dict[str, Any]] = []
    for number, field in enumerate(tree.fields):
        row = f"{PROPERTIES}[{number}]"
        # A variable's name is letters, digits and underscores.
        named = {"label": words.name, "configProperty": f"{row}.key", "controlType": "INPUT_TEXT"}
        children.append({**named, "initialValue": field.name, "hidden": True})
        control = _plain_control(field, f"{row}.value")
        match field.kind:
            case Choice(options) if len(options) <= _MOST_OPTIONS:
                shown = zip(options, option_texts(options), strict=True)
                control["controlType"] = "DROP_DOWN"
                control["options"] = [{"label": neutral(option.title), "value": text} for option, text in shown]
            case Boolean():
                control |= {"controlType": "DROP_DOWN", "options": _yes_no(words)}
            case Number() | Integer():
                control["dataType"] = "NUMBER"
        if control["controlType"] == "DROP_DOWN" and not field.required:
            control["isAllowClear"] = True
        children.append(control)
    section = {"sectionName": neutral(tree.title), "id": 1, "children": children}
    return Projection({"form": [section]}, ())


def _yes_no(words: Words) -> list[dict[str, str]]:
    return [{"label": words.yes, "value": "true"}, {"label": words.no, "value": "false"}]


def _plain_control(field: Field, path: str) -> dict[str, Any]:
    """Returns the control of a data source's form for a field: forms of that kind know no conditions."""
    control: dict[str, Any] = {
        "label": neutral(field.title),
        "configProperty": path,
        "controlType": "INPUT_TEXT",
        "isRequired": field.required,
    }
    if isinstance(field.kind, Secret):
        control |= {"dataType": "PASSWORD", "encrypted": True}
    if field.placeholder or field.example:
        control["placeholderText"] = neutral(field.placeholder or field.example)
    if field.description:
        control["description"] = neutral(clean(field.description, _TOOLTIP))
    return control


def _harmless(value: Any) -> Any:
    """Returns JSON with no text in it that could be taken for an expression."""
    if isinstance(value, dict):
        return {key: _harmless(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    return neutral(value) if isinstance(value, str) else value


def _group(field: Field) -> str:
    """Returns the heading of a field's tab and section, as far as it has any."""
    return ": ".join(neutral(text) for text in (field.tab, field.section) if text)


def _heading(above: str, field: Field) -> str:
    return f"{above} / {neutral(field.title)}" if above else neutral(field.title)
