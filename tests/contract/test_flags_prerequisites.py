"""Flags that need other flags, over the real server: put, explained, previewed, as of a time, and in rollouts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cordboard.core.structs import to_struct, to_value
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1 import history_service_pb2 as history_pb
from cordboard.flags.v1 import replica_service_pb2 as replica_pb
from cordboard.flags.v1 import rollout_service_pb2 as rollout_pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.history_service_pb2_grpc import FlagHistoryServiceStub
from cordboard.flags.v1.replica_service_pb2_grpc import FlagReplicaServiceStub
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

BOUND = 40.0


class Operator:
    """An operator of Flags."""

    def __init__(self, served: Served) -> None:
        channel = served.as_role("operator")
        self.flags: Any = FlagServiceStub(channel)
        self.history: Any = FlagHistoryServiceStub(channel)
        self.rollouts: Any = RolloutServiceStub(channel)
        self.catalog: Any = FlagReplicaServiceStub(served.channel("catalog"))

    async def put(self, flag: pb.Flag) -> pb.Flag:
        """Puts a flag."""
        made: pb.Flag = await self.flags.PutFlag(pb.PutFlagRequest(flag=flag))
        return made

    async def gives(self, key: str, **context: Any) -> str:
        """Returns the variant that a flag gives."""
        request = pb.EvaluateFlagRequest(name=f"flags/{key}", context=to_struct(context))
        return str((await self.flags.EvaluateFlag(request)).variant)


@pytest.fixture
async def operator(serving: Serving, database: Databases) -> AsyncIterator[Operator]:
    async with serving("flags", FlagsSettings, start, database_url=database("flags").url) as served:
        operator = Operator(served)
        async with asyncio.timeout(BOUND):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await operator.put(a_flag("desk", pb.Rule(tiers=["business"], variant="on")))
                    break
                await asyncio.sleep(0.01)
        yield operator


def a_flag(key: str, *rules: pb.Rule, **needs: str) -> pb.Flag:
    return pb.Flag(
        name=f"flags/{key}",
        variants={"on": to_value(True), "off": to_value(False)},
        default_variant="off",
        off_variant="off",
        rules=rules,
        prerequisites=[pb.Prerequisite(flag=f"flags/{other}", variants=[variant]) for other, variant in needs.items()],
    )


EVERYBODY = pb.Rule(variant="on")


async def refused(call: Any) -> list[tuple[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = status_pb2.Status.FromString(dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"])
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(bad)
    return [(each.field, each.reason) for each in bad.field_violations]


async def test_a_flag_with_a_prerequisite_is_kept_explained_and_rolled_back(operator: Operator) -> None:
    made = await operator.put(a_flag("mail", EVERYBODY, desk="on"))
    assert made.prerequisites == a_flag("mail", desk="on").prerequisites
    assert [await operator.gives("mail", tier=tier) for tier in ("business", "free")] == ["on", "off"]
    request = history_pb.ExplainFlagRequest(name="flags/mail", context=to_struct({"tier": "free"}))
    found = await operator.history.ExplainFlag(request)
    assert (found.decision.variant, list(found.rules)) == ("off", [])
    assert found.unmet_prerequisites == ["flags/desk gives off, and must give on"]
    request.context.CopyFrom(to_struct({"tier": "business"}))
    found = await operator.history.ExplainFlag(request)
    assert (found.decision.variant, list(found.unmet_prerequisites), found.rules[0].matched) == ("on", [], True)
    await operator.flags.KillFlag(pb.KillFlagRequest(name="flags/desk", reason="fire"))
    assert await operator.gives("mail", tier="business") == "off"
    # As of before the kill: what a flag needs is as of then too.
    revisions = await operator.flags.ListFlagRevisions(pb.ListFlagRevisionsRequest(parent="flags/desk"))
    kill = revisions.flag_revisions[0]
    before = history_pb.EvaluateFlagAsOfRequest(name="flags/mail", context=to_struct({"tier": "business"}))
    before.time.FromNanoseconds(kill.create_time.ToNanoseconds() - 1000)
    assert (await operator.history.EvaluateFlagAsOf(before)).variant == "on"
    before.time.CopyFrom(kill.create_time)
    assert (await operator.history.EvaluateFlagAsOf(before)).variant == "off"
    await operator.put(a_flag("mail", EVERYBODY))
    assert await operator.gives("mail") == "on"
    await operator.flags.RollbackFlag(pb.RollbackFlagRequest(name="flags/mail/revisions/1"))
    assert await operator.gives("mail", tier="business") == "off"


async def test_what_cannot_be_needed_is_refused(operator: Operator) -> None:
    assert await refused(operator.put(a_flag("mail", none="on"))) == [("flag.prerequisites[0].flag", "UNKNOWN_FLAG")]
    unknown = [("flag.prerequisites[0].variants[0]", "UNKNOWN_VARIANT")]
    assert await refused(operator.put(a_flag("mail", desk="maybe"))) == unknown
    assert ("flag.prerequisites[0].flag", "CYCLE") in await refused(operator.put(a_flag("mail", mail="on")))
    nameless = a_flag("mail")
    nameless.prerequisites.add(flag="flags/a b", variants=["on"])
    assert ("flag.prerequisites[0].flag", "RESOURCE_NAME") in await refused(operator.put(nameless))
    await operator.put(a_flag("mail", desk="on"))
    assert await refused(operator.put(a_flag("desk", mail="on"))) == [("flag.prerequisites[0].flag", "CYCLE")]
    # The control: the other way round it is no circle once the first one lets go.
    await operator.put(a_flag("mail"))
    await operator.put(a_flag("desk", mail="on"))


async def test_a_preview_tells_of_flags_that_need_this_one(operator: Operator) -> None:
    await operator.put(a_flag("mail", EVERYBODY, desk="on"))
    contexts = [to_struct({"tier": tier}) for tier in ("business", "free")]
    request = history_pb.PreviewFlagRequest(flag=a_flag("desk", EVERYBODY), contexts=contexts)
    changes = (await operator.history.PreviewFlag(request)).changes
    assert [(each.index, each.before, each.after, each.flag) for each in changes] == [
        (1, "off", "on", ""), (1, "off", "on", "flags/mail"),
    ]  # fmt: skip
    assert await operator.gives("mail", tier="free") == "off"


async def test_a_rollout_waits_for_what_it_needs(operator: Operator) -> None:
    rollout = rollout_pb.Rollout(
        name="rollouts/integration.mail",
        stages=[rollout_pb.Stage(reaches=[rollout_pb.Reach(percent=100)])],
        prerequisites=[pb.Prerequisite(flag="flags/desk", variants=["on"])],
    )
    made = await operator.rollouts.PutRollout(rollout_pb.PutRolloutRequest(rollout=rollout))
    assert made.prerequisites == rollout.prerequisites
    assert [await operator.gives("integration.mail", tier=tier) for tier in ("business", "free")] == ["on", "off"]
    await operator.put(a_flag("desk", EVERYBODY))
    assert await operator.gives("integration.mail", tier="free") == "on"
    rollout.prerequisites[0].flag = "flags/none"
    assert await refused(operator.rollouts.PutRollout(rollout_pb.PutRolloutRequest(rollout=rollout))) == [
        ("rollout.prerequisites[0].flag", "UNKNOWN_FLAG")
    ]


async def test_a_segment_is_kept_named_explained_and_previewed(operator: Operator) -> None:
    await operator.put(a_flag("segment.friends", pb.Rule(workspaces=["acme"], variant="on")))
    rule = pb.Rule(segments=["friends"], variant="on")
    made = await operator.put(a_flag("mail", rule))
    assert made.rules[0].segments == ["friends"]
    assert [await operator.gives("mail", workspace=name) for name in ("acme", "globex")] == ["on", "off"]
    request = history_pb.ExplainFlagRequest(name="flags/mail", context=to_struct({"workspace": "globex"}))
    [finding] = (await operator.history.ExplainFlag(request)).rules
    assert finding.mismatches == ["it is not in the segment friends"]
    request.context.CopyFrom(to_struct({"workspace": "acme"}))
    [finding] = (await operator.history.ExplainFlag(request)).rules
    assert finding.matched
    wider = a_flag("segment.friends", pb.Rule(workspaces=["acme", "globex"], variant="on"))
    contexts = [to_struct({"workspace": name}) for name in ("acme", "globex")]
    changes = (await operator.history.PreviewFlag(history_pb.PreviewFlagRequest(flag=wider, contexts=contexts))).changes
    assert [(each.index, each.flag) for each in changes] == [(1, ""), (1, "flags/mail")]
    assert await refused(operator.put(a_flag("mail", pb.Rule(segments=["none"], variant="on")))) == [
        ("flag.rules[0].segments[0]", "UNKNOWN_SEGMENT")
    ]
    unsafe = a_flag("segment.friends", EVERYBODY)
    unsafe.off_variant = "on"
    assert await refused(operator.put(unsafe)) == [("flag.off_variant", "UNSAFE")]


async def test_a_rollout_is_for_a_segment(operator: Operator) -> None:
    await operator.put(a_flag("segment.friends", pb.Rule(workspaces=["acme"], variant="on")))
    rollout = rollout_pb.Rollout(
        name="rollouts/integration.mail",
        audience=rollout_pb.Audience(segments=["friends"], workspaces=["named"]),
        stages=[rollout_pb.Stage(reaches=[rollout_pb.Reach(percent=100)])],
    )
    made = await operator.rollouts.PutRollout(rollout_pb.PutRolloutRequest(rollout=rollout))
    assert made.audience == rollout.audience
    reached = [await operator.gives("integration.mail", workspace=name) for name in ("acme", "globex", "named")]
    assert reached == ["on", "off", "on"]
    await operator.put(a_flag("segment.friends", pb.Rule(workspaces=["globex"], variant="on")))
    assert await operator.gives("integration.mail", workspace="globex") == "on"
    rollout.audience.segments.append("none")
    assert await refused(operator.rollouts.PutRollout(rollout_pb.PutRolloutRequest(rollout=rollout))) == [
        ("rollout.audience.segments[1]", "UNKNOWN_SEGMENT")
    ]


async def test_an_edge_takes_flags_before_those_that_they_need(operator: Operator) -> None:
    flags = [a_flag("a", EVERYBODY, b="on"), a_flag("b", EVERYBODY), a_flag("c", EVERYBODY, withheld="on")]
    records = replica_pb.FlagRecords(sequence=7, flags=flags)
    request = replica_pb.ApplyFlagRecordsRequest(records=records)
    assert (await operator.catalog.ApplyFlagRecords(request)).changed_count == 3
    assert [await operator.gives(key) for key in ("a", "b", "c")] == ["on", "on", "off"]
