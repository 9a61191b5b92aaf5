"""The parts of a request that no input gives: values that a definition fixes, and config variables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning import styles
from cordboard.planning.variables import Values

PATH, QUERY, HEADER, COOKIE, BODY = (
    pb.PLACEMENT_PATH,
    pb.PLACEMENT_QUERY,
    pb.PLACEMENT_HEADER,
    pb.PLACEMENT_COOKIE,
    pb.PLACEMENT_BODY,
)


@dataclass(frozen=True, slots=True)
class Constant:
    """One value in one place."""

    name: str
    variable: str
    """The config variable that it comes from; empty: it is fixed."""
    fixed: Any = None

    def value(self, values: Values) -> Any:
        """Returns what is sent, or None where the variable has no value."""
        return values.of(self.variable) if self.variable else self.fixed


class Constants:
    """The constants of one action, by place."""

    def __init__(self, constants: Iterable[pb.Constant]) -> None:
        """Takes the definition's words for them."""
        self._placed: dict[int, list[Constant]] = {}
        for one in constants:
            fixed = orjson.loads(one.value_json) if one.WhichOneof("source") == "value_json" else None
            self._placed.setdefault(one.placement, []).append(Constant(one.name, one.config_variable, fixed))

    def at(self, placement: int) -> list[Constant]:
        """Returns the constants of one place."""
        return self._placed.get(placement, _NONE)

    def members(self, values: Values) -> dict[str, Any]:
        """Returns the members of the body; a fixed `null` is one."""
        if not self.at(BODY):
            return {}
        given = ((one, one.value(values)) for one in self.at(BODY))
        return {one.name: value for one, value in given if value is not None or not one.variable}

    def texts(self, placement: int, values: Values) -> list[tuple[Constant, str]]:
        """Returns those of a place that have a value, as text."""
        given = ((one, one.value(values)) for one in self.at(placement))
        return [(one, styles.text(value)) for one, value in given if value is not None]

    def query(self, pairs: list[str], values: Values) -> list[str]:
        """Returns the query with the constants in it, in the place of whatever has their names."""
        if not self.at(QUERY):
            return pairs
        own = {one.name: one.value(values) for one in self.at(QUERY)}
        return joined(pairs, "&", own)

    def cookies(self, pairs: list[str], values: Values) -> list[str]:
        """Returns the cookies with the constants among them, in the place of whatever has their names."""
        if not self.at(COOKIE):
            return pairs
        own = {one.name: one.value(values) for one in self.at(COOKIE)}
        return joined(pairs, "; ", own)


_NONE: Final[list[Constant]] = []


def joined(pairs: list[str], between: str, own: dict[str, Any]) -> list[str]:
    """Returns `name=value` pairs with these values in the place of whatever has their names."""
    # The members of an object that stand for themselves can have any name, also that of a constant.
    single = (pair for written in pairs for pair in written.split(between))
    kept = [pair for pair in single if unquote(pair.partition("=")[0]) not in own]
    for name, value in own.items():
        if value is not None:
            # An object would lose its name.
            told = styles.text(value) if isinstance(value, dict) else value
            kept += styles.query(name, told, pb.STYLE_FORM, explode=True)
    return kept
