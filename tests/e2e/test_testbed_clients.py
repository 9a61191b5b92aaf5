"""The players of flagd-testbed's scenarios: unmodified providers play well what holds, and see what does not."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.struct_pb2 import Value

from cordboard.client import Client
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.conformance.acts import Act, acts
from tests.conformance.clients import NODE as FOLDER
from tests.conformance.gherkin import scenarios
from tests.conformance.launchpad import Door
from tests.conformance.steps import Failed
from tests.conformance.testbed import CLIENTS, MODES, NODE
from tests.fixtures.mesh import RunningMesh

OPTIONS = {"deadlineMs": 60_000, "retryBackoffMaxMs": 1000}
FEATURE = """
Feature: Flags
  Background:
    Given a stable flagd provider
    And a String-flag with key "KEY" and a default value "zero"

  Scenario: A change
    Given a ready event handler
    And a change event handler
    When a ready event was fired
    And the flag was modified
    And a change event was fired
    Then the flag should be part of the event payload
    When the flag was evaluated with details
    Then the resolved details value should be "two"
    And the variant should be "b"
    And the reason should be "STATIC"
    And the error-code should be ""

  Scenario: A value
    When the flag was evaluated with details
    Then the resolved details value should be "three"

  Scenario: An error
    Given an error event handler
    Then the error event handler should have been executed within 200ms

  Scenario: A state
    Then the client should be in fatal state

  Scenario: Metadata
    When the flag was evaluated with details
    Then the resolved metadata should contain
      | key      | metadata_type | value |
      | revision | Integer       | 77    |
"""
WRONG = ("value of KEY is .two., and not .three.", "no error event within 0.2 s", "and not fatal", "and not .*77")


async def put(operator: Client, key: str, default: str) -> None:
    values = {"a": Value(string_value="one"), "b": Value(string_value="two")}
    flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant=default)
    await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_passes_what_holds_and_fails_what_does_not(
    running_mesh: RunningMesh, operator: Client, client: str, mode: str
) -> None:
    if client == NODE and not (shutil.which("node") and (FOLDER / "node_modules").exists()):
        pytest.skip("Node.js is not installed")
    key = f"testbed-{uuid4().hex[:8]}"
    await put(operator, key, "a")
    port = int(running_mesh.mesh.public_address.rpartition(":")[2])
    door = Door(port, Path(running_mesh.mesh.ca_file), await running_mesh.token("operator"))
    loop = asyncio.get_running_loop()

    def ward(act: Act) -> None:
        assert act == {"do": "change"}
        asyncio.run_coroutine_threadsafe(put(operator, key, "b"), loop).result()

    change, *others = (acts(case) for case in scenarios(FEATURE.replace("KEY", key)))
    async with asyncio.timeout(180), CLIENTS[client](mode) as player:
        await asyncio.to_thread(player.play, change, OPTIONS, door, ward)
        for other, wrong in zip(others, WRONG, strict=True):
            with pytest.raises(Failed, match=wrong.replace("KEY", key)):
                await asyncio.to_thread(player.play, other, OPTIONS, door, ward)
