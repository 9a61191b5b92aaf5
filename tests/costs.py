"""Says what the tests cost in processor time, by folder, by file and by fixture: `pytest -p tests.costs ...`.

Processor time, and not time on the clock: that says how busy the machine was. It counts this process, with all of its
threads, and every process below it: PostgreSQL, services, Envoy, Node.js, browsers. What a fixture cost is without
the fixtures that it asked for. CORDBOARD_TEST_COSTS names a file that gets a JSON document for each step of each test.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

RAW: Final = "CORDBOARD_TEST_COSTS"
SHOWN: Final = 40
# Looking at every process costs some milliseconds: it is not done again before it has cost a fiftieth of the time.
LOOKS_AGAIN: Final = 50
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Meter:
    """Counts the processor time of this process and of every process below it."""

    def __init__(self) -> None:
        """Begins with nothing seen."""
        self._next = 0.0
        self._below = 0.0

    def spent(self) -> float:
        """Returns the processor seconds so far; those of other processes may be told a moment late."""
        began = time.monotonic()
        if began >= self._next:
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            self._below = ended.ru_utime + ended.ru_stime + _living(os.getpid())
            now = time.monotonic()
            self._next = now + LOOKS_AGAIN * (now - began)
        return time.process_time() + self._below


def _living(pid: int) -> float:
    """Returns the processor seconds of the living descendants of a process, with those whom they have seen end."""
    total = 0.0
    for task in _lines(f"/proc/{pid}/task/*/children"):
        for child in task.split():
            for line in _lines(f"/proc/{child}/stat"):
                # The name may hold spaces and brackets: what counts stands behind the last one.
                fields = line.rpartition(")")[2].split()
                total += sum(map(int, fields[11:15])) / _TICKS
            total += _living(int(child))
    return total


def _lines(pattern: str) -> Iterator[str]:
    for path in Path("/").glob(pattern.removeprefix("/")):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_text()


@dataclass
class _Seen:
    """What one process of the run has seen."""

    meter: Meter = field(default_factory=Meter)
    # One for each fixture that is being set up: what the fixtures that it asked for have cost.
    inner: list[float] = field(default_factory=lambda: [0.0])
    fixtures: dict[str, list[float]] = field(default_factory=dict)


_here: Final = _Seen()
_gathered: Final[list[dict[str, Any]]] = []
_BEGAN: Final = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    """Counts one set-up of a fixture."""
    began = _here.meter.spent()
    _here.inner.append(0.0)
    try:
        return (yield)
    finally:
        cost = _here.meter.spent() - began
        within = _here.inner.pop()
        _here.inner[-1] += cost
        known = _here.fixtures.setdefault(f"{fixturedef.argname} ({fixturedef.scope})", [0.0, 0])
        known[0] += cost - within
        known[1] += 1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Counts from here."""
    item.stash[_BEGAN] = _here.meter.spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Sends what a step of a test cost along with its report: the processes of `-n` have nothing else in common."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    now = _here.meter.spent()
    report.user_properties = [
        *item.user_properties, ("cost", now - item.stash[_BEGAN]), ("fixtures", dict(_here.fixtures))
    ]  # fmt: skip
    item.stash[_BEGAN] = now
    _here.fixtures.clear()
    return report  # type: ignore[return-value]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gathers, in the process that reports."""
    told = dict(report.user_properties)
    if "cost" in told and "PYTEST_XDIST_WORKER" not in os.environ:
        _gathered.append({"test": report.nodeid, "when": report.when, "seconds": report.duration, **told})
        if raw := os.environ.get(RAW):
            with Path(raw).open("a") as file:
                file.write(json.dumps(_gathered[-1]) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes what things cost, dearest first."""
    folders: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    files: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    fixtures: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for each in _gathered:
        file = each["test"].partition("::")[0]
        for sums in (folders[file.rpartition("/")[0]], files[file]):
            sums[0] += each["cost"]
            sums[1] += each["seconds"]
            sums[2] += each["when"] == "call"
        for name, (cost, count) in each["fixtures"].items():
            fixtures[name][0] += cost
            fixtures[name][1] += count
    write = terminalreporter.write_line
    for title, found in (("folder", folders), ("file", files)):
        write(f"processor seconds, seconds on the clock and tests by {title}:")
        for name, (cost, seconds, count) in sorted(found.items(), key=lambda pair: -pair[1][0])[:SHOWN]:
            write(f"{cost:9.1f} {seconds:9.1f} {count:6.0f} {name}")
    write("processor seconds and set-ups by fixture:")
    for name, (cost, count) in sorted(fixtures.items(), key=lambda pair: -pair[1][0])[:SHOWN]:
        write(f"{cost:9.1f} {count:6.0f} {name}")
