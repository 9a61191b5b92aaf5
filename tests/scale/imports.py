"""Imports every API description of some folders, and prints what became of them, how long it took, and how much memory.

`python -m tests.scale.imports FOLDER...`; without arguments the folder is CORDBOARD_OPENAPI_SAMPLES.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from cordboard.catalog.openapi import import_document
from cordboard.core.errors import CordboardError
from tests.scale._aims import Aims

# What is promised.
MEDIAN_SECONDS, SLOWEST_SECONDS, MEMORY_MIB = 0.5, 8.0, 600.0
SUFFIXES = (".json", ".yaml", ".yml")


def descriptions(folders: list[str]) -> list[Path]:
    """Returns every file below the folders that may be an API description."""
    found = [path for folder in folders for path in Path(folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted(path for path in found if path.is_file() and path.stat().st_size)


def measure(paths: list[Path]) -> None:
    """Imports them one after the other, and prints the figures; exits with 1 where an aim was missed."""
    refused: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    seconds: list[float] = []
    works: list[float] = []
    operations = actions = 0
    slowest, slowest_path = 0.0, ""
    for path in paths:
        began, worked = time.perf_counter(), time.process_time()
        try:
            became = import_document(path.read_text(encoding="utf-8", errors="replace"), source_uri=str(path))
        except CordboardError as error:
            refused[str(error)[:80]] += 1
            print(f"refused  {path.name}: {str(error)[:150]}")
            continue
        took = time.perf_counter() - began
        seconds.append(took)
        works.append(time.process_time() - worked)
        if took > slowest:
            slowest, slowest_path = took, path.name
        report = became.report
        operations += report.operation_count
        actions += report.action_count
        losses = [finding for finding in report.findings if finding.severity == finding.SEVERITY_LOSS]
        if report.action_count < report.operation_count:
            lost = report.operation_count - report.action_count
            reasons[losses[0].text.partition(":")[2][:80].strip()] += lost
            print(f"partly   {path.name}: {report.action_count} of {report.operation_count}")
    documents = len(seconds) + sum(refused.values())
    if not seconds:
        print("no description could be read")
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"documents   {len(seconds)} of {documents} ({100 * len(seconds) / documents:.1f} %)")
    print(f"operations  {actions} of {operations} ({100 * actions / max(1, operations):.2f} %)")
    for reason, times in reasons.most_common(10):
        print(f"  lost {times:5}: {reason}")
    print(f"time        median {statistics.median(seconds):.2f} s, slowest {slowest:.2f} s ({slowest_path})")
    work, load = statistics.median(works), os.getloadavg()[0]
    print(f"processor   median {work:.2f} s, slowest {max(works):.2f} s, at a load of {load:.1f}")
    print(f"memory      {peak:.0f} MiB at most, all in one process")
    hold(seconds, peak)


def hold(seconds: list[float], peak: float) -> None:
    """Holds times and memory against what is promised."""
    aims = Aims()
    aims.at_most("median of a document", statistics.median(seconds), MEDIAN_SECONDS, "s")
    aims.at_most("the slowest document", max(seconds), SLOWEST_SECONDS, "s")
    aims.at_most("memory", peak, MEMORY_MIB, "MiB")
    aims.settle()


def main() -> None:
    """Measures the folders that the arguments name, or the samples."""
    named = sys.argv[1:] if __name__ == "__main__" else []
    folders = named or [os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "")]
    paths = descriptions([folder for folder in folders if folder])
    if not paths:
        print("CORDBOARD_OPENAPI_SAMPLES names no folder of API descriptions: nothing was measured")
        return
    measure(paths)


if __name__ == "__main__":
    main()
