"""What a walk by the command goes with: a description, and a newer one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from cordboard.catalog.openapi import import_document
from cordboard.catalog.v1.definition_pb2 import Action, Definition
from cordboard.cli.demo.samples import NoSample, sample

METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
ADDED: Final = "walk_was_here"
# The schemes that a made-up value connects, the plainest first.
PLAIN: Final = ("none", "api_key", "bearer", "basic", "all_of")


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
