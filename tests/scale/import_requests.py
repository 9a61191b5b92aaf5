"""Makes requests for every operation of real API descriptions, has others' code judge them, and prints the figures.

`python -m tests.scale.import_requests [FILE or FOLDER]...`; without arguments the folder is CORDBOARD_OPENAPI_SAMPLES.
openapi-core is the judge, and prism of what it cannot read, where `make node` has installed that.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.judged.prism import PROGRAM
from tests.judged.trial import Trial, descriptions, tried

MAX_REASONS = 12
FIGURES = (
    "operations",
    "requests",
    "accepted",
    "accepted by prism",
    "explained",
    "refused",
    "misread",
    "not judged",
    "wrong inputs",
)


def measure(paths: list[Path]) -> None:
    """Tries the documents one after the other, and prints what came of each and of all."""
    total: Counter[str] = Counter()
    began = time.perf_counter()
    second = PROGRAM.exists() and shutil.which("node") is not None
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            trial = tried(path, second=Path(folder) if second else None)
        if trial is None:
            print(f"{path.name:36} cannot be imported")
            continue
        total.update(trial.counts)
        _print(trial)
    print("\nall documents")
    for name, number in sorted(total.items()):
        print(f"  {number:7}  {name}")
    accepted = total["accepted"] + total["accepted by prism"]
    judged = accepted + total["refused"] + total["misread"]
    print(f"explained   {total['explained']} refused by the fault of a description or of the judge")
    print(f"accepted    {accepted} of {judged} judged ({100 * accepted / max(1, judged):.2f} %)")
    through = total["wrong input let through"] + total["wrong, other field named"]
    print(f"wrong input {total['wrong inputs'] - through} of {total['wrong inputs']} refused with the field named")
    print(f"time        {time.perf_counter() - began:.0f} s")


def _print(trial: Trial) -> None:
    told = "  ".join(f"{name} {trial.counts[name]}" for name in FIGURES if trial.counts[name])
    print(f"{trial.name:36} {told}", flush=True)
    reasons = Counter((kind, reason) for kind, _, reason in trial.findings)
    first: dict[tuple[str, str], str] = {}
    for kind, action, reason in trial.findings:
        first.setdefault((kind, reason), action)
    for (kind, reason), times in reasons.most_common(MAX_REASONS):
        print(f"    {times:4} {kind}: {reason[:230]} (such as {first[kind, reason]})")
    if len(reasons) > MAX_REASONS:
        print(f"         and {len(reasons) - MAX_REASONS} more reasons")


def main() -> None:
    """Tries what the arguments name, or the samples."""
    named = sys.argv[1:] if __name__ == "__main__" else []
    given = [Path(one) for one in named or [os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "missing")]]
    paths = [path for one in given for path in (descriptions(one) if one.is_dir() else [one]) if path.is_file()]
    if not paths:
        print("CORDBOARD_OPENAPI_SAMPLES names no folder of API descriptions: nothing was tried")
        return
    measure(paths)


if __name__ == "__main__":
    main()
