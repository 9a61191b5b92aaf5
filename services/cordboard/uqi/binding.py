"""What people filled in becomes the input of an action, or the values of an auth scheme: authoritative, all at once.

Values come by the names of the JSON Schema, or as Appsmith keeps them: under `command` and the command's own branch, by
the fields' keys, with text for everything that was typed. Violations name fields as the JSON Schema does, either way.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.json_pointers import pointer_to
from cordboard.core.schema import JsonSchema
from cordboard.core.secrets import SEALED
from cordboard.core.secrets import Secret as Secrecy
from cordboard.uqi.appsmith import DATASOURCE_KEYS, option_texts
from cordboard.uqi.conditions import holds, same
from cordboard.uqi.fields import (
    VARIANT,
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
    Settings,
    Text,
    Union,
)
from cordboard.uqi.files import is_accepted
from cordboard.uqi.hints import inner
from cordboard.uqi.keys import UNSAFE_NAMES
from cordboard.uqi.texts import JsonInvalid, check_json, json_text, read_json

# A message that holds a Struct nests three levels for each of these, and readers of protobuf stop at 100.
MAX_DEPTH: Final = 30
MAX_VIOLATIONS: Final = 100
# Beyond it a double, which is what a Struct carries, has no word for every whole number.
_EXACT: Final = (1 << 53) - 1

_ABSENT: Final = object()
_INTEGER: Final = re.compile(r"[+-]?\d{1,40}(\.0{1,20})?", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,5})?", re.ASCII)
_DATA_URL: Final = re.compile(r"data:([^,]{0,300});base64,")
_EXPRESSION: Final = re.compile(r"\{\{.{1,10000}?\}\}", re.DOTALL)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_REFERENCE: Final = re.compile(SEALED + r"[A-Za-z0-9_-]{100,400000}={0,2}", re.ASCII)
_WORDS: Final = {"true": True, "false": False}


Client: TypeAlias = Literal["", "json_schema", "appsmith", "json_forms", "react"]
"""Which client's values they are; empty: as they look."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands, for people and as steps; and how values are written there.

    Fields go by their keys where it is `keyed`, as in Appsmith, and by the API's names elsewhere. Where `texts` holds,
    JSON is written as text.
    """

    path: str = "values"
    keyed: bool = False
    texts: bool = False
    steps: tuple[str | int, ...] = ()

    def below(self, name: str) -> _Place:
        return replace(self, path=f"{self.path}.{name[:100]}", steps=(*self.steps, name))

    def at(self, index: int) -> _Place:
        return replace(self, path=f"{self.path}[{index}]", steps=(*self.steps, index))

    def typed(self) -> _Place:
        """Returns the same place for what somebody wrote there as JSON: it has the API's own names."""
        return replace(self, keyed=False, texts=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: of which field (empty: of none), where in the input, and what."""

    field_id: str
    pointer: str
    violation: Violation


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """A secret that was taken out: of which field, where it goes in the input, and where it stood in what was sent."""

    field_id: str
    pointer: str
    submitted_pointer: str


@dataclass(frozen=True, slots=True)
class Bound:
    """What values mean; with a problem in it, the input is not to be used.

    `dropped` are JSON Pointers into the values: what belongs to branches that do not count. `deferred` are pointers
    into the input: expressions that are not values yet, and were not checked. `moved` are pointers into the input:
    values that stand otherwise than they were sent, because the form has changed since. `secrets` were taken out.
    """

    input: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    dropped: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    secrets: tuple[SecretPlace, ...] = ()
    withheld: tuple[Secrecy[str], ...] = ()
    """The secrets themselves, in the order of their places."""
    revision: str = ""
    """The revision of the form that it was bound by."""
    kept: tuple[str, ...] = ()
    """Pointers of secrets that came empty and are stored already: they stay as they are."""


def bind(tree: FormTree, judge: JsonSchema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the input that `values` mean; raises InvalidFields with every violation, each path below `values`."""
    return accepted(bound(tree, judge, values)).input


def accepted(found: Bound) -> Bound:
    """Returns what was bound when nothing is wrong with it; raises InvalidFields with every violation."""
    if found.problems:
        raise InvalidFields([problem.violation for problem in found.problems])
    return found


def bound(
    tree: FormTree,
    judge: JsonSchema,
    values: Mapping[str, Any],
    client: Client = "",
    *,
    expressions: bool = False,
    stored: Collection[str] = (),
) -> Bound:
    """Returns what `values` mean, as a client submits them, and every problem with them.

    `judge` is the compiled JSON Schema of the form and has the last word. With `expressions`, text with `{{ }}` in it
    stands where it is. Secrets of the fields in `stored` may be left empty: somebody has them already.
    """
    try:
        check_json(dict(values), MAX_DEPTH)
    except JsonInvalid as error:
        return Bound({}, (Problem("", "", Violation("values", str(error))),))
    binder = _Binder(expressions=expressions, stored=set(stored))
    try:
        members, place = _members(tree, values, binder, client)
    except InvalidFields as error:
        return Bound({}, tuple(Problem("", "", violation) for violation in error.violations))
    found = binder.object(tree.fields, members, place, is_open=False)
    said = (*(steps for steps, _ in binder.found), *binder.deferred, *binder.references, *binder.kept)
    problems = list(binder.found)
    for steps, violation in judge.located(found, "values"):
        if not any(steps[: len(each)] == each for each in said):
            problems.append((steps, violation))
    try:
        check_json(found, MAX_DEPTH)
    except JsonInvalid as error:
        problems.append(((), Violation("values", str(error))))
    return Bound(
        input=found,
        problems=tuple(
            Problem(field_at(tree.fields, steps), pointer_to(steps), violation)
            for steps, violation in problems[:MAX_VIOLATIONS]
        ),
        dropped=tuple(binder.dropped[:MAX_VIOLATIONS]),
        deferred=tuple(pointer_to(steps) for steps in binder.deferred),
        kept=tuple(pointer_to(steps) for steps in binder.kept),
    )


def is_reference(value: Any) -> bool:
    """Tells whether a value is a reference to a secret, as the Proxy's SealInput makes them."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def value_of(field: Field, raw: Any) -> Any:
    """Returns what was filled in for one field as the API has it; as it is where it cannot be read."""
    found = _Binder().decoded(field, raw, _Place(texts=True))
    return raw if found is _ABSENT else found


def field_at(fields: tuple[Field, ...], steps: tuple[str | int, ...]) -> str:
    """Returns the id of the innermost field that the steps lead to."""
    found = ""
    for step in steps:
        field = next((each for each in fields if each.name in (step, "*")), None)
        if field is None:
            break
        found = field.id
        fields = () if isinstance(field.kind, Union) else inner(field)
    return found


def _members(
    tree: FormTree, values: Mapping[str, Any], binder: _Binder, client: Client
) -> tuple[Mapping[str, Any], _Place]:
    """Returns the members that stand for the form's fields, however they were sent."""
    if client == "json_forms":
        return values, _Place(keyed=True, texts=True)
    plain = _Place(texts=client == "react")
    if isinstance(tree.target, Datasource):
        return _datasource_members(tree, tree.target, values, binder), plain
    if isinstance(tree.target, Settings):
        return _settings_members(values, binder), plain
    command, own = values.get("command"), tree.target.id
    foreign = command != own and any(each.name == "command" for each in tree.fields)
    if client in ("json_schema", "react") or (not client and (foreign or not isinstance(command, str))):
        return values, plain
    if command != own:
        raise InvalidFields.one("values.command", f"must be {own!r}, the command of this form")
    branch = values.get(own, {})
    if not isinstance(branch, Mapping):
        raise InvalidFields.one(f"values.{own}", "must be an object")
    # Branches of other commands stay behind in Appsmith's form data; they mean nothing.
    binder.dropped += [pointer_to((name,)) for name in values if name not in ("command", own)]
    return branch, _Place(keyed=True, texts=True)


def _datasource_members(
    tree: FormTree, target: Datasource, values: Mapping[str, Any], binder: _Binder
) -> Mapping[str, Any]:
    if set(values) != {"datasourceConfiguration"}:
        return values
    authentication = values["datasourceConfiguration"]
    if isinstance(authentication, Mapping) and set(authentication) <= {"authentication"}:
        authentication = authentication.get("authentication", {})
    if not isinstance(authentication, Mapping):
        raise InvalidFields.one("values.datasourceConfiguration", "must hold an object `authentication` and no more")
    kind = authentication.get("authenticationType", target.authentication_type)
    if kind != target.authentication_type:
        path = "values.datasourceConfiguration.authentication.authenticationType"
        binder.refuse(_Place(path), f"must be {target.authentication_type!r}")
    fixed = {"authenticationType", "secretExists", *(name for name, _ in target.fixed)}
    exists = authentication.get("secretExists")
    if isinstance(exists, Mapping):
        keys = {DATASOURCE_KEYS.get(each.name, each.key): each.id for each in tree.fields}
        binder.stored |= {each for key, each in keys.items() if exists.get(key) is True}
    names = {DATASOURCE_KEYS.get(each.name, each.key): each.name for each in tree.fields}
    return {str(names.get(key, key)): value for key, value in authentication.items() if key not in fixed}


def _settings_members(values: Mapping[str, Any], binder: _Binder) -> Mapping[str, Any]:
    if set(values) != {"datasourceConfiguration"}:
        return values
    configuration = values["datasourceConfiguration"]
    rows = configuration.get("properties") if isinstance(configuration, Mapping) else None
    if not isinstance(rows, list):
        raise InvalidFields.one("values.datasourceConfiguration", "must hold a list `properties`")
    # Rows of keys and values, as those of a map; an empty value is none.
    found = binder.rows(rows, _Place("values.datasourceConfiguration.properties"))
    return {name: value for name, value in found.items() if value != ""}


@dataclass
class _Binder:
    expressions: bool = False
    stored: set[str] = field(default_factory=set)
    kept: list[tuple[str | int, ...]] = field(default_factory=list)
    found: list[tuple[tuple[str | int, ...], Violation]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    deferred: list[tuple[str | int, ...]] = field(default_factory=list)
    references: list[tuple[str | int, ...]] = field(default_factory=list)

    def refuse(self, place: _Place, text: str) -> None:
        self.found.append((place.steps, Violation(place.path, text)))

    def drop(self, place: _Place) -> None:
        self.dropped.append(pointer_to(place.steps))

    def object(
        self, fields: tuple[Field, ...], members: Mapping[str, Any], place: _Place, *, is_open: bool
    ) -> dict[str, Any]:
        """Returns the members of an object that have a value, by the API's names, defaults included."""
        known = {_name(each, place): each for each in fields}
        bound: dict[str, Any] = {}
        for each in fields:
            value = self._value(each, members.get(_name(each, place), _ABSENT), place)
            if value is not _ABSENT:
                bound[each.name] = value
            elif each.default is not None:
                bound[each.name] = each.default.value
        self._drop_inactive(fields, members, bound, place)
        for key, value in members.items():
            if key in known:
                continue
            if is_open:
                bound[key] = value
            elif not (place.keyed and value in ("", None)):
                # Appsmith's rows begin with blank members of its own.
                self.refuse(place.below(key), "is not a field of this form")
        return bound

    def _drop_inactive(
        self, fields: tuple[Field, ...], members: Mapping[str, Any], bound: dict[str, Any], place: _Place
    ) -> None:
        """Takes out what does not count, in the order of the fields: one that went takes with it what hung on it."""
        named = {each.id: each.name for each in fields}
        for each in fields:
            if each.active_when is None or holds(each.active_when, lambda other: bound.get(named.get(other, ""))):
                continue
            bound.pop(each.name, None)
            here = place.below(each.name)
            self.found = [one for one in self.found if one[0][: len(here.steps)] != here.steps]
            self.deferred = [one for one in self.deferred if one[: len(here.steps)] != here.steps]
            self.kept = [one for one in self.kept if one[: len(here.steps)] != here.steps]
            if _name(each, place) in members:
                self.drop(here)

    def _value(self, each: Field, raw: Any, parent: _Place) -> Any:
        place = parent.below(each.name)
        if each.id in self.stored and isinstance(each.kind, Secret) and (raw is _ABSENT or raw in ("", None)):
            self.kept.append(place.steps)
            return _ABSENT
        if raw is _ABSENT:
            missing_group = parent.keyed and each.required and isinstance(each.kind, Group)
            return self.decoded(each, {}, place) if missing_group else _ABSENT
        return self.decoded(each, raw, place)

    def decoded(self, each: Field, raw: Any, place: _Place) -> Any:
        if raw is None:
            return None if each.nullable or not place.keyed else _ABSENT
        if raw == "" and not (_keeps_blank(each) or (isinstance(each.kind, Union) and not place.texts)):
            return _ABSENT
        if self.expressions and isinstance(raw, str) and _EXPRESSION.search(raw) and not isinstance(each.kind, Secret):
            self.deferred.append(place.steps)
            return raw
        return _DECODERS[type(each.kind)](self, each, raw, place)

    def text(self, _: Field, raw: Any, place: _Place) -> Any:
        return json_text(raw) if place.keyed and isinstance(raw, bool | int | float) else raw

    def secret(self, _: Field, raw: Any, place: _Place) -> Any:
        if is_reference(raw):
            # What it stands for fitted when it was sealed; the Proxy checks it again.
            self.references.append(place.steps)
        return raw

    def integer(self, _: Field, raw: Any, place: _Place) -> Any:
        value = raw
        if isinstance(raw, str):
            if not _INTEGER.fullmatch(raw.strip()):
                self.refuse(place, "must be a whole number")
                return raw
            value = int(raw.strip().partition(".")[0])
        if isinstance(value, int) and abs(value) > _EXACT:
            self.refuse(place, f"must be between -{_EXACT} and {_EXACT}: others do not travel exactly")
        return value

    def number(self, _: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, str):
            return raw
        if not _NUMBER.fullmatch(raw.strip()):
            self.refuse(place, "must be a number")
            return raw
        value = float(raw)
        if value in (float("inf"), float("-inf")):
            self.refuse(place, "is too large a number")
            return raw
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value

    def boolean(self, _: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, str):
            return raw
        value = _WORDS.get(raw.strip().lower())
        if value is None:
            self.refuse(place, "must be true or false")
            return raw
        return value

    def moment(self, each: Field, raw: Any, place: _Place) -> Any:
        if isinstance(raw, str) and isinstance(each.kind, Moment) and not _is_moment(each.kind.part, raw):
            example = {"date": "2026-01-31", "time": "09:30:00", "date-time": "2026-01-31T09:30:00Z"}[each.kind.part]
            self.refuse(place, f"must look like {example}")
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
            self.decoded(item, value, here.at(index))
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
            members = self.rows(raw, place)
        if not isinstance(members, Mapping):
            return raw
        typed = place.typed()
        decoded = {key: self.decoded(each.kind.value, value, typed.below(key)) for key, value in members.items()}
        bound = {key: value for key, value in decoded.items() if value is not _ABSENT}
        return bound if bound or each.required or not place.keyed else _ABSENT

    def rows(self, rows: list[Any], place: _Place) -> dict[str, Any]:
        """Returns the members that rows of keys and values stand for."""
        members: dict[str, Any] = {}
        for index, row in enumerate(rows):
            if _is_blank(row):
                continue
            key = row.get("key") if isinstance(row, Mapping) else None
            if not isinstance(key, str) or not key:
                self.refuse(place.at(index), "must have a key")
            elif key in members:
                self.refuse(place.at(index), "has the key of an earlier row")
            else:
                members[key] = row.get("value", "")
        return members

    def json(self, each: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, str) or not isinstance(each.kind, Json):
            return raw
        takes_text = not each.kind.types or "string" in each.kind.types
        if takes_text and not place.texts:
            return raw
        try:
            value = read_json(raw, MAX_DEPTH)
        except JsonInvalid as error:
            if not takes_text:
                self.refuse(place, str(error))
            return raw
        if takes_text and each.kind.types and not _has_type(value, each.kind.types):
            return raw
        self._check_exact(value, place)
        return value

    def union(self, each: Field, raw: Any, place: _Place) -> Any:
        if not isinstance(each.kind, Union):
            return raw
        if not place.keyed:
            return self._recognised(each.kind, raw, place)
        if isinstance(raw, str):
            return self._recognised(each.kind, self._written(each.kind, raw, place), place.typed())
        if not isinstance(raw, Mapping):
            self.refuse(place, "must be an object that says which variant it is")
            return _ABSENT
        return self._chosen(each, each.kind, raw, place)

    def _chosen(self, each: Field, kind: Union, raw: Mapping[str, Any], place: _Place) -> Any:
        variants = {variant.key: variant for variant in kind.variants}
        chosen = raw.get(VARIANT, "")
        if chosen in ("", None) and not each.required and all(_is_blank(raw.get(key, "")) for key in variants):
            return _ABSENT
        variant = variants.get(chosen) if isinstance(chosen, str) else None
        if variant is None:
            self.refuse(place.below(VARIANT), f"must be one of {', '.join(variants)}")
            return _ABSENT
        for key in raw:
            if key not in (VARIANT, variant.key) and not _is_blank(raw[key]):
                self.drop(place.below(key))
        given = raw.get(variant.key, {} if isinstance(variant.kind, Group) else _ABSENT)
        value = _ABSENT if given is _ABSENT else self.decoded(replace(variant, required=True), given, place)
        if value is not _ABSENT and not isinstance(value, _SHAPES.get(type(variant.kind), object)):
            # Another shape might take it, and that is not the one that was chosen.
            self.refuse(place, f"does not fit the variant {variant.key!r}")
        return value

    def _written(self, kind: Union, text: str, place: _Place) -> Any:
        """Returns what a text says that stands for a whole union: JSON, or itself where one of the shapes is text."""
        if not _takes_text(kind):
            return self._parsed(text, place)
        try:
            return read_json(text, MAX_DEPTH)
        except JsonInvalid:
            return text

    def _recognised(self, kind: Union, raw: Any, place: _Place) -> Any:
        """Returns a value as the first variant that takes it has it; as it is when none does: the judge says why.

        A value that is JSON already is what it is, unless it is an object that can be meant to be one variant alone.
        """
        is_object = isinstance(raw, Mapping)
        fitting = [
            variant
            for variant in kind.variants
            if is_object == isinstance(variant.kind, Group) and (not is_object or _fits(variant, raw))
        ]
        if not (place.texts or (is_object and len(fitting) == 1)):
            return raw
        for variant in fitting:
            attempt = _Binder(expressions=self.expressions)
            value = attempt.decoded(variant, raw, place)
            if not attempt.found and value is not _ABSENT:
                self.dropped += attempt.dropped
                self.deferred += attempt.deferred
                return value
        return raw

    def file(self, field: Field, raw: Any, place: _Place) -> Any:
        kind = field.kind if isinstance(field.kind, File) else File()
        content = raw.get("base64Content") if isinstance(raw, Mapping) else raw
        if not isinstance(content, str):
            self.refuse(place, "must be base64 text, or an object with `base64Content`")
            return raw
        match = _DATA_URL.match(content)
        media_type, named = _said_of(match[1]) if match else ("", "")
        content = content[match.end() :] if match else content
        try:
            size = len(base64.b64decode(content.translate(_URL_SAFE), validate=True))
        except (binascii.Error, ValueError):
            self.refuse(place, "must be base64 text")
            return content
        name = raw.get("name") if isinstance(raw, Mapping) else named
        if not is_accepted(kind.accept, media_type, name if isinstance(name, str) else ""):
            self.refuse(place, f"must be a file of these: {', '.join(kind.accept)}")
        elif kind.max_bytes and size > kind.max_bytes:
            self.refuse(place, f"must be a file of at most {kind.max_bytes} bytes")
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
            self.refuse(place, str(error))
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
                self.refuse(place, f"has a whole number beyond {_EXACT}, which does not travel exactly")
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
    Union: _Binder.union,
}


_SHAPES: Final[Mapping[type[Kind], type]] = {
    Text: str,
    Secret: str,
    Moment: str,
    File: str,
    Boolean: bool,
    Integer: int,
    Items: list,
    MultiChoice: list,
    Group: dict,
    Entries: dict,
}


def _name(each: Field, place: _Place) -> str:
    """Returns what a field is called where a value stands: never what JavaScript takes for a property of objects."""
    return each.key if place.keyed or (place.texts and each.name in UNSAFE_NAMES) else each.name


def _fits(variant: Field, members: Mapping[str, Any]) -> bool:
    """Tells whether an object may be meant to be this variant, by its names and its fixed values."""
    if not isinstance(variant.kind, Group):
        return False
    known = {each.name: each for each in variant.kind.fields}
    if any(each.required and each.default is None and name not in members for name, each in known.items()):
        return False
    if not variant.kind.open and any(name not in known for name in members):
        return False
    chosen = [(known[name].kind, value) for name, value in members.items() if name in known]
    return all(
        any(same(option.value, value) for option in kind.options) for kind, value in chosen if isinstance(kind, Choice)
    )


def _keeps_blank(each: Field) -> bool:
    """Tells whether an empty text is a value and not the lack of one."""
    if isinstance(each.kind, Choice):
        return any(option.value == "" for option in each.kind.options)
    return each.required and isinstance(each.kind, Text | Secret)


def _takes_text(kind: Kind) -> bool:
    if isinstance(kind, Union):
        return any(_takes_text(variant.kind) for variant in kind.variants)
    return isinstance(kind, Text | Moment | Choice | Json | Secret | File)


def _said_of(head: str) -> tuple[str, str]:
    """Returns the media type and the name that the head of a data URL says."""
    media_type, *parameters = head.split(";")
    named = (each.removeprefix("name=") for each in parameters if each.startswith("name="))
    return media_type, unquote(next(named, ""))


def _takes_words(kind: Kind) -> bool:
    """Tells whether a list of these can be typed as words between commas."""
    if isinstance(kind, Json):
        return not kind.types or "string" in kind.types
    if isinstance(kind, Union):
        return any(_takes_words(variant.kind) for variant in kind.variants)
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
