"""The try page, clicked through in Chromium: Envoy, the services and the sandbox vendor as they are."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import SwitchedOff
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from tests.e2e.test_command import a_small
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, Tenant, rollout
from tests.fixtures.mesh import RunningMesh, until

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

COMMAND = str(Path(sys.executable).parent / "cordboard")
LIGHT = 64_000


async def command(desk: Desk, *arguments: str) -> tuple[int, str, str]:
    """Runs `cordboard try`; returns its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "--state-dir", str(desk.mesh.state_dir), "try", "--no-browser", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def a_link(desk: Desk, tenant: Tenant, *arguments: str) -> str:
    """The link that `cordboard try` makes for a workspace."""
    code, output, errors = await command(desk, "-w", tenant.workspace, *arguments, "-o", "json")
    assert code == 0, errors
    return str(json.loads(output)["url"])


async def play(browser: Browser, url: str, **given: Any) -> dict[str, Any]:
    """Returns what a person saw who did this on the page."""
    (found,) = await asyncio.to_thread(browser, {"url": url, "mode": "window", "origin": "https://app.test", **given})
    return found


async def test_a_person_finds_an_action_fills_it_in_and_the_vendor_does_it(
    person: Browser, desk: Desk, northwind: Tenant
) -> None:
    subject = f"Tried by hand {os.urandom(4).hex()}"
    acts = [
        ["fill", "Find an integration", "acme desk"],
        ["click", "acme-desk"],
        ["fill", "Find an action", "create ticket"],
        ["click", "create_ticket"],
        ["wait", "Raises a ticket"],
        ["click", "Call"],
        ["wait", "There are 2 problems"],
        ["fill", "Subject", subject],
        ["fill", "Requester id", "nobody"],
        ["click", "Call"],
        # What only the server checks stands at the field.
        ["wait", "There is a problem"],
        ["fill", "Requester id", "con_00000001"],
        ["click", "Call"],
    ]
    url = await a_link(desk, northwind)
    seen = await play(person, url, acts=acts, ends="Create a ticket", after="The vendor answered 201", dark=True)
    assert seen["wrong"] == [], seen
    assert desk.tickets()[subject] == 1
    assert subject in seen["said"]
    assert re.search(r"1 attempt, trace [0-9a-f]{32}", seen["said"])
    assert seen["focused"] == "H2"
    # The token is not where others could read it.
    assert seen["address"].endswith("/try")
    assert sum(seen["sizes"].values()) < LIGHT, seen["sizes"]


async def test_the_page_speaks_the_language_of_the_browser(person: Browser, desk: Desk, northwind: Tenant) -> None:
    url = await a_link(desk, northwind)
    acts = [["fill", "Integration suchen", "acme desk"], ["click", "acme-desk"], ["wait", "Aktion suchen"]]
    seen = await play(person, url, acts=acts, ends="Aktionen von", locale="de-CH")
    assert seen["wrong"] == [], seen
    assert "Ein Konto verbinden" in seen["said"]


async def test_what_the_vendor_refuses_is_said_with_its_trace(person: Browser, desk: Desk, northwind: Tenant) -> None:
    url = await a_link(desk, northwind, "acme-desk", "--action", "create_ticket", "--connection", "desk")
    acts = [["fill", "Subject", "x"], ["fill", "Requester id", "con_99999999"], ["click", "Call"]]
    seen = await play(person, url, acts=acts, ends="Create a ticket", after="The call was refused")
    assert [each for each in seen["wrong"] if not re.search(r"status of 4\d\d", each)] == [], seen
    assert "VENDOR_ERROR" in seen["said"]
    assert re.search(r"Trace [0-9a-f]{32}", seen["said"])
    assert "x" not in desk.tickets()


