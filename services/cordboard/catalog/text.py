"""YAML and JSON text to plain values: within limits, without surprises, and with the position of what is wrong.

YAML is read by the rules of JSON where the two differ from YAML 1.1: `yes`, `on` and dates are text, mapping keys are
text as written, `0123` is text, and there are no tags beside the core ones. Everything here is linear in the text.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import yaml

from cordboard.core.errors import DocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

MAX_BYTES: Final = 16 * 1024 * 1024
# The deepest of 3,800 API descriptions counted has 32 levels.
MAX_DEPTH: Final = 128
MAX_NODES: Final = 2_000_000

_CORE: Final = "tag:yaml.org,2002:"
_MERGE: Final = "<<"
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_JSON_TOKEN: Final = re.compile(r'[{}\[\]:,]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+')
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]", re.ASCII)
# A text that begins so is JSON; `{a: 1}` and `[a]` are YAML in its flow style, of which JSON is not the better reader.
_JSON_START: Final = re.compile(r"""\s*(?:\{\s*["}]|\[\s*["\[\]{0-9tfnNI-])""")


@dataclass(frozen=True)
class Position:
    """A place in a text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Parsed:
    """What a text says, and where it says it."""

    value: Any
    text: str = field(repr=False)
    is_json: bool
    duplicates: tuple[Path, ...] = ()
    """Keys that stand twice in one mapping; the last one holds. Always empty when they are refused."""

    def position(self, path: Path) -> Position | None:
        """Returns where the value at `path` stands, or the nearest thing around it that exists."""
        return _locate(_json_events(self.text) if self.is_json else _yaml_events(self.text), path)


def parse(text: str, *, refuse_duplicates: bool) -> Parsed:
    """Returns the value of a YAML or JSON text; raises DocumentInvalid with the position."""
    if len(text) > MAX_BYTES:
        raise DocumentInvalid(f"the document is larger than {MAX_BYTES // 1024 // 1024} MiB")
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise DocumentInvalid("the document is empty")
    if _JSON_START.match(text):
        return _parse_json(text, refuse_duplicates=refuse_duplicates)
    return _parse_yaml(text, refuse_duplicates=refuse_duplicates)


# --- JSON


def _parse_json(text: str, *, refuse_duplicates: bool) -> Parsed:
    # Before any of it takes memory: a small text can hold millions of lists.
    if text.count("[") + text.count("{") + text.count(",") > 2 * MAX_NODES:
        raise _too_large()
    twice = 0

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice += len(pairs) - len(found)
        return found

    try:
        value = json.loads(
            text, object_pairs_hook=collect, parse_constant=_refuse_constant, parse_float=_float, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        text = f"the JSON cannot be read: {error.msg.lower()}"
        raise DocumentInvalid(text, error.lineno, error.colno) from None
    except RecursionError:
        raise _too_deep() from None
    _measure(value)
    if _SURROGATE.search(text):
        _refuse_halves(value)
    duplicates = tuple(_json_duplicates(text)) if twice else ()
    if duplicates and refuse_duplicates:
        raise _duplicate(duplicates[0][0], duplicates[0][1])
    return Parsed(value, text, True, tuple(path for path, _ in duplicates))


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentInvalid(f"{name} is not a JSON value")


def _measure(value: Any) -> None:
    """Raises DocumentInvalid when the value is deeper or larger than the limits."""
    level, depth, nodes = [value], 0, 1
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        inner: list[Any] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node
            nodes += len(node)
            inner.extend(child for child in children if isinstance(child, (dict, list)) and child)
        if nodes > MAX_NODES:
            raise _too_large()
        level = inner


def _refuse_halves(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DocumentInvalid("the document has half of a surrogate pair (\\ud800 to \\udfff) in a text") from None


def _json_duplicates(text: str) -> Iterator[tuple[Path, Position]]:
    """Yields the path and position of each key that its object has already."""
    seen: list[set[str] | None] = []
    for kind, path, position, is_key in _walk(_json_events(text)):
        if kind == "end":
            seen.pop()
            continue
        if is_key:
            keys = seen[-1]
            key = str(path[-1])
            if keys is not None and key in keys:
                yield tuple(path), position
            elif keys is not None:
                keys.add(key)
        elif kind in ("map", "list"):
            seen.append(set() if kind == "map" else None)


# --- YAML


@dataclass
class _Frame:
    """A mapping or a list that is being read."""

    container: Any
    is_map: bool
    anchor: str | None
    nodes_before: int
    key: str | None = None
    merging: bool = False
    """The key is a merge key (YAML 1.1, "merge")."""
    merges: list[Any] = field(default_factory=list)


class _Builder:
    """Makes plain values of libyaml's events. A stack of its own, so that no nesting is too deep for it."""

    def __init__(self, *, refuse_duplicates: bool) -> None:
        self._refuse_duplicates = refuse_duplicates
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self.duplicates: list[Path] = []
        self.value: Any = None
        self.documents = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _at("there is a second document in the text", event)

    def _count(self, nodes: int, event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _at(f"the document has more than {MAX_NODES} values, aliases expanded", event)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._count(1, event)
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.is_map and frame.key is None:
            if event.anchor:
                self._anchors[event.anchor] = (event.value, 1)
            self._key(frame, event.value, event)
            # A quoted `<<` is a name like any other.
            frame.merging = event.value == _MERGE and event.implicit[0]
            return
        value = _scalar_value(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._add(value)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag and event.tag != _CORE + ("map" if is_map else "seq"):
            raise _at(f"the tag {event.tag!r} is not allowed", event)
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.is_map and frame.key is None:
            raise _at("a key must be text", event)
        if len(self._frames) >= MAX_DEPTH:
            raise _too_deep(event)
        before = self._nodes
        self._count(1, event)
        self._frames.append(_Frame({} if is_map else [], is_map, event.anchor, before))

    def _close(self, event: yaml.Event) -> None:
        frame = self._frames.pop()
        for merged in frame.merges:
            self._merge(frame.container, merged, event)
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.container, self._nodes - frame.nodes_before)
        self._add(frame.container)

    def _merge(self, into: dict[str, Any], merged: Any, event: yaml.Event) -> None:
        for source in merged if isinstance(merged, list) else [merged]:
            if not isinstance(source, dict):
                raise _at("`<<` takes a mapping", event)
            for key, value in source.items():
                into.setdefault(key, value)

    def _alias(self, event: yaml.AliasEvent) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise _at(f"the alias *{event.anchor} stands for nothing that ended before it", event)
        value, nodes = known
        self._count(nodes, event)
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.is_map and frame.key is None:
            if not isinstance(value, str):
                raise _at("a key must be text", event)
            self._key(frame, value, event)
        else:
            self._add(value)

    def _key(self, frame: _Frame, key: str, event: yaml.Event) -> None:
        frame.key = key
        if key in frame.container:
            path = (*self._path(), key)
            if self._refuse_duplicates:
                raise _duplicate(path, _position(event))
            self.duplicates.append(path)

    def _path(self) -> Path:
        """Returns where the innermost open container stands."""
        return tuple(
            frame.key if frame.is_map and frame.key is not None else len(frame.container) for frame in self._frames[:-1]
        )

    def _add(self, value: Any) -> None:
        if not self._frames:
            self.value = value
            return
        frame = self._frames[-1]
        if not frame.is_map:
            frame.container.append(value)
        elif frame.merging:
            frame.merges.append(value)
            frame.key = None
            frame.merging = False
        else:
            frame.container[frame.key] = value
            frame.key = None


def _parse_yaml(text: str, *, refuse_duplicates: bool) -> Parsed:
    builder = _Builder(refuse_duplicates=refuse_duplicates)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise _yaml_problem(error) from None
    except UnicodeEncodeError:
        raise DocumentInvalid("the document has half of a surrogate pair in a text") from None
    if builder.documents == 0:
        raise DocumentInvalid("the document is empty")
    return Parsed(builder.value, text, False, tuple(builder.duplicates))


def _yaml_problem(error: yaml.YAMLError) -> DocumentInvalid:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is not YAML"
    if mark is None:
        return DocumentInvalid(f"the YAML cannot be read: {problem}")
    return DocumentInvalid(f"the YAML cannot be read: {problem}", mark.line + 1, mark.column + 1)


def _scalar_value(event: yaml.ScalarEvent) -> Any:
    if event.tag is None:
        return _plain(event) if event.implicit[0] else event.value
    kind = event.tag.removeprefix(_CORE)
    # What YAML 1.1 would decode or make a date of is what JSON has no type for: it stays the text that it is.
    if kind in ("str", "binary", "timestamp") or event.tag == "!":
        return event.value
    if kind in ("int", "float", "bool", "null"):
        value = _plain(event)
        wanted: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,)}
        if isinstance(value, wanted.get(kind, (type(None),))):
            return value
        raise _at(f"{event.value[:40]!r} is not of the type of its tag", event)
    raise _at(f"the tag {event.tag!r} is not allowed", event)


def _plain(event: yaml.ScalarEvent) -> Any:
    value: str = event.value
    # Most scalars are words: this settles them without a regular expression.
    if len(value) <= 5 and value in _CONSTANTS:
        return _CONSTANTS[value]
    if value[0] not in "+-.0123456789":
        return value
    try:
        if _INTEGER.fullmatch(value):
            return _integer(value)
        return _float(value) if _FLOAT.fullmatch(value) else value
    except DocumentInvalid as error:
        raise _at(error.text, event) from None


def _integer(value: str) -> int | float:
    # JSON and protobuf hold whole numbers to 64 bits; beyond that a number is a float everywhere.
    number: int | float
    number = int(value, 0) if len(value) <= 20 else _float(value)
    return number if isinstance(number, float) or -(2**63) <= number < 2**64 else float(number)


def _float(value: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise DocumentInvalid(f"the number {value[:40]} is too large")
    return number


# --- positions

_Event = tuple[str, str, Position]


def _yaml_events(text: str) -> Iterator[_Event]:
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.ScalarEvent):
            yield "scalar", event.value, _position(event)
        elif isinstance(event, yaml.AliasEvent):
            yield "scalar", "", _position(event)
        elif isinstance(event, yaml.MappingStartEvent):
            yield "map", "", _position(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            yield "list", "", _position(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            yield "end", "", _position(event)


def _json_events(text: str) -> Iterator[_Event]:
    """Yields the events of a text that is known to be JSON."""
    line, line_start = 1, 0
    reached = 0
    for token in _JSON_TOKEN.finditer(text):
        start = token.start()
        newlines = text.count("\n", reached, start)
        if newlines:
            line += newlines
            line_start = text.rfind("\n", reached, start) + 1
        reached = start
        position = Position(line, start - line_start + 1)
        found = token.group()
        if found in "{[":
            yield ("map" if found == "{" else "list"), "", position
        elif found in "}]":
            yield "end", "", position
        elif found not in ":,":
            yield "scalar", json.loads(found) if found[0] == '"' else found, position


@dataclass
class _Step:
    is_map: bool
    step: str | int
    awaits_key: bool


def _walk(events: Iterator[_Event]) -> Iterator[tuple[str, list[str | int], Position, bool]]:
    """Yields each event with the path of its node, and whether it is a mapping's key."""
    steps: list[_Step] = []
    path: list[str | int] = []
    for kind, text, position in events:
        frame = steps[-1] if steps else None
        if kind == "end":
            steps.pop()
            path.pop()
            yield kind, path, position, False
            frame = steps[-1] if steps else None
        elif frame is not None and frame.awaits_key:
            frame.awaits_key = False
            path[-1] = text
            yield kind, path, position, True
            continue
        else:
            yield kind, path, position, False
            if kind != "scalar":
                steps.append(_Step(kind == "map", 0, kind == "map"))
                path.append("" if kind == "map" else 0)
                continue
        if frame is not None and frame.is_map:
            frame.awaits_key = True
        elif frame is not None:
            path[-1] = int(path[-1]) + 1


def _locate(events: Iterator[_Event], target: Path) -> Position | None:
    best: Position | None = None
    reached = -1
    for kind, path, position, is_key in _walk(events):
        if kind == "end" or len(path) <= reached or (not is_key and path and isinstance(path[-1], str)):
            continue
        if tuple(path) == target[: len(path)]:
            best, reached = position, len(path)
            if reached == len(target):
                break
    return best


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)


def _at(text: str, event: yaml.Event) -> DocumentInvalid:
    position = _position(event)
    return DocumentInvalid(text, position.line, position.column)


def _duplicate(path: Path, position: Position) -> DocumentInvalid:
    return DocumentInvalid(f"the key {written(path)!r} stands twice", position.line, position.column)


def _too_deep(event: yaml.Event | None = None) -> DocumentInvalid:
    text = f"the document nests deeper than {MAX_DEPTH} levels"
    return DocumentInvalid(text) if event is None else _at(text, event)


def _too_large() -> DocumentInvalid:
    return DocumentInvalid(f"the document has more than {MAX_NODES} values")


def written(path: Path) -> str:
    """Returns a path as people write it: `actions[0].request.path`."""
    parts: list[str] = []
    for step in path:
        parts.append(f"[{step}]" if isinstance(step, int) else f".{step}" if parts else step)
    return "".join(parts)
