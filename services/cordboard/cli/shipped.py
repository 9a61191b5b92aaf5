"""Where the definitions are that come with this release."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from cordboard.cli.failures import USAGE, CommandFailed


def shipped_folder() -> Path:
    """Returns the folder `integrations/`: the one in the wheel, or the one of the source tree; raises CommandFailed."""
    packaged = Path(str(importlib.resources.files("cordboard"))) / "integrations"
    for folder in (packaged, Path(__file__).resolve().parents[3] / "integrations"):
        if folder.is_dir():
            return folder
    raise CommandFailed("no definitions came with this installation", USAGE)


def shipped_file(slug: str) -> Path:
    """Returns the file of one of them; raises CommandFailed."""
    file = shipped_folder() / f"{slug}.yaml"
    if "/" in slug or not file.is_file():
        raise CommandFailed(f"no definition of {slug} came with this installation", USAGE)
    return file
