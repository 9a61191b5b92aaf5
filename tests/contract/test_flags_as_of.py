"""FlagHistoryService over its real server: what flags gave, and what they would give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.core.structs import from_value, to_struct
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.flags.v1 import history_service_pb2 as pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.history_service_pb2_grpc import FlagHistoryServiceStub
from tests.contract.test_flags_service import NAME, a_flag, put, ready, refused
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

FITS = {"tier": "business", "environment": "production"}


@pytest.fixture
async def served(serving: Serving, database: Databases) -> AsyncIterator[Served]:
    async with serving("flags", FlagsSettings, start, database_url=database("flags").url) as running:
        await ready(running)
        yield running


@pytest.fixture
def history(served: Served) -> Any:
    return FlagHistoryServiceStub(served.as_role("operator"))


@pytest.fixture
def flags(served: Served) -> Any:
    return FlagServiceStub(served.as_role("operator"))


async def as_of(stub: Any, name: str = NAME, **moment: Any) -> tuple[Any, str, int]:
    answer = await stub.EvaluateFlagAsOf(pb.EvaluateFlagAsOfRequest(name=name, context=to_struct(FITS), **moment))
    return from_value(answer.value), answer.reason, answer.revision


async def test_a_flag_is_evaluated_as_it_was_at_a_revision_and_at_a_time(history: Any, flags: Any) -> None:
    first = await put(flags, a_flag())
    killed = await flags.KillFlag(flags_pb.KillFlagRequest(name=NAME, reason="outage"))
    await flags.RestoreFlag(flags_pb.RestoreFlagRequest(name=NAME))
    last = await put(flags, a_flag(rules=[]))
    assert await as_of(history, revision=1) == (True, "TARGETING_MATCH", 1)
    assert await as_of(history, revision=2) == (False, "DISABLED", 2)
    assert await as_of(history, revision=4) == (False, "STATIC", 4)
    assert await as_of(history, time=first.update_time) == (True, "TARGETING_MATCH", 1)
    assert await as_of(history, time=killed.update_time) == (False, "DISABLED", 2)
    later = Timestamp(seconds=last.update_time.seconds + 3_600)
    assert await as_of(history, time=later) == (False, "STATIC", 4)


async def test_what_was_not_there_then_is_not_found(history: Any, flags: Any) -> None:
    made = await put(flags, a_flag())
    before = Timestamp(seconds=made.create_time.seconds - 1)
    questions: tuple[dict[str, Any], ...] = (
        {"time": before},
        {"revision": 2},
        {"revision": 0},
        {"name": "flags/none", "revision": 1},
    )
    for question in questions:
        assert (await refused(as_of(history, **question)))[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")
    unreadable: tuple[dict[str, Any], ...] = ({}, {"time": Timestamp(seconds=2**60)})
    for wrong in unreadable:
        assert await refused(as_of(history, **wrong)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["time"])


async def test_a_preview_names_exactly_those_whose_variant_would_change(history: Any, flags: Any) -> None:
    contexts = [to_struct({"tier": tier, "environment": "production"}) for tier in ("free", "business", "enterprise")]

    async def preview(flag: flags_pb.Flag) -> list[tuple[int, str, str]]:
        answer = await history.PreviewFlag(pb.PreviewFlagRequest(flag=flag, contexts=contexts))
        return [(change.index, change.before, change.after) for change in answer.changes]

    wider = a_flag(rules=[flags_pb.Rule(tiers=["enterprise"], variant="on")])
    assert await preview(wider) == [(0, "", "off"), (1, "", "off"), (2, "", "on")]
    made = await put(flags, a_flag())
    assert await preview(a_flag()) == []
    assert await preview(wider) == [(1, "on", "off"), (2, "off", "on")]
    assert await flags.GetFlag(flags_pb.GetFlagRequest(name=NAME)) == made, "nothing is put"
    await flags.KillFlag(flags_pb.KillFlagRequest(name=NAME, reason="outage"))
    assert await preview(wider) == [], "a kill holds whatever the rules are"
    call = history.PreviewFlag(pb.PreviewFlagRequest(flag=wider))
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["contexts"])


async def test_a_decision_is_explained_by_its_rules(history: Any, flags: Any) -> None:
    await put(flags, a_flag(rules=[flags_pb.Rule(tiers=["free"], variant="on"), *a_flag().rules]))

    async def explain(revision: int = 0, **known: str) -> pb.ExplainFlagResponse:
        request = pb.ExplainFlagRequest(name=NAME, context=to_struct(known), revision=revision)
        found: pb.ExplainFlagResponse = await history.ExplainFlag(request)
        return found

    found = await explain(0, **FITS)
    assert (found.decision.variant, found.decision.reason, found.decision.revision) == ("on", "TARGETING_MATCH", 1)
    assert [(rule.index, rule.matched) for rule in found.rules] == [(0, False), (1, True)]
    assert list(found.rules[0].mismatches) == ["tier is 'business', and must be free"]
    await flags.KillFlag(flags_pb.KillFlagRequest(name=NAME, reason="outage"))
    killed = await explain(0, **FITS)
    assert (killed.killed, killed.decision.reason, len(killed.rules)) == (True, "DISABLED", 0)
    assert not (await explain(1, **FITS)).killed
    for name, revision, reason in ((NAME, 9, "RESOURCE_NOT_FOUND"), ("flags/none", 0, "RESOURCE_NOT_FOUND")):
        call = history.ExplainFlag(pb.ExplainFlagRequest(name=name, revision=revision))
        assert (await refused(call))[1] == reason
    call = history.ExplainFlag(pb.ExplainFlagRequest(name=NAME, revision=-1))
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["revision"])
