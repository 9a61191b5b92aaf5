"""flagd-testbed's suites of providers, from a folder that holds it, played by unmodified clients on a whole mesh."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from tests.conformance.acts import Act, acts
from tests.conformance.clients import version_of
from tests.conformance.explanations import explanation
from tests.conformance.gherkin import Scenario, scenarios
from tests.conformance.launchpad import WAYS, Door, Launchpad, launched
from tests.conformance.node_client import node
from tests.conformance.python_client import PythonClient, Ward
from tests.conformance.steps import Failed, Unknown

FEATURES: Final = "gherkin/*.feature"
CONTEXT_AWARE: Final = "flagd-context-aware"
MODES: Final = ("rpc", "in-process")
PYTHON: Final = "openfeature-provider-flagd"
NODE: Final = "@openfeature/flagd-provider"
# Who evaluates decides about the bucketing: the mesh itself and the client for Python by the newest.
BUCKETING: Final[Mapping[tuple[str, str], str]] = {(NODE, "in-process"): "fractional-v2"}
NEWEST: Final = "fractional-v3"
OPTIONS: Final[Mapping[str, Any]] = {"retryBackoffMs": 1000, "retryBackoffMaxMs": 1000, "retryGracePeriod": 1}
# A machine that does much else at the same time; but who asks while the connection is lost has to be done with it
# before it is there again.
DEADLINE_MS: Final = 30_000
LOST_DEADLINE_MS: Final = 3_000

TARGET: Final = "`@targetURI`: an address for gRPC's resolver of names, which neither provider has an option for"
SOCKET: Final = "`@unixsocket`: nothing of a mesh listens on a socket of the file system"
CONFIG: Final = "`config.feature`: what a client is set to before it asks any server"
DEPRECATED: Final = "`@deprecated`: what flags without a default gave in evaluation v1; the suite has newer ones for v2"
OTHER_BUCKETING: Final = "`@fractional-v1` to `-v3`: those of other bucketing than that of whoever evaluates"
UNEXPLAINED: Final = "**Not explained:**"
SELECTOR: Final = "with a selector: a token belongs to one environment, whose flags are one set, and no other is chosen"


@dataclass(frozen=True)
class Lane:
    """A client in one of its modes, and where it comes in."""

    client: str
    mode: str
    way: str


@dataclass
class Result:
    """How the suites went in a lane."""

    lane: Lane
    played: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def passed(self) -> int:
        """Returns how many scenarios passed."""
        return self.played - len(self.failures)

    @property
    def unexplained(self) -> list[tuple[str, str]]:
        """Returns the failures that no client's own source explains."""
        return [failure for failure in self.failures if not explanation(self.lane.client, self.lane.way, *failure)]


class Playing(Protocol):
    """A client that plays scenarios."""

    def play(self, acts: list[Act], options: Mapping[str, Any], door: Door, ward: Ward) -> None:
        """Plays a scenario; raises Failed."""
        ...


Opening = Callable[[str], AbstractAsyncContextManager[Playing]]
"""Opens a client in a mode."""


@contextlib.asynccontextmanager
async def _python(mode: str) -> AsyncIterator[Playing]:
    yield PythonClient(mode)


CLIENTS: Final[Mapping[str, Opening]] = {PYTHON: _python, NODE: node}


def cases(testbed: Path) -> list[Scenario]:
    """Returns the scenarios of the suites, with the name of each one's file; raises FileNotFoundError for none."""
    found = [
        replace(case, name=f"{file.name}: {case.name}")
        for file in sorted(testbed.glob(FEATURES))
        for case in scenarios(file.read_text(encoding="utf-8"))
    ]
    if not found:
        raise FileNotFoundError(f"{testbed} has no {FEATURES}")
    return found


def left_out(case: Scenario, bucketing: str) -> str:
    """Returns why a scenario is not played; nothing for one that is."""
    if case.name.startswith("config.feature"):
        return CONFIG
    others = {tag for tag in case.tags if tag.startswith("fractional-v")}
    for tags, why in (({"targetURI"}, TARGET), ({"unixsocket"}, SOCKET), ({"deprecated"}, DEPRECATED)):
        if tags & case.tags:
            return why
    if others and bucketing not in others:
        return OTHER_BUCKETING
    return SELECTOR if any(step.text.startswith('an option "selector"') for step in case.steps) else ""


