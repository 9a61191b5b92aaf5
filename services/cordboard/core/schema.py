"""JSON Schema 2020-12 as data from outside: compiled once, no remote references, no backtracking regexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import jsonschema_rs

from cordboard.core.errors import Violation
from cordboard.core.json_pointers import unescape

MAX_VIOLATIONS: Final = 50
# Schemas applied to a single value. A chain of references can square it at each link: 50 links are a denial of service.
MAX_EFFORT: Final = 5_000
# Of a place in a schema, in characters.
MAX_PLACE: Final = 255
# A list of ten thousand items may break one place as often.
_MOST_LOOKED_AT: Final = 5_000

_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE: Final = ("not", "if", "then", "else")
_IN_PLACE_NAMED: Final = ("dependentSchemas", "dependencies")
_MEMBERS: Final = ("patternProperties", "additionalProperties", "unevaluatedProperties")
_ITEMS: Final = ("items", "prefixItems", "contains", "unevaluatedItems")
_FOLLOWED_BY_NAME: Final = ("patternProperties", "dependentSchemas")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


class SchemaInvalid(ValueError):
    """The schema itself cannot be used; the text says why."""


def _no_fetch(uri: str) -> NoReturn:
    raise SchemaInvalid(f"the reference {uri!r} leads outside the document")


class JsonSchema:
    """A compiled schema."""

    def __init__(self, validator: Any) -> None:
        """Takes what `compile` made."""
        self._validator = validator

    @classmethod
    def compile(cls, schema: dict[str, Any] | bool) -> JsonSchema:
        """Compiles a schema; raises SchemaInvalid, also where checking a value against it could take for ever."""
        if isinstance(schema, dict) and effort(schema) > MAX_EFFORT:
            raise SchemaInvalid(f"more than {MAX_EFFORT} schemas may apply to a single value")
        try:
            validator = jsonschema_rs.validator_for(
                schema,
                retriever=_no_fetch,
                # Linear time whatever the pattern: look-around and back-references are refused here.
                pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20),
                validate_formats=False,
                # Stands where the value would: the value may be a secret.
                mask="the value",
            )
        except jsonschema_rs.ValidationError as error:
            raise SchemaInvalid(_unusable(error)) from None
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise SchemaInvalid(str(error).splitlines()[0][:300]) from None
        return cls(validator)

    def accepts(self, value: Any) -> bool:
        """Tells whether the value fits; faster than asking for violations."""
        return bool(self._validator.is_valid(value))

    def violations(self, value: Any, field: str = "input") -> list[Violation]:
        """Returns what does not fit, each with its path below `field`; at most MAX_VIOLATIONS.

        The texts never quote the value: it may be a secret.
        """
        return [violation for _, violation in self.located(value, field)]

    def located(self, value: Any, field: str = "input") -> list[tuple[tuple[str | int, ...], Violation]]:
        """Returns the same as `violations`, each with the steps that lead to its place."""
        if self._validator.is_valid(value):
            return []
        found: list[tuple[tuple[str | int, ...], Violation]] = []
        for error in self._validator.iter_errors(value):
            steps = _steps(error)
            found.append((steps, Violation(_path(field, steps), _text(error), "SCHEMA")))
            if len(found) == MAX_VIOLATIONS:
                break
        return found

    def broken(self, value: Any, field: str = "output") -> list[tuple[str, str]]:
        """Returns the places of the schema that the value does not fit, and the keyword there; at most MAX_VIOLATIONS.

        They are the schema's own words (`output.tickets[].subject`, `type`), and nothing of the value is in them: names
        of a map's members may be its data. A place that is broken many times is there once.
        """
        found: dict[tuple[str, str], None] = {}
        for seen, error in enumerate(() if self.accepts(value) else self._validator.iter_errors(value)):
            found[_schema_place(field, error)] = None
            if len(found) == MAX_VIOLATIONS or seen == _MOST_LOOKED_AT:
                break
        return list(found)


def _schema_place(field: str, error: Any) -> tuple[str, str]:
    """Returns where in the schema an error arose, as a path of the values it is about, and the keyword."""
    steps = list(error.evaluation_path)
    # Where nothing at all is allowed there is no keyword.
    rule = "false" if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.FalseSchema) else str(steps.pop())
    place, rest = field, iter(steps)
    for step in rest:
        if step == "properties":
            place += f".{next(rest)}"
        elif step in _MEMBERS:
            place += ".*"
        elif step in _ITEMS:
            place += "[]"
        if step in _FOLLOWED_BY_NAME:
            next(rest)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        place += f".{error.kind.property}"
    return place[:MAX_PLACE], rule


def _unusable(error: Any) -> str:
    """Returns what is wrong with a schema, and where in it."""
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Format) and error.kind.format == "regex":
        text = "is no regular expression that runs in linear time (look-around and back-references do not)"
    else:
        text = str(error).splitlines()[0].removeprefix("the value ")[:300]
    place = _path("", tuple(error.instance_path)).lstrip(".")
    return f"{place or 'the schema'} {text}"


def _steps(error: Any) -> tuple[str | int, ...]:
    missing = isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required)
    return (*error.instance_path, *((error.kind.property,) if missing else ()))


def _path(field: str, steps: tuple[str | int, ...]) -> str:
    return field + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _text(error: Any) -> str:
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        return "is required"
    return str(error.message)[:300]


def effort(document: Mapping[str, Any]) -> int:
    """Returns how many schemas a validator may have to apply to a single value, at the worst place of a document.

    Anything above MAX_EFFORT is only known to be above it.
    """
    reckoning = _Reckoning(document)
    worst = 0
    for node in _nodes(document):
        worst = max(worst, reckoning.of(node))
        if worst > MAX_EFFORT:
            break
    return worst


class _Reckoning:
    """Counts the schemas that apply to one value, looking at each schema of the document once."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._known: dict[int, int] = {}
        self._roots: list[Any] = [document]
        self._anchors: dict[str, list[Any]] = {}
        for node in _nodes(document):
            if node is not document and isinstance(node.get("$id"), str):
                self._roots.append(node)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(node.get(keyword), str):
                    self._anchors.setdefault(node[keyword], []).append(node)

    def of(self, start: Mapping[str, Any]) -> int:
        # Not by recursion: references can make a chain longer than Python's stack.
        opened: dict[int, list[list[Any]]] = {}
        waiting: list[Any] = [start]
        while waiting:
            node = waiting[-1]
            here = id(node)
            if here in opened:
                groups = opened.pop(here)
                self._known[here] = min(1 + sum(self._worst(group) for group in groups), MAX_EFFORT + 1)
            elif here not in self._known and isinstance(node, Mapping):
                opened[here] = self._applied(node)
                waiting.extend(each for group in opened[here] for each in group if id(each) not in opened)
                continue
            waiting.pop()
        return self._known[id(start)]

    def _worst(self, group: list[Any]) -> int:
        # What is not known yet is a circle, or no schema but a truth value. A circle costs nothing more: what it leads
        # to is counted where it stands.
        return max((self._known.get(id(each), 1) for each in group), default=1)

    def _applied(self, node: Mapping[str, Any]) -> list[list[Any]]:
        """Returns what applies to the same value as this schema: of each list, one."""
        references = [node[keyword] for keyword in _REFERENCES if isinstance(node.get(keyword), str)]
        return [*([part] for part in _in_place(node)), *(list(self._targets(each)) for each in references)]

    def _targets(self, reference: str) -> Iterator[Any]:
        """Yields whatever the reference may mean: which of several documents in one it names is left open."""
        fragment = unquote(reference.partition("#")[2])
        if fragment and not fragment.startswith("/"):
            yield from self._anchors.get(fragment, ())
            return
        steps = [unescape(step) for step in fragment.split("/")[1:]]
        for root in self._roots:
            node: Any = root
            for step in steps:
                if isinstance(node, Mapping):
                    node = node.get(step)
                elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
                    node = node[int(step)]
                else:
                    node = None
            yield node


def _in_place(node: Mapping[str, Any]) -> Iterator[Any]:
    for keyword in _IN_PLACE_LISTS:
        if isinstance(node.get(keyword), list):
            yield from node[keyword]
    for keyword in _IN_PLACE:
        if keyword in node:
            yield node[keyword]
    for keyword in _IN_PLACE_NAMED:
        if isinstance(node.get(keyword), Mapping):
            yield from node[keyword].values()


def _nodes(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting: list[Any] = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, Mapping):
            yield node
            waiting.extend(node.values())
