"""What differs between two forms of a flag, as lines."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Final

from cordboard.cli.output import console, plain
from cordboard.flags.v1 import flag_service_pb2 as pb

# What somebody decides about a flag; the rest follows from when and by whom.
_CONTENT: Final = (
    "description",
    "variants",
    "rules",
    "defaultVariant",
    "offVariant",
    "killed",
    "whenStale",
    "prerequisites",
)
_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}


def difference(before: pb.Flag | None, after: pb.Flag, names: tuple[str, str]) -> list[str]:
    """Returns a unified diff of what the flags say, empty where that is the same; None: there was no flag."""
    old = [] if before is None else _lines(before)
    return list(difflib.unified_diff(old, _lines(after), *names, lineterm="", n=2))


def show_difference(lines: Iterable[str]) -> None:
    """Prints the lines of a difference."""
    for line in lines:
        console.print(line, highlight=False, style=_STYLES.get(line[:1]))


def _lines(flag: pb.Flag) -> list[str]:
    content = {name: value for name, value in plain(flag).items() if name in _CONTENT}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
