"""Draws every form of every API description of some folders in Chromium, filled in, and reads it again.

`python -m tests.scale.drawn [--every N] FOLDER...`; without arguments the folder is CORDBOARD_OPENAPI_SAMPLES. With a
number, every Nth form is drawn. What it counts: forms drawn without an exception, a word on the console or a breach of
the page's policy, and forms that give back what the server takes for the same.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from cordboard.catalog.openapi import import_document
from cordboard.core.errors import CordboardError
from cordboard.uqi.drafts import Draft, Draftsman
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.scale.imports import descriptions
from tests.unit.web.parity import trial


def measure(paths: list[Path], every: int = 1) -> Counter[str]:
    """Draws the forms of every description that the Catalog takes, and prints what became of them."""
    counts: Counter[str] = Counter()
    seconds: list[tuple[float, int, str]] = []
    browser = Browser("drawn.mjs")
    for path in paths:
        try:
            definition = import_document(path.read_text(encoding="utf-8", errors="replace")).definition
        except CordboardError:
            counts["documents refused by the import"] += 1
            continue
        counts["documents"] += 1
        draftsman = Draftsman(definition)
        for draft in draftsman.drafts(draftsman.ids()[::every]):
            if not isinstance(draft, Draft):
                counts["WRONG not made"] += 1
                continue
            request, wrong = trial(draft)
            began = time.perf_counter()
            (found,) = browser(request)
            seconds.append((time.perf_counter() - began, found.get("controls", 0), f"{path.name} {draft.id}"))
            counts["forms drawn"] += 1
            problems = wrong(found)
            if problems:
                counts["WRONG"] += 1
                print(f"WRONG {path.name} {draft.id}: {problems[0][:600]}", flush=True)
        print(f"{counts['documents']} documents, {counts['forms drawn']} forms", flush=True)
    browser.close()
    for what, count in sorted(counts.items()):
        print(f"{what:44} {count}")
    if seconds:
        longest, controls, name = max(seconds)
        middle = statistics.median(each[0] for each in seconds)
        print(f"seconds to draw and read a form: median {middle:.3f}, most {longest:.2f} ({controls} inputs of {name})")
    return counts


def main() -> None:
    """Measures the folders that the arguments name."""
    folders = sys.argv[1:] if Path(sys.argv[0]).stem == "drawn" else []
    every = 1
    if folders[:1] == ["--every"]:
        every, folders = int(folders[1]), folders[2:]
    folders = folders or [os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "")]
    paths = descriptions([folder for folder in folders if folder])
    if not INSTALLED or not paths:
        print(f"{MISSING}, or there is no folder of API descriptions (CORDBOARD_OPENAPI_SAMPLES)")
        return
    measure(paths, every)


if __name__ == "__main__":
    main()
