"""A workspace's own switch, through Envoy: felt by calls and lists within moments, whatever operators do meanwhile."""

from __future__ import annotations

import json
from typing import Any, Final

from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError, SwitchedOff
from cordboard.flags.v1 import flag_service_pb2 as flags
from tests.e2e.test_command import as_json, command
from tests.e2e.test_guarded_rollout import Side, connected
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh, until

SLUG: Final = "acme-choice"
FLAG: Final = f"flags/integration.{SLUG}"


class Seen:
    """What a workspace's member sees of the integration."""

    def __init__(self, side: Side) -> None:
        self._side = side

    async def calls(self) -> bool:
        """Tells whether a call goes through; one that is not switched off must."""
        try:
            await self._side.client.execute(self._side.connection, "look")
        except SwitchedOff:
            return False
        return True

    async def listed(self) -> bool:
        """Tells whether it is among what the workspace may use."""
        request = catalog.ListIntegrationsRequest(available_only=True, page_size=1000)
        found = await self._side.client.catalog.ListIntegrations(request)
        return f"integrations/{SLUG}" in [each.name for each in found.integrations]

    async def is_on(self) -> bool:
        """Tells whether both say that it is there."""
        return await self.calls() and await self.listed()

    async def is_off(self) -> bool:
        """Tells whether both say that it is not."""
        return not await self.calls() and not await self.listed()


async def test_a_workspace_switches_an_integration_for_itself(
    desk: Desk, running_mesh: RunningMesh, operator: Client
) -> None:
    async with connected(SLUG, desk, running_mesh, operator) as (own, other):
        mine, theirs = Seen(own), Seen(other)

        async def choose(word: str, *options: str) -> Any:
            return await as_json(desk, "choices", word, SLUG, "-w", own.workspace, *options)

        assert await mine.is_on()
        done = await choose("off", "--reason", "the audit is on")
        assert (done["choice"], done["on"], done["offered"]) == ("CHOICE_OFF", False, True)
        await until(mine.is_off, "the workspace's own off")
        assert await theirs.is_on()
        # What operators do to the flag undoes nothing of it, and says so before.
        shown = await as_json(desk, "flag", "show", f"integration.{SLUG}")
        await operator.flags.PutFlag(flags.PutFlagRequest(flag=named(own.workspace), reason="they want it"))
        await as_json(desk, "flag", "rollback", f"integration.{SLUG}", str(shown["revision"]), "--reason", "as before")
        code, output, _ = await command(
            desk, "flag", "explain", f"integration.{SLUG}", f"workspace={own.workspace}", "environment=production"
        )
        assert (code, "own administrator has switched it off" in " ".join(output.split())) == (0, True)
        assert await mine.is_off()
        every = await as_json(desk, "choices", "list", "--integration", SLUG)
        name = f"workspaces/{own.workspace}/integrations/{SLUG}/choice"
        assert [(each["name"], each["choice"], each["reason"]) for each in every] == [
            (name, "CHOICE_OFF", "the audit is on")
        ]
        code, output, errors = await command(desk, "flag", "export", "--format", "cordboard")
        assert code == 0, errors
        names = [each["name"] for each in json.loads(output)["flags"]]
        assert FLAG in names
        assert not [each for each in names if each.startswith("flags/choice.")]
        # The control: taken back, it is there again.
        await choose("clear")
        await until(mine.is_on, "it to be back")
        listed = await as_json(desk, "choices", "list", "-w", own.workspace)
        assert [(each["on"], each.get("choice", "")) for each in listed if each["name"] == name] == [(True, "")]


async def test_a_rollout_by_choice_reaches_who_chooses_it(
    desk: Desk, running_mesh: RunningMesh, operator: Client
) -> None:
    async with connected(f"{SLUG}-beta", desk, running_mesh, operator) as (own, other):
        slug = f"{SLUG}-beta"

        async def calls(side: Side) -> bool:
            try:
                await side.client.execute(side.connection, "look")
            except CordboardError:
                return False
            return True

        async def refused() -> bool:
            return not await calls(own) and not await calls(other)

        async def chosen() -> bool:
            return await calls(own)

        await as_json(
            desk, "rollout", "put", slug, "--stage", "*=100", "--opt-in", "reached", "--exclude-workspace",
            other.workspace, "--reason", "who wants it has it",
        )  # fmt: skip
        await until(refused, "it to be left to them")
        code, _, errors = await command(desk, "choices", "on", slug, "-w", other.workspace)
        assert (code != 0, "is not offered to this workspace" in " ".join(errors.split())) == (True, True)
        # As JSON, with the administrator's own token.
        token = await running_mesh.token("workspace-admin", workspace=own.workspace)
        path = f"/v1/workspaces/{own.workspace}/integrations/{slug}/choice"
        headers = {"authorization": f"Bearer {token}"}
        answer = await running_mesh.http("PUT", path, headers=headers, json={"choice": "CHOICE_ON", "reason": "we try"})
        assert (answer.status, answer.json()["on"]) == (200, True), answer
        await until(chosen, "what was chosen")
        assert not await calls(other)
        await as_json(desk, "rollout", "kill", slug, "--reason", "the vendor asks us to stop")
        await until(refused, "the kill to go before the choice")


async def test_operators_give_and_take_it_for_one_customer_and_leave_the_plan_as_it_is(
    desk: Desk, running_mesh: RunningMesh, operator: Client
) -> None:
    slug = f"{SLUG}-given"
    async with connected(slug, desk, running_mesh, operator) as (own, other):

        async def put(*words: str) -> Any:
            return (await as_json(desk, "rollout", *words))["audience"]

        async def given() -> list[bool]:
            return [bool(await side.version()) for side in (own, other)]

        async def is_given(*wanted: bool) -> None:
            async def same() -> bool:
                return await given() == [*wanted]

            await until(same, f"it to be given to {wanted}")

        await as_json(
            desk, "rollout", "put", slug, "--minimum-tier", "enterprise", "--region", "eu", "--customer", "c-17",
            "--stage", "production=0/1d", "--stage", "*=100", "--reason", "slowly",
        )  # fmt: skip
        await is_given(False, False)
        named = await put("include", slug, "--workspace", own.workspace, "--reason", "they have waited for it")
        assert named == {
            "minimumTier": "enterprise", "regions": ["eu"], "customers": ["c-17"], "workspaces": [own.workspace],
        }  # fmt: skip
        await is_given(True, False)
        # A workspace is its own customer here; excluded goes before named.
        excluded = await put("exclude", slug, "--customer", own.workspace, "--reason", "not yet")
        assert (excluded["workspaces"], excluded["excludedCustomers"]) == ([own.workspace], [own.workspace])
        await is_given(False, False)
        await put("release", slug, "--customer", own.workspace)
        await is_given(True, False)
        moved = await put("exclude", slug, "--workspace", own.workspace)
        assert (moved.get("workspaces"), moved["excludedWorkspaces"]) == (None, [own.workspace])
        await is_given(False, False)
        code, _, errors = await command(desk, "rollout", "exclude", slug)
        assert (code, "name a --workspace or a --customer" in " ".join(errors.split())) == (2, True)


def named(workspace: str) -> flags.Flag:
    """Returns the flag with a rule that switches it on for one workspace by name."""
    flag = flags.Flag(name=FLAG, default_variant="on", off_variant="off")
    flag.variants["on"].bool_value, flag.variants["off"].bool_value = True, False
    flag.rules.add(workspaces=[workspace], variant="on")
    return flag
