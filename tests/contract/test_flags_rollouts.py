"""RolloutService over its real server and database, and the stages that begin by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cordboard.catalog.__main__ import start as start_catalog
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1.catalog_service_pb2 import PublishDefinitionRequest
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_ACTIVE, VERSION_STATE_DRAFT
from cordboard.core.audit import Journal
from cordboard.core.database import Database
from cordboard.core.times import to_timestamp
from cordboard.flags.__main__ import start
from cordboard.flags.approvals import Approvals
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.flags import Cause, Flags
from cordboard.flags.rollouts.plan import Plan, Reach, Stage
from cordboard.flags.rollouts.rollouts import Rollouts
from cordboard.flags.rollouts.store import RolloutStore
from cordboard.flags.rollouts.targets import Targets
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.store import FlagStore
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.flags.v1 import rollout_service_pb2 as pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.contract.test_flags_service import evaluate, ready, refused
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.catalog.definitions import DOCUMENT

KEY = "integration.desk"
NAME = f"rollouts/{KEY}"
FLAG = f"flags/{KEY}"
CAUSE = Cause("ann", "because")
BOUND = 40.0


@pytest.fixture
async def served(serving: Serving, database: Databases) -> AsyncIterator[Served]:
    async with serving("flags", FlagsSettings, start, database_url=database("flags").url) as running:
        await ready(running)
        yield running


@pytest.fixture
def rollouts(served: Served) -> Any:
    return RolloutServiceStub(served.as_role("operator"))


@pytest.fixture
def flags(served: Served) -> Any:
    return FlagServiceStub(served.as_role("operator"))


def a_stage(percent: float = 100, soak: int = 0) -> pb.Stage:
    stage = pb.Stage(reaches=[pb.Reach(environment="production", percent=percent)])
    if soak:
        stage.soak_duration.seconds = soak
    return stage


def a_rollout(name: str = NAME, **changes: Any) -> pb.Rollout:
    fields: dict[str, Any] = {"stages": [a_stage(0), a_stage(50), a_stage(100)], "description": "Acme Desk"}
    return pb.Rollout(name=name, **{**fields, **changes})


async def put(stub: Any, rollout: pb.Rollout, reason: str = "") -> pb.Rollout:
    made: pb.Rollout = await stub.PutRollout(pb.PutRolloutRequest(rollout=rollout, reason=reason))
    return made


async def is_on(stub: Any, **context: str) -> bool:
    known = {"environment": "production", "workspace": "acme", "tier": "business", **context}
    value, *_ = await evaluate(stub, FLAG, **known)
    return bool(value)


async def test_a_rollout_is_kept_as_it_was_put_and_writes_the_flag_of_its_key(rollouts: Any, flags: Any) -> None:
    audience = pb.Audience(minimum_tier="business", workspaces=["acme"], excluded_customers=["c-1"])
    exclusion = pb.Exclusion(group="checkout", begin_percent=0.5, end_percent=50)
    wanted = a_rollout(audience=audience, exclusion=exclusion, holdout_percent=5, stages=[a_stage(1, 60), a_stage()])
    made = await put(rollouts, wanted, "launch")
    assert (made.stage, made.next_stage_time.seconds - made.stage_time.seconds) == (1, 60)
    assert (made.audience, made.exclusion, made.holdout_percent) == (audience, exclusion, 5)
    assert list(made.stages) == list(wanted.stages)
    assert await rollouts.GetRollout(pb.GetRolloutRequest(name=NAME)) == made
    assert await is_on(flags)
    assert not await is_on(flags, customer="c-1")
    listed = await flags.ListFlagRevisions(flags_pb.ListFlagRevisionsRequest(parent=FLAG))
    assert [each.reason for each in listed.flag_revisions] == ["rollout put: stage 1 of 2: launch"]


async def test_a_rollout_of_what_the_catalog_does_not_have_is_refused_with_its_field(
    serving: Serving, database: Databases
) -> None:
    async with (
        serving("catalog", CatalogSettings, start_catalog, database_url=database("catalog").url) as catalog,
        serving(
            "flags", FlagsSettings, start, database_url=database("flags").url, catalog_address=catalog.address
        ) as served,
    ):
        await ready(served)
        publisher: Any = CatalogServiceStub(catalog.as_role("publisher"))
        for stage in (VERSION_STATE_ACTIVE, VERSION_STATE_DRAFT):
            document = DOCUMENT.replace("title: Acme Desk", f"title: Acme Desk {stage}")
            await publisher.PublishDefinition(PublishDefinitionRequest(document=document, stage=stage))
        rollouts: Any = RolloutServiceStub(served.as_role("operator"))
        for key, version, field in (
            ("integration.acme-desc", "", "rollout.name"),
            ("action.acme-desc.list_tickets", "", "rollout.name"),
            ("version.acme-desc", "1.0.0", "rollout.name"),
            ("version.acme-desk", "9.0.0", "rollout.version"),
            ("version.acme-desk", "1.1.0", "rollout.version"),
            ("version.acme-desk", "not a version", "rollout.version"),
        ):
            call = put(rollouts, a_rollout(f"rollouts/{key}", version=version))
            assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", [field]), (key, version)
        # The control: what is there is taken.
        for key, version in (("integration.acme-desk", ""), ("version.acme-desk", "1.0.0")):
            assert (await put(rollouts, a_rollout(f"rollouts/{key}", version=version))).version == version
        await catalog.process.close()
        call = put(rollouts, a_rollout("rollouts/version.acme-desk", version="1.0.0"))
        assert (await refused(call))[:2] == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        # What has to work while the Catalog is away does.
        await rollouts.MoveRollout(pb.MoveRolloutRequest(name="rollouts/version.acme-desk", stage=0))


async def test_a_rollout_moves_on_and_back_and_each_stage_is_a_revision(rollouts: Any, flags: Any) -> None:
    await put(rollouts, a_rollout())
    assert not await is_on(flags)
    moved = await rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME, stage=3, reason="all well"))
    assert moved.stage == 3
    assert await is_on(flags)
    await rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME, stage=0))
    assert not await is_on(flags)
    assert (await flags.GetFlag(flags_pb.GetFlagRequest(name=FLAG))).revision == 3
    for stage in (-1, 4):
        call = rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME, stage=stage))
        assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["stage"])


async def test_a_frozen_rollout_goes_nowhere_and_can_be_killed(rollouts: Any, flags: Any) -> None:
    await put(rollouts, a_rollout(stages=[a_stage(100, 60), a_stage()]))
    frozen = await rollouts.FreezeRollout(pb.FreezeRolloutRequest(name=NAME, reason="sale"))
    assert (frozen.freeze_reason, frozen.HasField("next_stage_time")) == ("sale", False)
    assert (await refused(put(rollouts, a_rollout())))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    call = rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME, stage=2))
    assert (await refused(call))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    assert await is_on(flags)
    await flags.KillFlag(flags_pb.KillFlagRequest(name=FLAG, reason="outage"))
    assert not await is_on(flags)
    thawed = await rollouts.ThawRollout(pb.ThawRolloutRequest(name=NAME))
    assert (thawed.freeze_reason, thawed.HasField("next_stage_time")) == ("", True)
    assert not await is_on(flags), "moving a rollout never ends a kill"
    again = rollouts.ThawRollout(pb.ThawRolloutRequest(name=NAME))
    assert (await refused(again))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    nothing = rollouts.FreezeRollout(pb.FreezeRolloutRequest(name=NAME, reason=" "))
    assert await refused(nothing) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["reason"])


async def test_a_change_needs_what_was_read_when_it_says_so(rollouts: Any) -> None:
    first = await put(rollouts, a_rollout())
    second = await put(rollouts, a_rollout(etag=first.etag, description="changed"))
    assert second.etag != first.etag
    assert (await refused(put(rollouts, a_rollout(etag=first.etag))))[:2] == ("ABORTED", "ETAG_MISMATCH")


async def test_slices_of_a_group_that_overlap_are_refused(rollouts: Any) -> None:
    async def slice_of(name: str, group: str, begin: float, end: float) -> pb.Rollout:
        part = pb.Exclusion(group=group, begin_percent=begin, end_percent=end)
        return await put(rollouts, a_rollout(f"rollouts/integration.{name}", exclusion=part))

    await slice_of("a", "checkout", 0, 50)
    await slice_of("b", "checkout", 50, 100)
    await slice_of("c", "search", 0, 100)
    await slice_of("a", "checkout", 10, 50)
    assert (await refused(slice_of("c", "checkout", 49.99, 60)))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")


async def test_rollouts_are_listed_page_by_page(rollouts: Any) -> None:
    names = [f"rollouts/integration.{slug}" for slug in ("a", "b", "c")]
    for name in reversed(names):
        await put(rollouts, a_rollout(name))
    first = await rollouts.ListRollouts(pb.ListRolloutsRequest(page_size=2))
    rest = await rollouts.ListRollouts(pb.ListRolloutsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.name for each in (*first.rollouts, *rest.rollouts)] == names
    assert rest.next_page_token == ""


async def test_what_is_not_there_and_what_is_wrong_is_said(rollouts: Any) -> None:
    for call in (
        rollouts.GetRollout(pb.GetRolloutRequest(name=NAME)),
        rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME)),
        rollouts.FreezeRollout(pb.FreezeRolloutRequest(name=NAME, reason="r")),
        rollouts.ThawRollout(pb.ThawRolloutRequest(name=NAME)),
    ):
        assert (await refused(call))[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")
    wrong = put(rollouts, a_rollout(audience=pb.Audience(minimum_tier="gold"), version="1.0.0"))
    assert (await refused(wrong))[2] == ["rollout.version", "rollout.audience.minimum_tier"]
    long = put(rollouts, a_rollout(description="x" * 3_000))
    assert (await refused(long))[2] == ["rollout.description"]
    late = await put(rollouts, a_rollout(start_time=to_timestamp(datetime.now(UTC) + timedelta(days=1))))
    assert (late.stage, late.next_stage_time) == (0, late.start_time)


@dataclass
class Hands:
    """A clock that a test moves."""

    moment: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


async def test_stages_begin_when_their_time_has_come_and_once_with_two_replicas(database: Databases) -> None:
    kept, clock = Database(database("flags").url), Hands()
    store = FlagStore(kept)
    live = LiveFlags(store)
    flags = Flags(store, Journal(kept), live, clock, Approvals(()))
    first, second = (
        Rollouts(RolloutStore(kept), flags, Journal(kept), clock, tiers=("free",), targets=Targets(None))
        for _ in range(2)
    )

    async def begun() -> tuple[int, int]:
        async with asyncio.timeout(BOUND):
            count = sum(await asyncio.gather(first.begin_due(), second.begin_due()))
        return count, (await first.rollout(KEY)).stage

    try:
        await live.refresh()
        stages = tuple(Stage((Reach("", share),), soak=3_600.0) for share in (100, 1_000, 10_000))
        opening = clock.moment + timedelta(hours=1)
        await first.put(KEY, Plan(stages), start_time=opening, etag="", cause=CAUSE)
        assert await begun() == (0, 0)
        clock.moment = opening
        assert await begun() == (1, 1)
        assert await begun() == (0, 1)
        clock.moment += timedelta(hours=1)
        assert await begun() == (1, 2)
        clock.moment += timedelta(hours=1)
        await flags.kill(KEY, cause=CAUSE)
        assert await begun() == (0, 2), "a killed flag's stages wait"
        await flags.restore(KEY, cause=CAUSE)
        await first.freeze(KEY, cause=CAUSE)
        assert await begun() == (0, 2)
        await first.thaw(KEY, cause=CAUSE)
        assert await begun() == (0, 2), "the soak time begins anew"
        clock.moment += timedelta(hours=1)
        assert await begun() == (1, 3)
        assert (await first.rollout(KEY)).next_time is None
        reasons = [each.reason for each in await flags.revisions(KEY, below=None, limit=1)]
        assert reasons == ["rollout begin: stage 3 of 3"]
    finally:
        await kept.close()
