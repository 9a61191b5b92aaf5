"""Runs every measurement of this folder, one after the other: `python -m tests.scale [NAME ...]`.

A measurement is a module with a `main` that takes no arguments and prints its figures.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def names() -> list[str]:
    """Returns the names of all measurements."""
    here = Path(__file__).parent
    return sorted(path.stem for path in here.glob("*.py") if not path.stem.startswith("_"))


def main() -> None:
    """Runs the measurements that the arguments name, or all of them."""
    known = names()
    wanted = sys.argv[1:] or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.stderr.write(f"no such measurement: {', '.join(unknown)}; there are {', '.join(known)}\n")
        raise SystemExit(2)
    failed = []
    for name in wanted:
        print(f"== {name}", flush=True)
        module = importlib.import_module(f"tests.scale.{name}")
        if hasattr(module, "main"):
            try:
                module.main()
            except SystemExit as ended:
                # The others are measured all the same.
                failed += [name] if ended.code else []
    if failed:
        sys.stderr.write(f"measurements that missed what is promised, or broke off: {', '.join(failed)}\n")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
