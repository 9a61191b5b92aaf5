"""Rules in JsonLogic with flagd's operators, compiled once into functions.

What an operator means is `panzi-json-logic`'s, the reference of flagd's own evaluator. Compiling adds what a service
needs that runs rules of others for its callers: mistakes show before the first evaluation, and neither a rule nor a
context can make an evaluation take long or fill the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import semver
from json_logic.builtins import BUILTINS, not_, to_bool

from cordboard.core.flagging.bucketing import ALGORITHMS, NEWEST, shares_of, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH: Final = 100
MAX_NODES: Final = 50_000
# Steps that one evaluation may take inside `map`, `filter`, `reduce`, `all`, `some` and `none`.
MAX_STEPS: Final = 100_000
MAX_TEXT: Final = 1_048_576
MAX_ITEMS: Final = 10_000
MAX_BITS: Final = 1_024

_ITERATING: Final = frozenset({"map", "filter", "reduce", "all", "some", "none"})
# What writes to the process's output has no place in a rule.
_REFUSED: Final = frozenset({"log"})
_SCALARS: Final = (str, int, float, bool, type(None))


class RuleBroken(Exception):
    """A rule cannot be compiled; the text says why."""


class RuleFailed(Exception):
    """A rule took too much in this context."""


def compiled(rule: Any, *, bucketing: str = NEWEST) -> Callable[[Any], Any]:
    """Returns the function of a context that a rule is; raises RuleBroken.

    The function raises RuleFailed where the context makes it too much work, and what the operators raise.
    """
    compiler = _Compiler(bucketing)
    run = compiler.node(rule, 0)
    if not compiler.iterates:
        return run
    meter = compiler.meter

    def metered(data: Any) -> Any:
        meter.left = MAX_STEPS
        return run(data)

    return metered


def inlined(rule: Any, evaluators: Mapping[str, Any]) -> Any:
    """Returns a rule with every `{"$ref": name}` replaced by that evaluator; raises RuleBroken."""
    return _Inliner(evaluators).value(rule, ())


def specialised(rule: Any, known: Mapping[str, Any], *, bucketing: str = NEWEST) -> Any:
    """Returns a rule that gives the same in every context that has the known members, and names no other value of them.

    Conditions and splits that the known members decide are worked out, and branches that they exclude are left out.
    Raises RuleBroken where the rule cannot be compiled.
    """
    compiled(rule, bucketing=bucketing)
    return _Specialiser(known, bucketing).value(rule)


class _Meter:
    def __init__(self) -> None:
        self.left = 0

    def take(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise RuleFailed("the rule takes too many steps in this context")


def operation(node: Any) -> tuple[str, list[Any]] | None:
    """Returns an operator and its arguments, or None for a plain value."""
    if not isinstance(node, dict) or len(node) != 1:
        return None
    ((name, arguments),) = node.items()
    return name, arguments if isinstance(arguments, list) else [arguments]


class _Compiler:
    def __init__(self, bucketing: str) -> None:
        if bucketing not in ALGORITHMS:
            raise RuleBroken(f"there is no bucketing {bucketing!r}")
        self._bucketing = bucketing
        self._nodes = 0
        self.iterates = False
        self.meter = _Meter()

    def node(self, node: Any, depth: int) -> Callable[[Any], Any]:
        """Returns the function of a part of a rule."""
        self._count(1, depth)
        found = operation(node)
        if found is None:
            return self._plain(node, depth)
        name, arguments = found
        own: Callable[[list[Any], int], Callable[[Any], Any]] | None = getattr(self, f"_{_NAMES.get(name, '')}", None)
        if own is not None:
            return own(arguments, depth + 1)
        if name in _REFUSED or name not in BUILTINS:
            raise RuleBroken(f"there is no operator {name[:64]!r}")
        return self._builtin(name, arguments, depth + 1)

    def _count(self, nodes: int, depth: int) -> None:
        self._nodes += nodes
        if depth > MAX_DEPTH:
            raise RuleBroken(f"is nested more than {MAX_DEPTH} deep")
        if self._nodes > MAX_NODES:
            raise RuleBroken(f"has more than {MAX_NODES} parts")

    def _plain(self, node: Any, depth: int) -> Callable[[Any], Any]:
        if not isinstance(node, list):
            return lambda _: node
        if all(isinstance(each, _SCALARS) for each in node):
            self._count(len(node), depth)
            return lambda _: node
        items = self._all(node, depth + 1)
        return lambda data: [item(data) for item in items]

    def _all(self, nodes: list[Any], depth: int) -> list[Callable[[Any], Any]]:
        return [self.node(each, depth) for each in nodes]

    def _builtin(self, name: str, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        function: Any = BUILTINS[name]
        given = self._all(arguments, depth)
        if name in _GROWING:
            bound = _GROWING[name]
            return lambda data: bound(function(data, *[each(data) for each in given]))
        if len(given) == 1:
            (only,) = given
            return lambda data: function(data, only(data))
        if len(given) == 2:
            first, second = given
            return lambda data: function(data, first(data), second(data))
        return lambda data: function(data, *[each(data) for each in given])

    def _var(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        name = arguments[0] if arguments else None
        if isinstance(name, str) and name and "." not in name and len(arguments) == 1:

            def member(data: Any) -> Any:
                return data.get(name) if type(data) is dict else read(data, name)

            read: Any = BUILTINS["var"]
            return member
        return self._builtin("var", arguments, depth)

    def _in(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        if len(arguments) == 2 and isinstance(arguments[1], list) and all(type(each) is str for each in arguments[1]):
            self._count(len(arguments[1]), depth)
            needle, members = self.node(arguments[0], depth), frozenset(arguments[1])

            def among(data: Any) -> bool:
                value = needle(data)
                # Only text equals text, and what is no text may not be hashable.
                return type(value) is str and value in members

            return among
        return self._builtin("in", arguments, depth)

    def _if(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        parts = self._all(arguments, depth)
        pairs = [(parts[index], parts[index + 1]) for index in range(0, len(parts) - 1, 2)]
        otherwise = parts[-1] if len(parts) % 2 else None

        def choose(data: Any) -> Any:
            for condition, outcome in pairs:
                if to_bool(condition(data)):
                    return outcome(data)
            return None if otherwise is None else otherwise(data)

        return choose

    def _and(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        parts = self._all(arguments, depth)

        def conjunction(data: Any) -> Any:
            value = None
            for part in parts:
                value = part(data)
                if not_(value):
                    return value
            return value

        return conjunction

    def _or(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        parts = self._all(arguments, depth)

        def disjunction(data: Any) -> Any:
            value = None
            for part in parts:
                value = part(data)
                if to_bool(value):
                    return value
            return value

        return disjunction

    def _iterate(self, arguments: list[Any], depth: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any], int]:
        """Returns the items, what is done with each, and how many steps that is."""
        self.iterates = True
        items = self.node(arguments[0], depth) if arguments else lambda _: None
        before = self._nodes
        each = self.node(arguments[1], depth) if len(arguments) > 1 else lambda _: None
        return items, each, self._nodes - before

    def _map(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        items, each, steps = self._iterate(arguments, depth)
        meter = self.meter

        def run(data: Any) -> Any:
            found = items(data)
            if not isinstance(found, list):
                return []
            meter.take(len(found) * steps)
            return [each(item) for item in found]

        return run

    def _filter(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        items, each, steps = self._iterate(arguments, depth)
        meter = self.meter
        whole = len(arguments) > 1

        def run(data: Any) -> Any:
            found = items(data)
            if not whole or not isinstance(found, list):
                return []
            meter.take(len(found) * steps)
            return [item for item in found if to_bool(each(item))]

        return run

    def _reduce(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        items, each, steps = self._iterate(arguments, depth)
        meter = self.meter
        initial = self.node(arguments[2], depth) if len(arguments) > 2 else lambda _: None

        def run(data: Any) -> Any:
            found = items(data)
            value = initial(data)
            if not isinstance(found, list):
                return value
            meter.take(len(found) * steps)
            for item in found:
                value = each({"accumulator": value, "current": item})
            return value

        return run

    def _quantified(self, arguments: list[Any], depth: int, name: str) -> Callable[[Any], Any]:
        items, each, steps = self._iterate(arguments, depth)
        meter = self.meter
        empty = name == "none"
        whole = len(arguments) > 1

        def run(data: Any) -> bool:
            found = items(data)
            # JsonLogic: all of nothing is false.
            if not whole or not isinstance(found, list) or not found:
                return empty
            meter.take(len(found) * steps)
            if name == "all":
                return all(to_bool(each(item)) for item in found)
            return any(to_bool(each(item)) for item in found) is not empty

        return run

    def _all_of(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        return self._quantified(arguments, depth, "all")

    def _some(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        return self._quantified(arguments, depth, "some")

    def _none(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        return self._quantified(arguments, depth, "none")

    def _fractional(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        algorithm, bucketing = ALGORITHMS[self._bucketing], self._bucketing
        parts = self._all(arguments, depth)
        constant = shares_of(arguments[1:]) if len(arguments) > 1 and _are_constant(arguments[1:]) else None
        if constant is not None and not isinstance(arguments[0], list):
            subject = parts[0]
            return lambda data: algorithm(subject(data), constant)

        def split(data: Any) -> Any:
            values = [part(data) for part in parts]
            if not values:
                return None
            if isinstance(values[0], list):
                whom = subject_of(bucketing, data)
            else:
                whom, values = values[0], values[1:]
            shares = shares_of(values)
            return None if whom is None or shares is None else algorithm(whom, shares)

        return split

    def _starts_with(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        return self._of_texts(arguments, depth, str.startswith)

    def _ends_with(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        return self._of_texts(arguments, depth, str.endswith)

    def _of_texts(self, arguments: list[Any], depth: int, test: Callable[[str, str], bool]) -> Callable[[Any], Any]:
        if len(arguments) != 2:
            return lambda _: None
        text, part = self._all(arguments, depth)

        def run(data: Any) -> bool | None:
            one, other = text(data), part(data)
            return test(one, other) if isinstance(one, str) and isinstance(other, str) else None

        return run

    def _sem_ver(self, arguments: list[Any], depth: int) -> Callable[[Any], Any]:
        if len(arguments) != 3:
            return lambda _: None
        one, sign, other = self._all(arguments, depth)

        def run(data: Any) -> bool | None:
            compare = _COMPARISONS.get(sign(data)) if isinstance(sign(data), str) else None
            try:
                return None if compare is None else compare(_version(one(data)), _version(other(data)))
            except ValueError:
                return None

        return run


_NAMES: Final = {
    "var": "var",
    "in": "in",
    "if": "if",
    "?:": "if",
    "and": "and",
    "or": "or",
    "map": "map",
    "filter": "filter",
    "reduce": "reduce",
    "all": "all_of",
    "some": "some",
    "none": "none",
    "fractional": "fractional",
    "starts_with": "starts_with",
    "ends_with": "ends_with",
    "sem_ver": "sem_ver",
}


def _text_within(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise RuleFailed("the rule makes too long a text")
    return value


def _list_within(value: list[Any]) -> list[Any]:
    if len(value) > MAX_ITEMS:
        raise RuleFailed("the rule makes too long a list")
    return value


def _number_within(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise RuleFailed("the rule makes too large a number")
    return value


_GROWING: Final[dict[str, Callable[[Any], Any]]] = {
    "cat": _text_within,
    "merge": _list_within,
    "+": _number_within,
    "*": _number_within,
    "-": _number_within,
}

_COMPARISONS: Final[dict[str, Callable[[semver.Version, semver.Version], bool]]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "^": lambda one, other: one.major == other.major,
    "~": lambda one, other: (one.major, one.minor) == (other.major, other.minor),
}


def _version(value: Any) -> semver.Version:
    text = str(value)[:256]
    text = text[1:] if text[:1] in ("v", "V") else text
    numbers = text.split("-")[0].split("+")[0]
    missing = 2 - numbers.count(".")
    return semver.Version.parse(numbers + ".0" * missing + text[len(numbers) :] if missing > 0 else text)


def _are_constant(values: list[Any]) -> bool:
    return all(isinstance(value, list) and all(isinstance(each, _SCALARS) for each in value) for value in values)


class _Inliner:
    def __init__(self, evaluators: Mapping[str, Any]) -> None:
        self._evaluators = evaluators
        self._parts = 0

    def value(self, value: Any, inside: tuple[str, ...], depth: int = 0) -> Any:
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_NODES:
            raise RuleBroken("grows too large when its references are put in")
        if isinstance(value, list):
            if all(isinstance(each, _SCALARS) for each in value):
                # Long lists of names are most of a large set.
                self._parts += len(value)
                if self._parts > MAX_NODES:
                    raise RuleBroken("grows too large when its references are put in")
                return value
            return [self.value(each, inside, depth + 1) for each in value]
        if not isinstance(value, dict):
            return value
        name = value.get("$ref")
        if len(value) == 1 and isinstance(name, str):
            if name not in self._evaluators:
                raise RuleBroken(f"refers to {name[:64]!r}, which is none of the evaluators")
            if name in inside:
                raise RuleBroken(f"refers to {name[:64]!r}, which refers to itself")
            return self.value(self._evaluators[name], (*inside, name), depth + 1)
        return {key: self.value(each, inside, depth + 1) for key, each in value.items()}


class _Specialiser:
    """Works out what known members of the context decide."""

    def __init__(self, known: Mapping[str, Any], bucketing: str) -> None:
        self._known = dict(known)
        self._bucketing = bucketing

    def value(self, node: Any) -> Any:
        found = operation(node)
        if found is None:
            return [self.value(each) for each in node] if isinstance(node, list) else node
        name, arguments = found
        if name in ("if", "?:"):
            return self._choice(arguments)
        if name in _ITERATING:
            # Inside, names stand for members of each item, not of the context.
            return {name: [self.value(arguments[0]), *arguments[1:]]} if arguments else node
        if name == "fractional":
            return self._split(arguments)
        if name in ("and", "or"):
            return self._junction(name, arguments)
        parts = [self.value(each) for each in arguments]
        if self._is_decided(name, parts):
            return _literal(compiled({name: parts})(self._known), {name: parts})
        return {name: parts}

    def _is_decided(self, name: str, parts: list[Any]) -> bool:
        if name == "var":
            member = parts[0] if parts else None
            return isinstance(member, str) and member.split(".")[0] in self._known and _is_plain(parts[1:])
        return name not in ("missing", "missing_some") and _is_plain(parts)

    def _choice(self, arguments: list[Any]) -> Any:
        steps: list[Any] = []
        for index in range(0, len(arguments) - 1, 2):
            condition = self.value(arguments[index])
            if not _is_plain([condition]):
                steps += [condition, self.value(arguments[index + 1])]
            elif to_bool(condition):
                return self._ended(steps, self.value(arguments[index + 1]))
        return self._ended(steps, self.value(arguments[-1]) if len(arguments) % 2 else None)

    def _split(self, arguments: list[Any]) -> Any:
        # The short form reads the subject by itself, and whatever was a list has to stay one.
        parts = [each if isinstance(each, list) else self.value(each) for each in arguments]
        if len(parts) < 2 or isinstance(parts[0], list) or not _is_plain(parts):
            return {"fractional": parts}
        return _literal(compiled({"fractional": parts}, bucketing=self._bucketing)(self._known), {"fractional": parts})

    @staticmethod
    def _ended(steps: list[Any], last: Any) -> Any:
        if not steps:
            return last
        return {"if": steps if last is None else [*steps, last]}

    def _junction(self, name: str, arguments: list[Any]) -> Any:
        ends = not_ if name == "and" else to_bool
        parts: list[Any] = []
        for index, each in enumerate(arguments):
            value = self.value(each)
            if not _is_plain([value]):
                parts.append(value)
            elif ends(value):
                parts.append(value)
                break
            elif index == len(arguments) - 1:
                parts.append(value)
        return parts[0] if len(parts) == 1 else {name: parts}


def _is_plain(values: list[Any]) -> bool:
    """Tells whether values hold no operator."""
    return all(
        _is_plain(value) if isinstance(value, list) else not isinstance(value, dict) or len(value) != 1
        for value in values
    )


def _literal(value: Any, otherwise: Any) -> Any:
    # An object with one member would be read as an operator.
    return otherwise if not _is_plain([value]) else value
