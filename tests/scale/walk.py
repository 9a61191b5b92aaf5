"""Walks with real API descriptions, by the command alone, from a file to an edge that is cut off from its hub.

`python -m tests.scale.walk [FILE or FOLDER]...`; without arguments the folder is CORDBOARD_OPENAPI_SAMPLES. A hub and
an edge run on this machine. Each description is imported at the hub, published, imported again when it has changed,
compared, deprecated, pinned and rolled out there; at the edge it is connected and called: pinned, not pinned, and when
the hub is gone and the edge was started again. Its vendor is a stand-in that answers everything. Where one that can be
read does not come to the end, the run ends with status 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.scale._aims import Aims
from tests.scale._meshes import FORKS, LOCAL, PRELOADED, Failed, Mesh, Vendor, a_vendor
from tests.scale._walk_parts import Description, Trial, describe
from tests.scale.imports import descriptions

WORKSPACE: Final = "mall"
OLD: Final = "1.0.0"
NEW: Final = "1.1.0"
# As many walks at a time as this machine has cores.
TOGETHER: Final = os.cpu_count() or 1
STEPS: Final = ("import", "again", "diff", "govern", "arrive", "connect", "pinned", "newer", "cut off")


@dataclass
class Walk:
    """How far a description came."""

    name: str
    slug: str = ""
    actions: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    trial: Trial | None = None
    described: Description | None = None

    @property
    def came(self) -> str:
        """Says what came of it, in a word."""
        return self.problem or ("to the end" if "cut off" in self.seconds else "nothing can be called")


class Walks:
    """Leads descriptions from a file to an edge."""

    def __init__(self, hub: Mesh, edge: Mesh, vendor: Vendor, folder: Path) -> None:
        self._hub = hub
        self._edge = edge
        self._vendor = vendor
        self._folder = folder
        self._room = asyncio.Semaphore(TOGETHER)

    async def begun(self, path: Path) -> Walk:
        """Leads a description until it is called at the edge in its newer version."""
        walk = Walk(path.name)
        async with self._room:
            try:
                await self._governed(walk, path)
                await self._used(walk)
            except Failed as problem:
                walk.problem = f"WRONG {problem}"
        print(f"{walk.name:36} {walk.actions:>9}  {walk.came if walk.problem else 'is used at the edge'}", flush=True)
        return walk

    async def _governed(self, walk: Walk, path: Path) -> None:
        try:
            described = await asyncio.to_thread(describe, path, self._folder)
        except ValueError:
            await self._refused(walk, path)
            return
        walk.described, walk.slug = described, described.slug
        slug = described.slug
        server = ("--server", f"{self._vendor.url}/{slug}", "--owner", "team@example.com", "--slug", slug)
        said = await self._hub.well("import", str(described.old), *server, shows=f"{slug}/versions/{OLD}")
        walk.seconds["import"], walk.actions = said.seconds, _actions(said.output)
        said = await self._hub.well("import", str(described.new), *server, shows="since version 1.0.0")
        walk.seconds["again"] = said.seconds
        said = await self._hub.well("catalog", "diff", slug, OLD, NEW, shows="actions: 1 added")
        walk.seconds["diff"] = said.seconds
        began = time.monotonic()
        why = ("--successor", NEW, "--sunset", "90d", "--reason", "there is a newer one")
        await self._hub.well("catalog", "deprecate", slug, OLD, *why, shows="deprecated")
        await self._hub.well("flag", "rollout", slug, "--environment", "production", "--reason", "for everybody")
        pin = ("catalog", "pin", slug, OLD, "--workspace", WORKSPACE, "--reason", "not yet")
        await self._hub.well(*pin)
        walk.seconds["govern"] = time.monotonic() - began

    async def _refused(self, walk: Walk, path: Path) -> None:
        """What cannot be parsed is refused with its place, and leaves nothing behind."""
        said = await self._hub.run("import", str(path), "--slug", "cannot-be-read")
        left = await self._hub.run("catalog", "show", "cannot-be-read")
        if said.code != 2 or "line" not in said.all or left.code != 3:
            raise Failed(f"{said.code}: {said.all[-200:]}; {left.all[-100:]}")
        walk.problem = f"refused: {said.all.partition('] ')[2] or said.all[-120:]}"

    async def _used(self, walk: Walk) -> None:
        if walk.described is None:
            return
        slug, began = walk.slug, time.monotonic()
        await self._edge.until("catalog", "versions", slug, shows=NEW)
        walk.seconds["arrive"] = time.monotonic() - began
        for trial in walk.described.trials:
            if walk.trial is None or trial.scheme != walk.trial.scheme:
                await self._connect(walk, trial)
            walk.trial, began = trial, time.monotonic()
            try:
                if walk.described.both:
                    await self._edge.until(*self._call(walk), shows=f"version {OLD}")
                    walk.seconds["pinned"] = time.monotonic() - began
                break
            except Failed as problem:
                walk.problem = f"WRONG {problem}"
        else:
            return
        walk.problem, began = "", time.monotonic()
        await self._hub.well("catalog", "unpin", slug, "--workspace", WORKSPACE)
        await self._edge.until(*self._call(walk), shows=f"version {NEW}")
        walk.seconds["newer"] = time.monotonic() - began
        if not self._vendor.asked[slug]:
            raise Failed("the vendor was not asked")

    async def _connect(self, walk: Walk, trial: Trial) -> None:
        began = time.monotonic()
        form = json.loads((await self._edge.well("form", walk.slug, f"auth.{trial.scheme}", "--json-schema")).output)
        values = [word for name in form.get("required", []) for word in ("--value", f"{name}=made-up")]
        words = ("connect", walk.slug, "-w", WORKSPACE, "--id", walk.slug, "--scheme", trial.scheme)
        await self._edge.well(*words, *values)
        walk.seconds["connect"] = time.monotonic() - began

    def _call(self, walk: Walk) -> tuple[str, ...]:
        assert walk.trial is not None
        given = json.dumps(walk.trial.input)
        return "call", f"{WORKSPACE}/{walk.slug}", walk.trial.action, "--input", given

    async def without_the_hub(self, walk: Walk) -> None:
        """Calls at the edge what is there, while the hub is gone."""
        if walk.trial is None or walk.problem:
            return
        async with self._room:
            before, began = self._vendor.asked[walk.slug], time.monotonic()
            try:
                await self._edge.well(*self._call(walk), shows=f"version {NEW}")
                await self._edge.well("form", walk.slug, f"action.{walk.trial.action}")
            except Failed as problem:
                walk.problem = f"WRONG without the hub: {problem}"
                return
            walk.seconds["cut off"] = time.monotonic() - began
            if self._vendor.asked[walk.slug] == before:
                walk.problem = "WRONG without the hub the vendor was not asked"


def _actions(said: str) -> str:
    count, _, rest = said.partition(" of ")
    return f"{count.split()[-1]}/{rest.split()[0]}"


async def measure(paths: list[Path], folder: Path) -> list[Walk]:
    """Walks with every description and returns how far each came."""
    hub, edge, bootstrap = Mesh(folder / "hub"), Mesh(folder / "edge"), folder / "shop.json"
    up = ("up", "--detach", *LOCAL, "--role", "edge", "--bootstrap", str(bootstrap))
    async with a_vendor() as vendor:
        try:
            await hub.well("up", "--detach", *LOCAL)
            await hub.well("edges", "register", "shop", "--workspace", WORKSPACE, "--file", str(bootstrap))
            await edge.well(*up)
            for mesh in (hub, edge):
                await mesh.well("workspaces", "create", WORKSPACE, "--tier", "business")
            walks = Walks(hub, edge, vendor, folder)
            walked = await asyncio.gather(*(walks.begun(path) for path in paths))
            listed = await hub.well("edges", "list")
            print(f"the hub says: {listed.all}")
            await hub.well("down")
            await edge.until("edges", "state", shows="connected no")
            await edge.well("down")
            await edge.well(*up)
            await asyncio.gather(*(walks.without_the_hub(walk) for walk in walked))
            state = await edge.well("edges", "state", shows="connected no")
            print(f"the edge says: {state.all}")
        finally:
            for mesh in (edge, hub):
                await mesh.run("down")
    return walked


def show(walked: list[Walk]) -> None:
    """Prints what every step took, and what came of all."""
    print(f"\n{'description':36} {'actions':>9} " + " ".join(f"{step:>8}" for step in STEPS) + "  seconds; came")
    for walk in sorted(walked, key=lambda each: each.name):
        times = " ".join(f"{walk.seconds[step]:8.1f}" if step in walk.seconds else " " * 8 for step in STEPS)
        print(f"{walk.name:36} {walk.actions:>9} {times}  {walk.came}")
    ended = sum(walk.came == "to the end" for walk in walked)
    refused = sum(walk.came.startswith("refused") for walk in walked)
    wrong = len(walked) - ended - refused
    print(
        f"{ended} of {len(walked)} descriptions came from their file to an edge that is cut off; {refused} cannot be "
        f"read and were refused; {wrong} went wrong; load of this machine in the last minute: {os.getloadavg()[0]:.1f}"
    )


def judged(walked: list[Walk]) -> Aims:
    """Holds what came of all against what is promised: whatever can be read comes to the end."""
    aims = Aims()
    readable = [walk for walk in walked if not walk.came.startswith("refused")]
    aims.exactly(
        "descriptions that came to the end", sum(walk.came == "to the end" for walk in readable), len(readable)
    )
    return aims


def main() -> None:
    """Walks with what the arguments name, or with the samples."""
    named = sys.argv[1:] if __name__ == "__main__" else []
    given = named or [os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "")]
    paths = [one for each in given if each for one in (descriptions([each]) if Path(each).is_dir() else [Path(each)])]
    if not paths:
        print("CORDBOARD_OPENAPI_SAMPLES names no folder of API descriptions: nothing was measured")
        return
    with tempfile.TemporaryDirectory(prefix="cordboard-walk-") as place:
        # PostgreSQL runs as somebody else when we are root, and its data lies below.
        Path(place).chmod(0o711)
        FORKS.set_forkserver_preload(PRELOADED)
        walked = asyncio.run(measure(paths, Path(place)))
    show(walked)
    judged(walked).settle()


if __name__ == "__main__":
    main()