async def test_whoever_leaves_ends_the_token_and_the_link(person: Browser, desk: Desk, northwind: Tenant) -> None:
    url = await a_link(desk, northwind, "acme-desk")
    token = parse_qs(url.partition("#")[2])["token"][0]
    headers = {"authorization": f"Bearer {token}"}
    assert (await desk.mesh.http("POST", "/v1/tokens:refresh", json={}, headers=headers)).status == 200
    seen = await play(person, url, acts=[["click", "Leave this page"]], ends="You have left")
    assert seen["wrong"] == [], seen

    async def refused() -> bool:
        return (await desk.mesh.http("POST", "/v1/tokens:refresh", json={}, headers=headers)).status == 401

    await until(refused, "the token to be refused")
    again = await play(person, url, ends="This link does not work")
    assert [each for each in again["wrong"] if "401" not in each] == [], again
    assert "Acme" not in again["said"]


SET: Final = """
slug: acme-set
title: Acme Desk, set by its customer
servers:
- {id: own, url: 'http://127.0.0.1:{port}/v1'}
config_variables:
- {name: port, required: true, schema: {type: string, pattern: '^[0-9]{2,5}$'}}
- {name: app_key, required: true, secret: true}
- {name: page_size, schema: {type: integer, maximum: 5}, default_value: 2}
auth_schemes:
- {id: key, api_key: {placement: header, name: X-Api-Key}}
actions:
- id: list_tickets
  request:
    method: GET
    path: /tickets
    constants:
    - {placement: query, name: limit, config_variable: page_size}
    - {placement: header, name: X-App-Key, config_variable: app_key}
"""


async def test_a_customer_sets_an_integration_up_alone_and_connects_an_account(
    person: Browser, desk: Desk, running_mesh: RunningMesh
) -> None:
    tenant, settings = await desk.tenant(), desk.vendor.settings
    port = str(urlsplit(desk.vendor.url).port)
    async with running_mesh.operator() as operator:
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=SET))
        flag = rollout("business")
        flag.flag.name = "flags/integration.acme-set"
        await operator.flags.PutFlag(flag)
    desk.vendor.change({"app_key_required": True})
    try:
        acts = [
            ["fill", "Port", "80/80"],
            ["fill", "App key", settings.app_key],
            ["click", "Save"],
            # What only the server checks stands at the field.
            ["wait", "There is a problem"],
            ["fill", "Port", port],
            ["click", "Save"],
            ["wait", "There is no connection"],
            ["click", "Connect an account"],
        ]
        key = [["fill", "API key", settings.api_key], ["click", "Connect"]]
        tab = {"link": "Open the connect page", "acts": key, "ends": "is connected"}
        url = await a_link(desk, tenant, "acme-set", "--settings")
        seen = await play(person, url, acts=acts, tab=tab, ends="acme-set is connected")
        # Nothing was set yet, which is no fault.
        assert [each for each in seen["wrong"] if "404" not in each] == [], seen
        async with running_mesh.client(await running_mesh.token("member", workspace=tenant.workspace)) as member:
            asked = connections.GetWorkspaceConfigurationRequest(
                name=f"workspaces/{tenant.workspace}/integrations/acme-set/configuration"
            )
            kept = await member.connections.GetWorkspaceConfiguration(asked)
            assert (dict(kept.values), list(kept.secret_names)) == ({"port": port}, ["app_key"])
            listed = await member.connections.ListConnections(
                connections.ListConnectionsRequest(parent=f"workspaces/{tenant.workspace}")
            )
            (connection,) = [each.name for each in listed.connections if each.integration.endswith("/acme-set")]
            assert connection in seen["said"]

            # The secret stays as it is while something else is set, and is shown to nobody.
            acts = [["wait", "A value is stored"], ["fill", "Page size", "1"], ["click", "Save"]]
            again = await play(
                person, await a_link(desk, tenant, "acme-set", "--settings"), acts=acts, ends="The settings are saved"
            )
            assert again["wrong"] == [], again
            assert settings.app_key not in again["said"]
            kept = await member.connections.GetWorkspaceConfiguration(asked)
            assert (dict(kept.values), list(kept.secret_names)) == ({"port": port, "page_size": "1"}, ["app_key"])

            async def one() -> bool:
                answer = await member.execute(connection, "list_tickets")
                return len(answer.output["data"]) == 1

            await until(one, "a call with what was set")
    finally:
        desk.vendor.change({"app_key_required": False})
    # Who is no administrator is offered no settings.
    seen = await play(person, await a_link(desk, tenant, "acme-set"), ends="Actions of acme-set")
    assert "Connect an account" in seen["said"]
    assert "Settings" not in seen["said"]