async def results(testbed: Path, lanes: Sequence[Lane] | None = None) -> list[Result]:
    """Plays the suites in every lane, or in these."""
    # The scenarios make clients complain, as they are meant to.
    logging.getLogger("openfeature").setLevel(logging.CRITICAL)
    wanted = lanes or [Lane(client, mode, way) for client in CLIENTS for mode in MODES for way in WAYS]
    found = []
    async with launched(testbed) as launchpad:
        for lane in wanted:
            if not _version(lane.client):
                found.append(Result(lane))
                continue
            async with CLIENTS[lane.client](lane.mode) as client:
                found.append(await played(lane, client, launchpad, cases(testbed)))
    return found


async def played(lane: Lane, client: Playing, launchpad: Launchpad, wanted: Sequence[Scenario]) -> Result:
    """Plays the scenarios of a lane's mode."""
    result = Result(lane)
    bucketing = BUCKETING.get((lane.client, lane.mode), NEWEST)
    for case in wanted:
        if lane.mode not in case.tags:
            continue
        if why := left_out(case, bucketing):
            result.left_out[why] += 1
            continue
        result.played += 1
        await launchpad.ready()
        try:
            await _play(case, lane, client, launchpad)
        except (Failed, Unknown) as failure:
            result.failures.append((case.name, str(failure) if isinstance(failure, Failed) else f"no step: {failure}"))
            sys.stderr.write(f"{lane.client} {lane.mode} {lane.way}: {case.name}: {failure}\n")
    sys.stderr.write(f"{lane.client} {lane.mode} {lane.way}: {result.passed} of {result.played}\n")
    return result


async def _play(case: Scenario, lane: Lane, client: Playing, launchpad: Launchpad) -> None:
    todo = acts(case)
    loop = asyncio.get_running_loop()

    def ward(act: Act) -> None:
        work = launchpad.lose(act["seconds"]) if act["do"] == "lost" else launchpad.change()
        asyncio.run_coroutine_threadsafe(work, loop).result()

    lost = any(act["do"] == "lost" for act in todo)
    options = {**OPTIONS, "deadlineMs": LOST_DEADLINE_MS if lost else DEADLINE_MS}
    # What flagd is told to inject into every context is what a member's token says.
    door = launchpad.door(lane.way, member=any(act.get("key") == CONTEXT_AWARE for act in todo))
    provider = next(act["name"] for act in todo if act["do"] == "provider")
    if provider == "unavailable":
        door = replace(door, port=_unused())
    elif provider == "forbidden":
        door, status = launchpad.forbidden(lane.way)
        todo = [{**act, "value": [status]} if act.get("name") == "fatalStatusCodes" else act for act in todo]
    await asyncio.to_thread(client.play, todo, options, door, ward)


def _unused() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def lines(found: Sequence[Result]) -> Iterator[str]:
    """Yields the part of the page that tells of the suites."""
    yield "| Client | Version | Mode | Way | Scenarios | Left out | Played | Passed |"
    yield "|---|---|---|---|---|---|---|---|"
    for result in found:
        lane, left = result.lane, result.left_out.total()
        version = _version(lane.client) or "is not installed"
        numbers = f"{result.played + left} | {left} | {result.played} | {result.passed}"
        yield f"| {lane.client} | {version} | {lane.mode} | {lane.way} | {numbers} |"
    yield ""
    yield "| Left out | " + " | ".join(f"{each.client}, {each.mode}" for each in _modes(found)) + " |"
    yield "|---|" + "---|" * len(_modes(found))
    counts = {result.lane: result.left_out for result in found}
    for why in sorted({why for result in found for why in result.left_out}):
        yield f"| {why} | " + " | ".join(str(counts[lane][why]) for lane in _modes(found)) + " |"
    explained: dict[str, list[str]] = {}
    for result in found:
        lane = result.lane
        for name, problem in result.failures:
            why = explanation(lane.client, lane.way, name, problem) or UNEXPLAINED
            cells = (f"{lane.client}, {lane.mode}, {lane.way}", name, problem)
            explained.setdefault(why, []).append(
                f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
            )
    for why, failures in explained.items():
        yield from ("", why, "", "| Client | Failed | How |", "|---|---|---|", *failures)


def _version(client: str) -> str:
    return version_of("python" if client == PYTHON else "node", client)


def _modes(found: Sequence[Result]) -> list[Lane]:
    """Returns one lane for each client and mode: what is left out is the same by every way."""
    return list({(result.lane.client, result.lane.mode): result.lane for result in found}.values())
