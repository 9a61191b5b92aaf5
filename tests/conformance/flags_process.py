"""Flags with definitions of flagd's own in the place of some that it compiles, as a process of its own:
`python -m tests.conformance.flags_process DEFINITIONS HOLD`.

Typed rules are fewer than JsonLogic, and flagd-testbed's flags use all of that. Everything else is the service as it
is: its database, its streams, its servers, and who may ask. It does not begin while there is a file HOLD, so that
whoever kills it says when it comes back.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cordboard.flags import __main__ as flags
from cordboard.flags import prerequisites
from cordboard.flags.compilation import compiled
from cordboard.flags.content import Content

LOOK_SECONDS: Final = 0.02


def main(definitions: Path, hold: Path) -> None:
    """Waits until it may, and runs the service to its end."""
    given: dict[str, Any] = json.loads(definitions.read_text(encoding="utf-8"))

    def or_given(key: str, content: Content, **rest: Any) -> Mapping[str, Any]:
        return given.get(key) or compiled(key, content, **rest)

    setattr(prerequisites, "compiled", or_given)  # noqa: B010 - a module's function is no variable to a type checker
    while hold.exists():
        time.sleep(LOOK_SECONDS)
    flags.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