async def test_an_administrator_switches_integrations_for_the_workspace(
    person: Browser, desk: Desk, running_mesh: RunningMesh
) -> None:
    tenant = await desk.tenant()
    why = f"the audit {os.urandom(4).hex()}"
    acts = [
        ["fill", "Why, for those who ask later", why],
        ["click", "Switch off acme-desk"],
        ["wait", "acme-desk is off."],
        ["wait", why],
    ]
    seen = await play(person, await a_link(desk, tenant, "--settings"), acts=acts, ends="What the workspace uses")
    assert seen["wrong"] == [], seen
    async with (
        running_mesh.client(await running_mesh.token("member", workspace=tenant.workspace)) as member,
        running_mesh.operator() as operator,
    ):

        async def off() -> bool:
            try:
                await member.execute(tenant.connection, "get_me")
            except SwitchedOff:
                return True
            return False

        async def on() -> bool:
            return not await off()

        await until(off, "what was chosen on the page")
        # What the mesh refuses is said, and the switch stays as it was.
        freeze = rollouts.FreezeRolloutRequest(name="rollouts/integration.acme-frozen", reason="the quarter ends")
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=a_small("acme-frozen")))
        stage = rollouts.Stage(reaches=[rollouts.Reach(percent=100)])
        plan = rollouts.Rollout(name=freeze.name, stages=[stage], opt_in=rollouts.OPT_IN_REACHED)
        await operator.rollouts.PutRollout(rollouts.PutRolloutRequest(rollout=plan))
        await operator.rollouts.FreezeRollout(freeze)
        acts = [
            ["click", "Switch on acme-frozen"],
            ["wait", "The choice was refused"],
            ["wait", "it can only be switched off"],
            ["click", "Switch on acme-desk"],
            ["wait", "acme-desk is on."],
        ]
        seen = await play(person, await a_link(desk, tenant, "--settings"), acts=acts, ends="What the workspace uses")
        assert [each for each in seen["wrong"] if "400" not in each] == [], seen
        await until(on, "what was chosen on the page again")
    # The control: who is no administrator is offered no switch.
    seen = await play(person, await a_link(desk, tenant), ends="Try an action")
    assert "Switch integrations" not in seen["said"]


async def test_the_command_says_what_is_not_there(desk: Desk, northwind: Tenant) -> None:
    workspace = ("-w", northwind.workspace)
    for wrong, code, text in (
        (("acme-desk", "--action", "nothing"), 3, "forms/action.nothing"),
        (("nowhere",), 3, "integrations/nowhere"),
        (("acme-desk", "--connection", "nothing"), 3, "connections/nothing"),
        (("--action", "create_ticket"), 2, "need an INTEGRATION"),
        (("acme-desk", "--settings"), 3, "forms/settings"),
        (("acme-desk", "--settings", "--action", "create_ticket"), 2, "--settings or"),
    ):
        found, output, errors = await command(desk, *workspace, *wrong)
        assert (found, output) == (code, ""), errors
        assert text in errors


async def test_the_page_lets_nothing_in_but_its_own_and_stands_in_no_frame(desk: Desk) -> None:
    page = await desk.mesh.http("GET", "/try")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"):
        assert rule in policy
    assert page.headers["cache-control"] == "no-store"
    [script] = re.findall(r"/try/assets/[^\"]+js", page.text)
    assert (await desk.mesh.http("GET", script)).headers["content-type"] == "text/javascript; charset=utf-8"
    assert (await desk.mesh.http("GET", "/try/assets/try.0.js")).status == 404
