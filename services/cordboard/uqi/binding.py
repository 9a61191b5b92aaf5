"""What people filled in becomes the input of an action, or the values of an auth scheme: authoritative, all at once.

Values come by the names of the JSON Schema, or as Appsmith keeps them: under `command` and the command's own branch, by
the fields' keys, with text for everything that was typed. Violations name fields as the JSON Schema does, either way.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, Final, TypeAlias

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.schema import JsonSchema
from cordboard.uqi.appsmith import DATASOURCE_KEYS, option_texts
from cordboard.uqi.fields import (
    Boolean,
    Choice,
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
    Secret,
    Text,
)
from cordboard.uqi.texts import JsonInvalid, check_json, json_text, read_json

# A message that holds a Struct nests three levels for each of these, and readers of protobuf stop at 100.
MAX_DEPTH: Final = 30
MAX_VIOLATIONS: Final = 100
# Beyond it a double, which is what a Struct carries, has no word for every whole number.
_EXACT: Final = (1 << 53) - 1

_ABSENT: Final = object()
_INTEGER: Final = re.compile(r"[+-]?\d{1,40}(\.0{1,20})?", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,5})?", re.ASCII)
_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_WORDS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: its path, and whether fields go by their keys there, as in Appsmith, or by their names."""

    path: str
    keyed: bool

    def below(self, name: str) -> _Place:
        return _Place(f"{self.path}.{name[:100]}", self.keyed)

    def at(self, index: int) -> _Place:
        return _Place(f"{self.path}[{index}]", self.keyed)

    def typed(self) -> _Place:
        """Returns the same place for what somebody wrote there as JSON: it has the API's own names."""
        return _Place(self.path, keyed=False)


