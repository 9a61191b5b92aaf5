"""Flags as OpenFeature's clients ask for them: flagd's evaluation v1 and v2, events and sync."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from openfeature.schemas.protobuf.flagd.evaluation.v1 import evaluation_pb2 as v1
from openfeature.schemas.protobuf.flagd.evaluation.v1.evaluation_pb2_grpc import ServiceStub as V1Stub
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub as V2Stub
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import FlagSyncServiceStub
from sqlalchemy import make_url

from cordboard.core.errors import FlagBroken, FlagFailed, InvalidFields
from cordboard.core.flagging import FlagSet
from cordboard.core.structs import to_struct, to_value
from cordboard.flags.__main__ import start
from cordboard.flags.openfeature.events import changed_keys
from cordboard.flags.openfeature.resolution import BOOLEAN, FLOAT, INT, OBJECT, STRING, resolution
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1 import ofrep_service_pb2 as ofrep_pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.ofrep_service_pb2_grpc import OfrepServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

BOUND = 40.0
MEMBER = {"workspace": "acme", "tier": "business"}


@dataclass
class Mesh:
    """A Flags service, and its operator."""

    served: Served
    operator: Any

    def member(self, **claims: Any) -> grpc.aio.Channel:
        return self.served.as_role("member", **{**MEMBER, **claims})

    async def put(self, key: str, variants: dict[str, Any], default: str, *rules: pb.Rule) -> None:
        values = {name: to_value(value) for name, value in variants.items()}
        flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant=default, rules=rules)
        await self.operator.PutFlag(pb.PutFlagRequest(flag=flag))


@pytest.fixture
async def mesh(serving: Serving, database: Databases) -> AsyncIterator[Mesh]:
    async with serving("flags", FlagsSettings, start, database_url=database("flags").url) as served:
        mesh = Mesh(served, FlagServiceStub(served.as_role("operator")))
        async with asyncio.timeout(BOUND):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await mesh.put("desk", {"on": True, "off": False}, "off", pb.Rule(tiers=["business"], variant="on"))
                    break
                await asyncio.sleep(0.01)
        await mesh.put("text", {"a": "one", "b": "two"}, "a")
        await mesh.put("number", {"a": 7, "b": 2.5}, "a")
        await mesh.put("object", {"a": {"color": "red", "sizes": [1, 2]}}, "a")
        yield mesh


def refusal(error: grpc.aio.AioRpcError) -> str:
    return error.code().name


async def test_each_type_is_resolved_in_both_versions(mesh: Mesh) -> None:
    channel = mesh.member()
    for stub, messages in ((V1Stub(channel), v1), (V2Stub(channel), v2)):
        raw: Any = stub
        api_: Any = messages
        found = await raw.ResolveBoolean(api_.ResolveBooleanRequest(flag_key="desk"))
        assert (found.value, found.variant, found.reason) == (True, "on", "TARGETING_MATCH")
        assert MessageToDict(found.metadata) == {"revision": 1.0}
        text = await raw.ResolveString(api_.ResolveStringRequest(flag_key="text"))
        assert (text.value, text.variant, text.reason) == ("one", "a", "STATIC")
        assert (await raw.ResolveInt(api_.ResolveIntRequest(flag_key="number"))).value == 7
        assert (await raw.ResolveFloat(api_.ResolveFloatRequest(flag_key="number"))).value == 7.0
        thing = await raw.ResolveObject(api_.ResolveObjectRequest(flag_key="object"))
        assert MessageToDict(thing.value) == {"color": "red", "sizes": [1.0, 2.0]}


async def test_what_cannot_be_resolved_has_flagd_s_status(mesh: Mesh) -> None:
    stub: Any = V2Stub(mesh.member())
    for call, code in (
        (stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="none")), "NOT_FOUND"),
        (stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="")), "NOT_FOUND"),
        (stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="text")), "INVALID_ARGUMENT"),
        (stub.ResolveString(v2.ResolveStringRequest(flag_key="desk")), "INVALID_ARGUMENT"),
        (stub.ResolveInt(v2.ResolveIntRequest(flag_key="desk")), "INVALID_ARGUMENT"),
        (stub.ResolveObject(v2.ResolveObjectRequest(flag_key="number")), "INVALID_ARGUMENT"),
        (
            stub.ResolveBoolean(
                v2.ResolveBooleanRequest(flag_key="desk"), metadata=(("flagd-selector", "flagSetId=staging"),)
            ),
            "INVALID_ARGUMENT",
        ),
        (
            stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="desk"), metadata=(("flagd-selector", "color=red"),)),
            "INVALID_ARGUMENT",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert refusal(caught.value) == code
    for selector in ("flagSetId=production", "source=production", "production"):
        request = v2.ResolveBooleanRequest(flag_key="desk")
        assert (await stub.ResolveBoolean(request, metadata=(("flagd-selector", selector),))).value


FLAGD: dict[str, Any] = {
    "plain": {"state": "ENABLED", "variants": {"a": 1.9}, "defaultVariant": "a"},
    "huge": {"state": "ENABLED", "variants": {"a": 1e300}, "defaultVariant": "a"},
    "disabled": {"state": "DISABLED", "variants": {"a": True}, "defaultVariant": "a"},
    "no default": {"state": "ENABLED", "variants": {"a": True}, "targeting": {"if": [{"var": "x"}, "a"]}},
    "nothing at all": {"state": "ENABLED", "variants": {"a": True}, "defaultVariant": None},
    "unknown variant": {
        "state": "ENABLED",
        "variants": {"a": True},
        "defaultVariant": "a",
        "targeting": {"if": [1, "b"]},
    },
    "broken": {"state": "ENABLED", "variants": {"a": True}, "defaultVariant": "a", "targeting": {"nope": []}},
    "unknown ref": {"state": "ENABLED", "variants": {"a": True}, "defaultVariant": "a", "targeting": {"$ref": "x"}},
    "by boolean": {
        "state": "ENABLED",
        "variants": {"true": "yes", "false": "no"},
        "defaultVariant": "false",
        "targeting": {"==": [{"var": "x"}, 1]},
    },
}


def test_the_table_of_situations_holds_for_flags_of_other_tools() -> None:
    flags = FlagSet.parse(json.dumps({"flags": FLAGD}))
    assert not flags.left_out

    def answer(key: str, kind: Any = None, **context: Any) -> tuple[Any, str | None, str]:
        found = resolution(flags, key, context, kind)
        return found.value, found.variant, found.reason

    assert answer("plain", INT) == (1, "a", "STATIC")
    assert answer("plain", FLOAT) == (1.9, "a", "STATIC")
    assert answer("disabled", BOOLEAN) == (None, None, "DISABLED")
    assert answer("no default", BOOLEAN) == (None, None, "DEFAULT")
    assert answer("no default", BOOLEAN, x=1) == (True, "a", "TARGETING_MATCH")
    assert answer("nothing at all", BOOLEAN) == (None, None, "DEFAULT")
    assert answer("by boolean", STRING, x=1) == ("yes", "true", "TARGETING_MATCH")
    for key, error in (("unknown variant", FlagFailed), ("broken", FlagBroken), ("unknown ref", FlagBroken)):
        with pytest.raises(error):
            answer(key, BOOLEAN)
    for key, kind in (("plain", OBJECT), ("plain", BOOLEAN), ("huge", INT)):
        with pytest.raises(InvalidFields):
            answer(key, kind)


async def test_all_flags_come_at_once_in_version_one(mesh: Mesh) -> None:
    found = await V1Stub(mesh.member()).ResolveAll(v1.ResolveAllRequest())
    kinds = {key: flag.WhichOneof("value") for key, flag in found.flags.items()}
    assert kinds == {"desk": "bool_value", "text": "string_value", "number": "double_value", "object": "object_value"}
    assert found.flags["desk"].bool_value


async def test_a_caller_cannot_claim_what_its_token_says(mesh: Mesh) -> None:
    stub: Any = V2Stub(mesh.member(tier="starter"))
    claimed = to_struct({"tier": "business", "targetingKey": "other"})
    found = await stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="desk", context=claimed))
    assert (found.value, found.reason) == (False, "DEFAULT")
    # The control: an operator asks on behalf of others.
    operator: Any = V2Stub(mesh.served.as_role("operator"))
    assert (await operator.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="desk", context=claimed))).value


async def test_a_killed_flag_gives_its_off_variant_as_a_value(mesh: Mesh) -> None:
    await mesh.operator.KillFlag(pb.KillFlagRequest(name="flags/desk", reason="fire"))
    stub: Any = V2Stub(mesh.member())
    found = await stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="desk"))
    assert (found.HasField("value"), found.value, found.variant, found.reason) == (True, False, "off", "STATIC")
    assert MessageToDict(found.metadata) == {"revision": 2.0, "killed": True}


async def test_a_stream_of_events_begins_ready_and_names_what_changed(mesh: Mesh) -> None:
    stub: Any = V2Stub(mesh.member())
    stream = stub.EventStream(v2.EventStreamRequest())
    async with asyncio.timeout(BOUND):
        assert (await stream.read()).type == "provider_ready"
        await mesh.put("desk", {"on": True, "off": False}, "on")
        changed = await stream.read()
    assert changed.type == "configuration_change"
    assert MessageToDict(changed.data)["flags"] == {"desk": {"type": "update"}}
    stream.cancel()


def test_what_became_of_each_flag_is_told() -> None:
    changed = changed_keys({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    assert changed == {"b": "update", "d": "write"}


async def test_the_first_question_about_all_flags_needs_no_database(serving: Serving, database: Databases) -> None:
    own = database("flags")
    async with serving("flags", FlagsSettings, start, database_url=own.url) as served:
        health: Any = HealthStub(served.channel("envoy"))
        async with asyncio.timeout(BOUND):
            for part in ("flags", "tickets"):
                while not await _serving(health, part):  # noqa: ASYNC110 - what it looks at is in another process
                    await asyncio.sleep(0.01)
        connection = await asyncpg.connect(
            make_url(own.url).set(drivername="postgresql").render_as_string(hide_password=False)
        )
        await connection.execute("DELETE FROM flags.stream_key")
        await connection.close()
        # Who reads the key now finds none: it was read before the first call.
        stub: Any = OfrepServiceStub(served.as_role("member", workspace="acme"))
        answer = await stub.EvaluateOfrepFlags(ofrep_pb.EvaluateOfrepFlagsRequest())
    assert "ticket=" in json.loads(answer.data)["eventStreams"][0]["endpoint"]["requestUri"]


async def _serving(health: Any, part: str) -> bool:
    try:
        answer = await health.Check(HealthCheckRequest(service=part))
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == HealthCheckResponse.SERVING)


async def test_rules_that_leave_the_mesh_name_nobody_else(mesh: Mesh) -> None:
    rules = [
        pb.Rule(customers=["globex-corp"], variant="on"),
        pb.Rule(workspaces=["acme", "initech"], split=[pb.WeightedVariant(variant="on", weight=1)]),
    ]
    await mesh.put("secret-deal", {"on": True, "off": False}, "off", *rules)
    stub: Any = FlagSyncServiceStub(mesh.member())
    text = (await stub.FetchAllFlags(sync_pb2.FetchAllFlagsRequest())).flag_configuration
    assert not {"globex-corp", "initech"} & set(text.replace('"', " ").split())
    flags = FlagSet.parse(text)
    assert flags.evaluate("secret-deal", {}).value is True
    assert flags.evaluate("desk", {}).value is True
    # The control: whoever evaluates for others gets the rules whole.
    whole: Any = FlagSyncServiceStub(mesh.served.as_role("operator"))
    assert "globex-corp" in (await whole.FetchAllFlags(sync_pb2.FetchAllFlagsRequest())).flag_configuration


async def test_a_change_that_makes_no_difference_to_a_workspace_is_not_sent_to_it(mesh: Mesh) -> None:
    stub: Any = FlagSyncServiceStub(mesh.member())
    stream = stub.SyncFlags(sync_pb2.SyncFlagsRequest())
    async with asyncio.timeout(BOUND):
        first = await stream.read()
        assert MessageToDict(first.sync_context)["workspace"] == "acme"
        on, off = pb.Rule(tiers=["business"], variant="on"), pb.Rule(tiers=["business"], variant="off")
        await mesh.put("text", {"a": "one", "b": "two"}, "a")
        await mesh.put("desk", {"on": True, "off": False}, "off", off, on)
        texts = [(await stream.read()).flag_configuration]
        while FlagSet.parse(texts[-1]).evaluate("desk", {}).value is not False:
            texts.append((await stream.read()).flag_configuration)
    stream.cancel()
    assert first.flag_configuration not in texts
