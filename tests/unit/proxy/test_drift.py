"""Which answers the Proxy looks at for drift, and how it tells the Catalog."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from cordboard.auth.v1.credential_service_pb2 import LeaseCredentialResponse
from cordboard.catalog.v1 import drift_service_pb2 as pb
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceServicer, add_DriftServiceServicer_to_server
from cordboard.core.channel import Channels
from cordboard.planning.answers import JSON, Answer
from cordboard.proxy.connections import Lease
from cordboard.proxy.credentials import Credential
from cordboard.proxy.definitions import Definition
from cordboard.proxy.drift import MAX_BYTES, MAX_WAITING, Drift
from cordboard.proxy.target import Target, aim
from tests.fixtures.ways import leading_to
from tests.unit.proxy.running import CONNECTION, until
from tests.unit.proxy.samples import SLUG, VERSION, a_definition, an_action

SCHEMA = {"type": "object", "required": ["id"]}
LEASE = Lease(
    connection=CONNECTION,
    integration=SLUG,
    environment="production",
    auth_scheme="key",
    generation=1,
    configuration={},
    credential=Credential(CONNECTION, LeaseCredentialResponse()),
    expires=float("inf"),
)
DRIFTED = Answer(200, JSON, b"{}")


@dataclass
class Catalog(DriftServiceServicer):
    """The Catalog, as the Proxy sees it."""

    looks: list[pb.AnswersLookedAt] = field(default_factory=list)
    refusal: grpc.StatusCode | None = None

    async def ListDrifts(self, request: pb.ListDriftsRequest, context: Any) -> pb.ListDriftsResponse:
        raise NotImplementedError

    async def ReportDrift(self, request: pb.ReportDriftRequest, context: Any) -> pb.ReportDriftResponse:
        if self.refusal is not None:
            await context.abort(self.refusal, "not now")
        self.looks.extend(request.looks)
        return pb.ReportDriftResponse()

    @property
    def answers(self) -> dict[str, int]:
        """Returns of how many answers it was told, by action."""
        found: dict[str, int] = {}
        for one in self.looks:
            found[one.action] = found.get(one.action, 0) + one.answers
        return found


@dataclass
class Scene:
    """What looks, whom it tells, and its clock."""

    catalog: Catalog
    channels: Channels
    now: float = 0.0

    @contextlib.asynccontextmanager
    async def looking(self, every: float = 60.0) -> AsyncIterator[Drift]:
        """Looks at answers inside the block."""
        drift = Drift(self.channels, every=every, monotonic=lambda: self.now)
        task = asyncio.create_task(drift.look())
        try:
            yield drift
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def told(self, drift: Drift, **answers: int) -> None:
        """Returns once the Catalog was told of so many answers, and fails after a bound."""

        async def done() -> bool:
            await drift.report()
            return self.catalog.answers == answers

        await until(done)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A Catalog that takes reports."""
    catalog = Catalog()
    async with leading_to(add_DriftServiceServicer_to_server, catalog) as channels:
        yield Scene(catalog, channels)


def a_target(action: str = "get") -> Target:
    definition = Definition(a_definition(an_action(action, output_schema_json=json.dumps(SCHEMA))))
    return aim(definition, definition.action(action), LEASE)


async def test_of_many_answers_one_is_looked_at_now_and_then(scene: Scene) -> None:
    async with scene.looking(every=60.0) as drift:
        for _ in range(100):
            drift.answered(a_target(), DRIFTED, "a" * 32, streams=False)
        drift.answered(a_target("other"), DRIFTED, "", streams=False)
        await scene.told(drift, get=1, other=1)
        scene.now = 59.9
        drift.answered(a_target(), DRIFTED, "", streams=False)
        scene.now = 60.0
        drift.answered(a_target(), DRIFTED, "", streams=False)
        await scene.told(drift, get=2, other=1)
    first = scene.catalog.looks[0]
    assert (first.integration, first.version, first.action) == (SLUG, VERSION, "get")
    (sign,) = first.signs
    assert (sign.kind, sign.place, sign.rule) == (pb.DRIFT_KIND_OUTPUT, "output.id", "required")
    assert (sign.answers, sign.trace_id) == (1, "a" * 32)
    assert first.HasField("last_time")


async def test_errors_have_a_turn_of_their_own(scene: Scene) -> None:
    async with scene.looking() as drift:
        drift.answered(a_target(), DRIFTED, "", streams=False)
        drift.refused(a_target(), Answer(410), "")
        drift.refused(a_target(), Answer(410), "")
        await scene.told(drift, get=2)
    kinds = [sign.kind for look in scene.catalog.looks for sign in look.signs]
    assert sorted(kinds) == [pb.DRIFT_KIND_OUTPUT, pb.DRIFT_KIND_ENDPOINT]


async def test_what_was_found_twice_is_told_once_with_its_number(scene: Scene) -> None:
    async with scene.looking(every=1.0) as drift:
        for second in range(3):
            scene.now = float(second)
            drift.answered(a_target(), DRIFTED, f"{second}" * 32, streams=False)
        await until(lambda: drift.idle)
        await scene.told(drift, get=3)
    (look,) = scene.catalog.looks
    assert [(sign.answers, sign.trace_id) for sign in look.signs] == [(3, "2" * 32)]


async def test_what_is_too_large_or_streamed_or_switched_off_is_not_compared(scene: Scene) -> None:
    async with scene.looking() as drift, scene.looking(every=0.0) as off:
        off.answered(a_target("off"), DRIFTED, "", streams=False)
        drift.answered(a_target("large"), Answer(200, JSON, b" " * MAX_BYTES + b"{}"), "", streams=False)
        drift.answered(a_target("streamed"), DRIFTED, "", streams=True)
        drift.answered(a_target("compared"), DRIFTED, "", streams=False)
        await scene.told(drift, streamed=1, compared=1)
        await off.report()
    assert {look.action: len(look.signs) for look in scene.catalog.looks} == {"streamed": 0, "compared": 1}


async def test_more_than_can_wait_are_left_out_and_have_their_turn_later(scene: Scene) -> None:
    drift = Drift(scene.channels, every=60.0, monotonic=lambda: scene.now)
    names = [f"a{number}" for number in range(MAX_WAITING + 1)]
    targets = {name: a_target(name) for name in names}
    for name in names:
        drift.answered(targets[name], DRIFTED, "", streams=False)
    task = asyncio.create_task(drift.look())
    await scene.told(drift, **dict.fromkeys(names[:-1], 1))
    drift.answered(targets[names[-1]], DRIFTED, "", streams=False)
    await scene.told(drift, **dict.fromkeys(names, 1))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_could_not_be_told_is_told_later_and_what_is_refused_is_not(scene: Scene) -> None:
    async with scene.looking() as drift:
        scene.catalog.refusal = grpc.StatusCode.UNAVAILABLE
        drift.answered(a_target(), DRIFTED, "", streams=False)
        await until(lambda: drift.idle)
        await drift.report()
        scene.catalog.refusal = None
        await scene.told(drift, get=1)
        scene.catalog.refusal = grpc.StatusCode.INVALID_ARGUMENT
        drift.answered(a_target("other"), DRIFTED, "", streams=False)
        await until(lambda: drift.idle)
        await drift.report()
        scene.catalog.refusal = None
        await drift.report()
    assert scene.catalog.answers == {"get": 1}