def bind(tree: FormTree, judge: JsonSchema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the input that `values` mean; raises InvalidFields with every violation, each path below `values`.

    `judge` is the compiled JSON Schema of the form and has the last word.
    """
    try:
        check_json(dict(values), MAX_DEPTH)
    except JsonInvalid as error:
        raise InvalidFields.one("values", str(error)) from None
    binder = _Binder()
    members, place = _members(tree, values, binder)
    bound = binder.object(tree.fields, members, place, is_open=False)
    found = binder.violations
    flagged = tuple(violation.field for violation in found)
    found += [seen for seen in judge.violations(bound, "values") if not _is_said(seen.field, flagged)]
    try:
        check_json(bound, MAX_DEPTH)
    except JsonInvalid as error:
        found.append(Violation("values", str(error)))
    if found:
        raise InvalidFields(found[:MAX_VIOLATIONS])
    return bound


def _members(tree: FormTree, values: Mapping[str, Any], binder: _Binder) -> tuple[Mapping[str, Any], _Place]:
    """Returns the members that stand for the form's fields, however they were sent."""
    plain = _Place("values", keyed=False)
    if isinstance(tree.target, Datasource):
        return _datasource_members(tree.target, values, binder), plain
    command = values.get("command")
    own = tree.target.id
    if not isinstance(command, str) or (command != own and any(each.name == "command" for each in tree.fields)):
        return values, plain
    if command != own:
        raise InvalidFields.one("values.command", f"must be {own!r}, the command of this form")
    branch = values.get(own, {})
    if not isinstance(branch, Mapping):
        raise InvalidFields.one(f"values.{own}", "must be an object")
    # Branches of other commands stay behind in Appsmith's form data; they mean nothing.
    return branch, _Place("values", keyed=True)


def _datasource_members(target: Datasource, values: Mapping[str, Any], binder: _Binder) -> Mapping[str, Any]:
    if set(values) != {"datasourceConfiguration"}:
        return values
    authentication = values["datasourceConfiguration"]
    if isinstance(authentication, Mapping) and set(authentication) <= {"authentication"}:
        authentication = authentication.get("authentication", {})
    if not isinstance(authentication, Mapping):
        raise InvalidFields.one("values.datasourceConfiguration", "must hold an object `authentication` and no more")
    kind = authentication.get("authenticationType", target.authentication_type)
    if kind != target.authentication_type:
        binder.refuse(
            "values.datasourceConfiguration.authentication.authenticationType",
            f"must be {target.authentication_type!r}",
        )
    fixed = {"authenticationType", "secretExists", *(name for name, _ in target.fixed)}
    names = {key: name for name, key in DATASOURCE_KEYS.items()}
    return {str(names.get(key, key)): value for key, value in authentication.items() if key not in fixed}


def _is_said(path: str, flagged: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in flagged)


@dataclass
class _Binder:
    violations: list[Violation] = field(default_factory=list)

    def refuse(self, path: str, text: str) -> None:
        self.violations.append(Violation(path, text))

    def object(
        self, fields: tuple[Field, ...], members: Mapping[str, Any], place: _Place, *, is_open: bool
    ) -> dict[str, Any]:
        """Returns the members of an object that have a value, by the API's names, defaults included."""
        known = {each.key if place.keyed else each.name: each for each in fields}
        bound: dict[str, Any] = {}
        for each in fields:
            value = self._value(each, members.get(each.key if place.keyed else each.name, _ABSENT), place)
            if value is not _ABSENT:
                bound[each.name] = value
            elif each.default is not None:
                bound[each.name] = each.default.value
        for key, value in members.items():
            if key in known:
                continue
            if is_open:
                bound[key] = value
            elif not (place.keyed and value in ("", None)):
                # Appsmith's rows begin with blank members of its own.
                self.refuse(place.below(key).path, "is not a field of this form")
        return bound

    def _value(self, each: Field, raw: Any, parent: _Place) -> Any:
        place = parent.below(each.name)
        if raw is _ABSENT:
            missing_group = parent.keyed and each.required and isinstance(each.kind, Group)
            return self._decoded(each, {}, place) if missing_group else _ABSENT
        return self._decoded(each, raw, place)

    def _decoded(self, each: Field, raw: Any, place: _Place) -> Any:
        if raw is None:
            return None if each.nullable or not place.keyed else _ABSENT
        if raw == "" and not _keeps_blank(each):
            return _ABSENT
        return _DECODERS[type(each.kind)](self, each, raw, place)

    def text(self, _: Field, raw: Any, place: _Place) -> Any:
        return json_text(raw) if place.keyed and isinstance(raw, bool | int | float) else raw

    def secret(self, _: Field, raw: Any, __: _Place) -> Any:
        return raw

    def integer(self, _: Field, raw: Any, place: _Place) -> Any:
        value = raw
        if isinstance(raw, str):
            if not _INTEGER.fullmatch(raw.strip()):
                self.refuse(place.path, "must be a whole number")
                return raw
            value = int(raw.strip().partition(".")[0])
        if isinstance(value, int) and abs(value) > _EXACT:
            self.refuse(place.path, f"must be between -{_EXACT} and {_EXACT}: others do not travel exactly")
        return value

    def number(self, _: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, str):
            return raw
        if not _NUMBER.fullmatch(raw.strip()):
            self.refuse(place.path, "must be a number")
            return raw
        value = float(raw)
        if value in (float("inf"), float("-inf")):
            self.refuse(place.path, "is too large a number")
            return raw
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value

    def boolean(self, _: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, str):
            return raw
        value = _WORDS.get(raw.strip().lower())
        if value is None:
            self.refuse(place.path, "must be true or false")
            return raw
        return value

    def moment(self, each: Field, raw: Any, place: _Place) -> Any:
        if isinstance(raw, str) and isinstance(each.kind, Moment) and not _is_moment(each.kind.part, raw):
            example = {"date": "2026-01-31", "time": "09:30:00", "date-time": "2026-01-31T09:30:00Z"}[each.kind.part]
            self.refuse(place.path, f"must look like {example}")
        return raw

    def choice(self, each: Field, raw: Any, _: _Place) -> Any:
        if not isinstance(raw, str) or not isinstance(each.kind, Choice | MultiChoice):
            return raw
        if any(option.value == raw for option in each.kind.options):
            return raw
        return option_texts(each.kind.options).get(raw, raw)

    def choices(self, each: Field, raw: Any, place: _Place) -> Any:
        known = raw
        if isinstance(raw, str) and isinstance(each.kind, MultiChoice):
            whole = raw in option_texts(each.kind.options)
            known = [raw] if whole else self._listed(raw, place, scalars=True)
        if not isinstance(known, list):
            return raw
        return [self.choice(each, item, place) for item in known]

    def group(self, each: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(each.kind, Group):
            return raw
        members, here = raw, place
        if isinstance(raw, str):
            members, here = self._parsed(raw, place), place.typed()
        if not isinstance(members, Mapping):
            return raw
        if here.keyed and not each.required and _is_blank(members):
            return _ABSENT
        return self.object(each.kind.fields, members, here, is_open=each.kind.open)

    def items(self, each: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(each.kind, Items):
            return raw
        item = each.kind.item
        known, here = raw, place
        if isinstance(raw, str):
            known, here = self._listed(raw, place, scalars=_takes_words(item.kind)), place.typed()
        if not isinstance(known, list):
            return raw
        decoded = [
            self._decoded(item, value, here.at(index))
            for index, value in enumerate(known)
            if not (here.keyed and _is_blank(value))
        ]
        return [value for value in decoded if value is not _ABSENT]

    def entries(self, each: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(each.kind, Entries):
            return raw
        members = raw
        if isinstance(raw, str):
            members = self._parsed(raw, place)
        elif isinstance(raw, list) and place.keyed:
            members = self._rows(raw, place)
        if not isinstance(members, Mapping):
            return raw
        typed = place.typed()
        decoded = {key: self._decoded(each.kind.value, value, typed.below(key)) for key, value in members.items()}
        bound = {key: value for key, value in decoded.items() if value is not _ABSENT}
        return bound if bound or each.required or not place.keyed else _ABSENT

    def _rows(self, rows: list[Any], place: _Place) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for index, row in enumerate(rows):
            if _is_blank(row):
                continue
            key = row.get("key") if isinstance(row, Mapping) else None
            if not isinstance(key, str) or not key:
                self.refuse(f"{place.path}[{index}]", "must have a key")
            elif key in members:
                self.refuse(f"{place.path}[{index}]", "has the key of an earlier row")
            else:
                members[key] = row.get("value", "")
        return members

    def json(self, each: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, str) or not isinstance(each.kind, Json):
            return raw
        takes_text = not each.kind.types or "string" in each.kind.types
        if takes_text and not place.keyed:
            return raw
        try:
            value = read_json(raw, MAX_DEPTH)
        except JsonInvalid as error:
            if not takes_text:
                self.refuse(place.path, str(error))
            return raw
        if takes_text and each.kind.types and not _has_type(value, each.kind.types):
            return raw
        self._check_exact(value, place)
        return value

    def file(self, _: Field, raw: Any, place: _Place) -> Any:
        content = raw.get("base64Content") if isinstance(raw, Mapping) else raw
        if not isinstance(content, str):
            self.refuse(place.path, "must be base64 text, or an object with `base64Content`")
            return raw
        content = content[match.end() :] if (match := _DATA_URL.match(content)) else content
        try:
            base64.b64decode(content.translate(_URL_SAFE), validate=True)
        except (binascii.Error, ValueError):
            self.refuse(place.path, "must be base64 text")
        return content

    def _listed(self, text: str, place: _Place, *, scalars: bool) -> Any:
        if scalars and not text.lstrip().startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        return self._parsed(text, place)

    def _parsed(self, text: str, place: _Place) -> Any:
        """Returns what a JSON text says; after a refusal the text itself, which fits nowhere."""
        try:
            value = read_json(text, MAX_DEPTH)
        except JsonInvalid as error:
            self.refuse(place.path, str(error))
            return text
        self._check_exact(value, place)
        return value

    def _check_exact(self, value: Any, place: _Place) -> None:
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, dict):
                waiting.extend(item.values())
            elif isinstance(item, list):
                waiting.extend(item)
            elif isinstance(item, int) and abs(item) > _EXACT:
                self.refuse(place.path, f"has a whole number beyond {_EXACT}, which does not travel exactly")
                return


Decoder: TypeAlias = Callable[[_Binder, Field, Any, _Place], Any]

_URL_SAFE: Final = str.maketrans("-_", "+/")
_DECODERS: Final[Mapping[type[Kind], Decoder]] = {
    Text: _Binder.text,
    Secret: _Binder.secret,
    Integer: _Binder.integer,
    Number: _Binder.number,
    Boolean: _Binder.boolean,
    Moment: _Binder.moment,
    Choice: _Binder.choice,
    MultiChoice: _Binder.choices,
    Group: _Binder.group,
    Items: _Binder.items,
    Entries: _Binder.entries,
    Json: _Binder.json,
    File: _Binder.file,
}


def _keeps_blank(each: Field) -> bool:
    """Tells whether an empty text is a value and not the lack of one."""
    if isinstance(each.kind, Choice):
        return any(option.value == "" for option in each.kind.options)
    return each.required and isinstance(each.kind, Text | Secret)


def _takes_words(kind: Kind) -> bool:
    """Tells whether a list of these can be typed as words between commas."""
    if isinstance(kind, Json):
        return not kind.types or "string" in kind.types
    return not isinstance(kind, Group | Items | Entries)


def _is_blank(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_blank(member) for member in value.values())
    return value in ("", None) if not isinstance(value, list) else not value


def _has_type(value: Any, types: tuple[str, ...]) -> bool:
    names = {
        type(None): ("null",),
        bool: ("boolean",),
        int: ("integer", "number"),
        float: ("number",),
        str: ("string",),
        list: ("array",),
        dict: ("object",),
    }[type(value)]
    return any(name in types for name in names)


def _is_moment(part: str, text: str) -> bool:
    try:
        if part == "date":
            return bool(_DATE.fullmatch(text)) and date.fromisoformat(text) is not None
        if part == "time":
            return time.fromisoformat(text.upper()) is not None
        return datetime.fromisoformat(text.upper()) is not None
    except ValueError:
        return False
