"""Semantic versions (semver.org 2.0.0): what a definition version is called, and what the next one is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_LENGTH: Final = 64
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,8})"
# Build metadata is left out: two versions that differ in it alone would be equal, and a name must not be.
_PATTERN: Final = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-((?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    rf"(?:\.(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?",
    re.ASCII,
)


@dataclass(frozen=True)
class SemVer:
    """A version without build metadata."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""

    @classmethod
    def parse(cls, text: str) -> SemVer | None:
        """Returns the version that a text names, or None when it names none."""
        found = _PATTERN.fullmatch(text) if len(text) <= MAX_LENGTH else None
        if found is None:
            return None
        return cls(int(found[1]), int(found[2]), int(found[3]), found[4] or "")

    def __str__(self) -> str:
        """Returns the version as it is written."""
        number = f"{self.major}.{self.minor}.{self.patch}"
        return f"{number}-{self.prerelease}" if self.prerelease else number


FIRST: Final = SemVer(1, 0, 0)


def following(active: str, taken: Collection[str]) -> str:
    """Returns the next minor version after the active one that is not taken; 1.0.0 when there is no active one."""
    current = SemVer.parse(active)
    candidate = FIRST if current is None else SemVer(current.major, current.minor + 1, 0)
    while str(candidate) in taken:
        candidate = SemVer(candidate.major, candidate.minor + 1, 0)
    return str(candidate)
