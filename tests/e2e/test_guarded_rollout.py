"""A bad version under traffic, through the composed system: its guard takes it back, and an outage nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import pytest
from google.protobuf.struct_pb2 import Struct, Value

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_STAGED
from cordboard.client import Client, CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh, until

SLUG: Final = "acme-canary"
KEY: Final = f"version.{SLUG}"
# Both versions answer alike, from different paths of the vendor.
DOCUMENT: Final = """
slug: {slug}
version: {version}
title: Acme Canary
servers: [{{url: '{url}/v1'}}]
auth_schemes: [{{id: key, api_key: {{placement: header, name: X-Api-Key}}}}]
actions: [{{id: look, request: {{method: GET, path: {path}}}}}]
"""


@dataclass(frozen=True)
class Side:
    """A workspace and its connection."""

    client: Client
    workspace: str

    @property
    def connection(self) -> str:
        """The name of the connection."""
        return f"workspaces/{self.workspace}/connections/canary"

    async def version(self) -> str:
        """Calls, and returns which version led the call; empty where it failed."""
        try:
            return (await self.client.execute(self.connection, "look")).call.definition_version
        except CordboardError:
            return ""


@contextlib.asynccontextmanager
async def connected(
    slug: str, desk: Desk, running_mesh: RunningMesh, operator: Client
) -> AsyncIterator[tuple[Side, Side]]:
    """Connects two workspaces by the old version of an integration; a new one is staged."""
    url = desk.vendor.url
    old = DOCUMENT.format(slug=slug, version="1.0.0", url=url, path="/me")
    new = DOCUMENT.format(slug=slug, version="2.0.0", url=url, path="/tickets")
    await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=old))
    await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=new, stage=VERSION_STATE_STAGED))
    on = flags.Flag(
        name=f"flags/integration.{slug}",
        variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
        default_variant="on",
        off_variant="off",
    )
    await operator.flags.PutFlag(flags.PutFlagRequest(flag=on, reason="for everybody"))
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            tenant = await desk.tenant()
            client = await stack.enter_async_context(running_mesh.client(tenant.token))
            session = await client.connect.CreateConnectSession(
                connecting.CreateConnectSessionRequest(
                    parent=f"workspaces/{tenant.workspace}",
                    integration=f"integrations/{slug}",
                    auth_scheme="key",
                    connection_id="canary",
                )
            )
            values = Struct()
            values.update({"api_key": desk.vendor.settings.api_key})
            await client.connect.SubmitConnectSession(
                connecting.SubmitConnectSessionRequest(name=session.name, values=values)
            )
            side = Side(client, tenant.workspace)
            await until(side.version, "the connection to be reached")
            made.append(side)
        yield made[0], made[1]


@pytest.fixture
async def sides(desk: Desk, running_mesh: RunningMesh, operator: Client) -> AsyncIterator[tuple[Side, Side]]:
    """Two workspaces of the canary."""
    async with connected(SLUG, desk, running_mesh, operator) as both:
        yield both


async def test_a_bad_version_is_taken_back_by_itself_and_an_outage_takes_back_nothing(
    desk: Desk, operator: Client, sides: tuple[Side, Side]
) -> None:
    reached = sides[0]
    await as_json(
        desk, "rollout", "put", KEY, "--version", "2.0.0", "--workspace", reached.workspace, "--guard",
        "--stage", "production=0/1d", "--stage", "*=100", "--reason", "try it with one",
    )  # fmt: skip

    async def arrived() -> bool:
        return await reached.version() == "2.0.0"

    await until(arrived, "the new version to reach its workspace")
    going = True

    async def traffic(side: Side) -> None:
        while going:
            await side.version()
            await asyncio.sleep(0.02)

    async def rollout() -> rollouts.Rollout:
        return await operator.rollouts.GetRollout(rollouts.GetRolloutRequest(name=f"rollouts/{KEY}"))

    async def compared(calls: int, failures: int) -> bool:
        found = (await rollout()).comparison
        enough = min(found.reached.calls, found.others.calls) >= calls
        return enough and min(found.reached.failures, found.others.failures) >= failures

    async def locked() -> bool:
        return (await rollout()).HasField("lock")

    lanes = [asyncio.create_task(traffic(side)) for side in sides for _ in range(2)]
    try:
        # As it should be, and then down for everybody: no reason to take anything back.
        await until(lambda: compared(20, 0), "calls in both versions to be compared")
        with desk.broken(path="/v1", status=400):
            await until(lambda: compared(40, 15), "failures of both versions to be compared")
        kept = await rollout()
        assert (kept.stage, kept.HasField("lock")) == (1, False)
        # Down where the new version calls alone.
        with desk.broken(path="/v1/tickets", status=400):
            await until(locked, "the guard")
            found = await rollout()
            assert (found.stage, found.lock.reason) == (0, "failures")
            assert found.lock.comparison.reached.causes["VENDOR_ERROR"] > found.lock.comparison.reached.failures / 2

            async def back() -> bool:
                return await reached.version() == "1.0.0"

            # Its workspace works again, though the vendor does not.
            await until(back, "the old version to be back")
    finally:
        going = False
        await asyncio.gather(*lanes)
    with pytest.raises(CordboardError) as refused:
        await operator.rollouts.MoveRollout(rollouts.MoveRolloutRequest(name=f"rollouts/{KEY}", stage=1))
    assert refused.value.reason == "STATE_CONFLICT"
    opened = await as_json(desk, "rollout", "unlock", KEY, "--reason", "the vendor says it is mended")
    assert "lock" not in opened
    moved = await operator.rollouts.MoveRollout(rollouts.MoveRolloutRequest(name=f"rollouts/{KEY}", stage=1))
    assert moved.stage == 1
    await until(arrived, "the new version to come back")


async def test_a_canary_is_a_guarded_plan_that_goes_on_by_itself(
    desk: Desk, running_mesh: RunningMesh, operator: Client
) -> None:
    slug = f"{SLUG}-plan"
    async with connected(slug, desk, running_mesh, operator):
        made = await as_json(desk, "rollout", "canary", slug, "2.0.0", "--soak", "6h")
        assert made["name"] == f"rollouts/version.{slug}"
        assert [
            {each["environment"]: each["percent"] for each in stage["reaches"]} for stage in made["stages"][:3]
        ] == [{"staging": 100.0, "production": share} for share in (1.0, 10.0, 50.0)]
        assert [stage.get("soakDuration") for stage in made["stages"]] == ["21600s", "21600s", "21600s", None]
        assert (made["stage"], "nextStageTime" in made, made["version"], "guard" in made) == (1, True, "2.0.0", True)
        code, _, errors = await command(desk, "rollout", "canary", slug, "2.0.0", "--soak", "long")
        assert code == 2, errors
        code, _, errors = await command(desk, "rollout", "canary", slug, "9.0.0")
        assert (code != 0, "does not exist" in " ".join(errors.split())) == (True, True)
