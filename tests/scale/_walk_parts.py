"""What a walk by the command needs: the command itself, a vendor that answers everything, and a newer description."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web

from cordboard.catalog.openapi import import_document
from cordboard.catalog.v1.definition_pb2 import Action, Definition
from cordboard.cli.__main__ import main
from cordboard.cli.demo.samples import NoSample, sample

# A process that has imported the command forks for each run of it: hundreds of runs import nothing again.
FORKS: Final = multiprocessing.get_context("forkserver")
PRELOADED: Final = "cordboard.cli.__main__"
METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
ADDED: Final = "walk_was_here"
# The schemes that a made-up value connects, the plainest first.
PLAIN: Final = ("none", "api_key", "bearer", "basic", "all_of")


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
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Vendor:
        """Begins to listen."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{slug}{rest:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listens no more."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked[request.path.split("/")[1]] += 1
        return web.json_response({})


@dataclass(frozen=True)
class Trial:
    """An action of a description with an input that fits it, and the scheme that connects."""

    action: str
    input: dict[str, Any]
    scheme: str


@dataclass(frozen=True)
class Description:
    """A description, the one that comes after it, and what can be called of both."""

    slug: str
    old: Path
    new: Path
    trials: tuple[Trial, ...]
    both: bool
    """Whether the older one has the action as well."""


def describe(path: Path, folder: Path) -> Description:
    """Writes the description that comes after one: an operation more and, where there are several paths, one less."""
    text = path.read_text(encoding="utf-8")
    slug = "-".join(part for part in "".join(c if c.isalnum() else "-" for c in path.stem.lower()).split("-") if part)
    plain = yaml.load(text, Loader=yaml.CSafeLoader) if path.suffix != ".json" else json.loads(text)
    paths = dict(plain.get("paths") or {})
    if len(paths) > 1:
        del paths[list(paths)[-1]]
    paths["/walk-was-here"] = {
        "get": {"operationId": ADDED, "responses": {"200": {"description": "It answered."}}, "summary": "Say hello"}
    }
    new = folder / f"{slug}.json"
    new.write_text(json.dumps(plain | {"paths": paths}, default=str), encoding="utf-8")
    before = {action.id: action for action in import_document(text, source_uri="").definition.actions}
    after = import_document(new.read_text(encoding="utf-8"), source_uri="").definition
    shared = [action for action in after.actions if action == before.get(action.id)]
    # What has no action at first has one afterwards.
    trials = tuple(_trials(after, shared or list(after.actions)))
    return Description(slug, path, new, trials[:5], both=bool(shared))


def _trials(definition: Definition, actions: list[Action]) -> Iterator[Trial]:
    shared = json.loads(definition.schemas_json or "{}")
    # Reading before writing, and what asks for little before what asks for much.
    actions = sorted(actions, key=lambda each: (each.request.method != "GET", len(each.input_schema_json)))
    schemes = {scheme.id: scheme.WhichOneof("kind") or "" for scheme in definition.auth_schemes}
    for kind in PLAIN:
        for scheme in [each for each, of in schemes.items() if of == kind]:
            for action in actions:
                if action.request.server_url or (action.auth_schemes and scheme not in action.auth_schemes):
                    continue
                schema = json.loads(action.input_schema_json or "{}")
                try:
                    given = sample({"type": "object"} | schema, shared | schema.get("$defs", {}))
                except (NoSample, StopIteration):
                    continue
                yield Trial(action.id, given, scheme)
