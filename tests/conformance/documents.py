"""flagd's schemas, from a folder that holds flagd-schemas: what is taken for a flag, and what is sent as one.

The folder has documents that are as they should be, and such as are not; each has to be told from the other. And its
schemas judge what the mesh itself sends to clients that evaluate in process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
import jsonschema_rs
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import FlagSyncServiceStub

from cordboard.cli.foreign_flags.admission import flag_problems, set_problems, targeting_problems
from cordboard.client import Client
from cordboard.core.structs import to_value
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.conformance.clients import Place

DOCUMENTS: Final = "json/test/*/*/*.json"
# What is right stands in a folder of this name, what is wrong beside it.
RIGHT: Final = "positive"
SCHEMAS: Final = ("targeting", "flags", "flagd")
BASE: Final = "https://flagd.dev/schema/v0"


@dataclass(frozen=True)
class Judged:
    """What became of a document."""

    name: str
    right: bool
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tells whether it was taken for what it is."""
        return self.right is not bool(self.problems)


def judged(schemas: Path) -> list[Judged]:
    """Returns what import says of every document; raises FileNotFoundError where there are none."""
    files = sorted(schemas.glob(DOCUMENTS))
    if not files:
        raise FileNotFoundError(f"{schemas} has no {DOCUMENTS}")
    found = []
    for file in files:
        problems = tuple(_problems(json.loads(file.read_text(encoding="utf-8"))))
        found.append(Judged(str(file.relative_to(schemas / "json/test")), file.parent.name == RIGHT, problems))
    return found


def invalid(schemas: Path, document: Any) -> list[str]:
    """Returns what is wrong with a document for providers, by the published schemas."""
    contents = {name: json.loads((schemas / f"json/{name}.json").read_text(encoding="utf-8")) for name in SCHEMAS}
    registry = jsonschema_rs.Registry([(f"{BASE}/{name}.json", content) for name, content in contents.items()])
    validator = jsonschema_rs.validator_for(contents["flags"], registry=registry, base_uri=f"{BASE}/flags.json")
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(document)]


async def put_every_kind(operator: Client) -> str:
    """Puts flags with all that rules can say; returns what their keys begin with."""
    prefix = f"shape-{uuid4().hex[:8]}"
    segment = f"{prefix}-pilots"
    on_off = {"on": True, "off": False}
    for key, variants, fields in (
        (f"segment.{segment}", on_off, {"rules": [pb.Rule(customers=["northwind-corp"], variant="on")]}),
        (f"{prefix}-first", on_off, {"rules": [pb.Rule(tiers=["business"], regions=["eu"], variant="on")]}),
        (f"{prefix}-number", {"off": 0, "on": 2.5}, {"when_stale": pb.WHEN_STALE_DEFAULT}),
        (f"{prefix}-object", {"off": {}, "on": {"a": [1, None, {"b": "c"}]}}, {"description": "An object."}),
        (
            f"{prefix}-all",
            {"off": "old", "on": "new", "third": "odd"},
            {
                "prerequisites": [pb.Prerequisite(flag=f"flags/{prefix}-first", variants=["on"])],
                "rules": [
                    pb.Rule(workspaces=["acme"], environments=["staging"], variant="on"),
                    pb.Rule(segments=[segment], variant="third"),
                    pb.Rule(
                        slices=[pb.Slice(group=prefix, begin=0, end=5_000)],
                        split=[pb.WeightedVariant(variant="on", weight=1), pb.WeightedVariant(variant="off", weight=3)],
                    ),
                ],
            },
        ),
    ):
        values = {name: to_value(value) for name, value in variants.items()}
        flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant="off", **fields)
        await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))
    await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{prefix}-number", reason="a check"))
    return prefix


async def sent(place: Place) -> dict[str, Any]:
    """Returns what a client gets that evaluates in process."""
    tls = grpc.ssl_channel_credentials(await asyncio.to_thread(Path(place.ca_file).read_bytes))
    credentials = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(place.token))
    async with grpc.aio.secure_channel(f"{place.host}:{place.port}", credentials) as channel:
        answer = await FlagSyncServiceStub(channel).FetchAllFlags(sync_pb2.FetchAllFlagsRequest())
    document: dict[str, Any] = json.loads(answer.flag_configuration)
    return document


def lines(found: list[Judged], sets: dict[str, tuple[int, list[str]]]) -> Iterator[str]:
    """Yields the part of the page that tells of documents and of sets, by whom they were sent to."""
    yield "| Documents | Number | Told right |"
    yield "|---|---|---|"
    for right, name in ((True, "as they should be: taken"), (False, "with a mistake: refused, with its place")):
        these = [one for one in found if one.right is right]
        yield f"| {name} | {len(these)} | {sum(one.passed for one in these)} |"
    for one in found:
        if not one.passed:
            yield ""
            yield f"- {one.name}: {'; '.join(one.problems) or 'was taken'}"
    yield ""
    yield "| Set that the mesh sends, judged by `flags.json` | Flags | Valid |"
    yield "|---|---|---|"
    for name, (size, problems) in sets.items():
        yield f"| {name} | {size} | {'yes' if not problems else '**no**'} |"
    for name, (_, problems) in sets.items():
        for problem in problems:
            yield ""
            yield f"- {name}: {problem}"


def _problems(document: Any) -> Iterator[str]:
    schema = document.get("$schema")
    if schema is None:
        yield from targeting_problems(document, "targeting")
        return
    yield from set_problems(document, lists=schema.endswith("flagd.json"))
    flags = document.get("flags", {})
    for flag in flags.values() if isinstance(flags, dict) else flags:
        yield from flag_problems(flag)
