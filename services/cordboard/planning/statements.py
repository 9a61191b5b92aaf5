"""Statements with named parameters, as definitions have them: read once, and never put together with a value. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.planning.plan import Outbound

# Words that a statement may begin with that changes nothing. The server is told to hold to it all the same.
READING: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN"})
# A parameter is a colon and a name; `::` is a cast.
_PARAMETER: Final = re.compile(r"(?<![:\w]):([A-Za-z_][A-Za-z0-9_]*)")
_FIRST: Final = re.compile(r"\s*([A-Za-z]+)\b")


@dataclass(frozen=True, slots=True)
class Query(Outbound):
    """A statement with its values."""

    text: str = ""
    """As the definition has it."""
    numbered: str = field(default="", repr=False)
    """With `$1` for the first argument, and so on."""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """By the parameters' names, in the order of their numbers."""


class Statement:
    """One statement of a definition."""

    def __init__(self, text: str, properties: Mapping[str, str]) -> None:
        """Takes the text, and which property of the input each parameter takes, by its name."""
        self.text = text
        self.names = parameters(text)
        self._properties = properties
        numbers = {name: number for number, name in enumerate(self.names, 1)}
        self._numbered = _PARAMETER.sub(lambda match: f"${numbers[match[1]]}", text)

    def query(self, method: str, given: Mapping[str, Any], template: str) -> Query:
        """Returns the statement with the values of an input; what the input leaves out is NULL."""
        values = {name: given.get(self._properties.get(name, name)) for name in self.names}
        return Query(method, template, "", {}, None, self.text, self._numbered, values)


def questioned(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns the statement with `?` for each parameter, and their names in the order in which they stand there."""
    return _PARAMETER.sub("?", text), tuple(_PARAMETER.findall(text))


def parameters(text: str) -> tuple[str, ...]:
    """Returns the names of a statement's parameters, each once, in order."""
    return tuple(dict.fromkeys(_PARAMETER.findall(text)))


def reads(text: str) -> bool:
    """Tells whether a statement begins as those do that change nothing."""
    first = _FIRST.match(text)
    return first is not None and first[1].upper() in READING
