"""Runs flags.yaml twice: on the evaluator in this process, and on the whole mesh through Envoy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from cordboard.core.flagging import FlagSet
from cordboard.flags.compilation import compiled, configuration
from cordboard.flags.messages import content_of
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.fixtures.mesh import RunningMesh

SCENARIOS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "flags.yaml").read_text())
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])


def flag_of(scenario: dict[str, Any], key: str) -> pb.Flag:
    return json_format.ParseDict(scenario["flag"] | {"name": f"flags/{key}"}, pb.Flag())


def wanted_value(scenario: dict[str, Any], case: dict[str, Any]) -> Any:
    return case.get("value", scenario["flag"]["variants"][case["variant"]])


@every_scenario
def test_the_evaluator_decides(scenario: dict[str, Any]) -> None:
    flag = flag_of(scenario, "scenario")
    definition = compiled(*content_of(flag), killed=scenario.get("killed", False), revision=1)
    flags = FlagSet.parse(configuration([("scenario", json.dumps(definition))]))
    for case in scenario["cases"]:
        context = case["context"]
        decision = flags.evaluate("scenario", context | {"targetingKey": context.get("workspace", "")})
        assert (decision.variant, decision.value, decision.reason) == (
            case["variant"], wanted_value(scenario, case), case["reason"],
        ), case  # fmt: skip


@every_scenario
async def test_the_mesh_decides_alike(scenario: dict[str, Any], running_mesh: RunningMesh) -> None:
    key = f"scenario.{uuid4().hex}"
    async with running_mesh.operator() as operator:
        await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag_of(scenario, key)))
        if scenario.get("killed"):
            await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason="scenario"))
        for case in scenario["cases"]:
            context = Struct()
            context.update(case["context"])
            answer = await operator.flags.EvaluateFlag(pb.EvaluateFlagRequest(name=f"flags/{key}", context=context))
            assert (answer.variant, json_format.MessageToDict(answer.value), answer.reason) == (
                case["variant"], wanted_value(scenario, case), case["reason"],
            ), case  # fmt: skip
