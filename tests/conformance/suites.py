"""flagd's evaluation suites, from a folder that holds flagd-testbed, played on every subject."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openfeature import api
from openfeature.contrib.provider.flagd.config import ResolverType

from tests.conformance.gherkin import Scenario, scenarios
from tests.conformance.steps import Failed, Subject, Unknown, play
from tests.conformance.subjects import Evaluator, connect, serving

# A flag is bucketed by one algorithm; the suite has examples for each, and unmarked flags are of the newest.
OTHERS: Final = frozenset({"fractional-v1", "fractional-v2"})
FLAGS: Final = "evaluator/flags/testkit-flags.json"
FEATURES: Final = "evaluator/gherkin/*.feature"
SUBJECTS: Final = (
    "the mesh's evaluation, in process",
    "openfeature-provider-flagd by evaluation v2",
    "openfeature-provider-flagd by sync v1",
)


@dataclass
class Result:
    """How a suite went with a subject."""

    subject: str
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    unknown: int = 0

    @property
    def played(self) -> int:
        """Returns how many scenarios there were."""
        return self.passed + len(self.failures) + self.unknown


def cases(testbed: Path) -> list[Scenario]:
    """Returns the scenarios of the suites; raises FileNotFoundError where there are none."""
    found = [case for file in sorted(testbed.glob(FEATURES)) for case in scenarios(file.read_text())]
    if not found:
        raise FileNotFoundError(f"{testbed} has no {FEATURES}")
    return [case for case in found if not case.tags & OTHERS]


async def results(testbed: Path) -> list[Result]:
    """Plays the suites on every subject."""
    configuration, wanted = (testbed / FLAGS).read_text(), cases(testbed)
    found = [played(SUBJECTS[0], Evaluator(configuration), wanted)]
    async with serving(configuration) as port:
        for name, mode in zip(SUBJECTS[1:], (ResolverType.RPC, ResolverType.IN_PROCESS), strict=True):
            subject = await asyncio.to_thread(connect, port, mode)
            try:
                found.append(await asyncio.to_thread(played, name, subject, wanted))
            finally:
                await asyncio.to_thread(api.shutdown)
    return found


def played(name: str, subject: Subject, wanted: list[Scenario]) -> Result:
    """Plays scenarios on one subject."""
    result = Result(name)
    for case in wanted:
        try:
            play(case, subject)
        except Unknown:
            result.unknown += 1
        except Failed as failure:
            result.failures.append(f"{case.name}: {failure}")
        else:
            result.passed += 1
    return result


def lines(found: list[Result]) -> Iterator[str]:
    """Yields the part of the page that tells of the suites."""
    yield "| Subject | Scenarios | Passed |"
    yield "|---|---|---|"
    for result in found:
        yield f"| {result.subject} | {result.played} | {result.passed} |"
    for result in found:
        for failure in result.failures:
            yield ""
            yield f"- {result.subject}: {failure}"
