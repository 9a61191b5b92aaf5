"""Meshes that are used by nothing but the command, and a vendor that answers everything."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from cordboard.cli.__main__ import main
from cordboard.cli.commands import PLACES
from tests.fixtures.sites import listening

# A process that has imported the command forks for each run of it: hundreds of runs import nothing again.
FORKS: Final = multiprocessing.get_context("forkserver")
PRELOADED: Final = sorted({module for place in PLACES.values() for module in place.modules})
# The private network that vendors of a measurement are in.
LOCAL: Final = ("--allow-network", "127.0.0.0/8")


class Failed(Exception):
    """A command did not do what it is for."""


@dataclass(frozen=True)
class Said:
    """What a command said, on one line each, and how long it took."""

    code: int
    output: str
    errors: str
    seconds: float

    @property
    def all(self) -> str:
        """Returns everything that was said, on one line."""
        return " ".join((self.output + " " + self.errors).split())


def _run(words: list[str]) -> Said:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        process = FORKS.Process(target=_command, args=(words, folder))
        process.start()
        process.join()
        code, output, errors = (Path(folder, name).read_text(encoding="utf-8") for name in ("code", "output", "errors"))
    return Said(int(code), output, errors, time.monotonic() - began)


def _command(words: list[str], folder: str) -> None:
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT), number)
    sys.argv = words
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    # What becomes of libraries that a fork ends with is no matter of the command's.
    Path(folder, "code").write_text(str(code), encoding="utf-8")
    os._exit(0)


class Mesh:
    """A mesh that is used by nothing but the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, *words: str) -> Said:
        """Runs a command, whatever comes of it."""
        return await asyncio.to_thread(_run, ["cordboard", "--state-dir", str(self.folder), *words])

    async def well(self, *words: str, shows: str = "") -> Said:
        """Runs a command that must go well, and show a text; raises Failed."""
        said = await self.run(*words)
        if said.code or shows not in said.all:
            wanted = f", and not {shows!r}" if shows and not said.code else ""
            raise Failed(f"`{' '.join(words[:3])}` ended with {said.code}: {said.all[-300:]}{wanted}")
        return said

    async def until(self, *words: str, shows: str, patience: float = 120.0) -> Said:
        """Runs a command until it goes well and shows a text; raises Failed with what it said last."""
        deadline = time.monotonic() + patience
        while True:
            said = await self.run(*words)
            if not said.code and shows in said.all:
                return said
            # What is wrong with the input does not become right by waiting.
            if said.code == 2 or time.monotonic() > deadline:
                raise Failed(f"`{' '.join(words[:3])}` ended with {said.code}: {said.all[-300:]}, and not {shows!r}")


class Vendor:
    """Whatever is asked of it, it answers with an empty object, and counts by the first part of the path."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Counts, and answers."""
        self.asked[request.path.split("/")[1]] += 1
        return web.json_response({})


@contextlib.asynccontextmanager
async def a_vendor() -> AsyncIterator[Vendor]:
    """Runs the vendor inside the block."""
    vendor, application = Vendor(), web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{slug}{rest:.*}", vendor.answer)
    async with listening(application) as vendor.url:
        yield vendor
