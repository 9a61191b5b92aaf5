"""Violations gathered along the way, each under the path of the part that is looked at."""

from __future__ import annotations

from typing import Final

from cordboard.core.errors import Violation

MAX_SHOWN: Final = 80


class Findings:
    """What is wrong with a part of a definition, and with the parts below it."""

    def __init__(self, path: str = "", violations: list[Violation] | None = None) -> None:
        """Begins with nothing found; `below` makes the one of a part."""
        self._path = path
        self.violations: list[Violation] = [] if violations is None else violations

    def below(self, step: str, index: int | None = None) -> Findings:
        """Returns the findings of a field, or of one element of a repeated field; they count here too."""
        named = f"{self._path}.{step}" if self._path else step
        return Findings(named if index is None else f"{named}[{index}]", self.violations)

    def add(self, field: str, description: str) -> None:
        """Notes what is wrong with a field; an empty field means the part itself."""
        path = f"{self._path}.{field}" if self._path and field else self._path or field
        self.violations.append(Violation(path, description))

    def require(self, held: bool, field: str, description: str) -> None:
        """Notes what is wrong with a field unless the condition holds."""
        if not held:
            self.add(field, description)


def shown(value: str) -> str:
    """Returns a value for an error text: quoted, and not endless."""
    return repr(value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…")
