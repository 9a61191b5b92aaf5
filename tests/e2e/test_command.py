"""The `cordboard` command against the running mesh: what it prints for programs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import PROCESSES, until

COMMAND = str(Path(sys.executable).parent / "cordboard")


async def command(
    desk: Desk, *arguments: str, answers: str = "", environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Runs the command against the mesh; returns its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "--state-dir", str(desk.mesh.state_dir), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    output, errors = await process.communicate(answers.encode())
    return process.returncode or 0, output.decode(), errors.decode()


async def as_json(desk: Desk, *arguments: str) -> Any:
    """Runs a command that must go well with `-o json`; returns what it printed."""
    code, output, errors = await command(desk, *arguments, "-o", "json")
    assert code == 0, errors
    return json.loads(output)


def a_small(slug: str, *, extends: str = "", **fields: str) -> str:
    """Returns a definition document with little in it, or one that has everything from a base."""
    own = f"slug: {slug}\ntitle: Desk\nowner: team@example.com\n" + "".join(f"{k}: {v}\n" for k, v in fields.items())
    if extends:
        return f"{own}extends: {{integration: {extends}, version: 1.0.0}}\n"
    return (
        own + "servers: [{url: 'https://desk.example'}]\nauth_schemes: [{id: open, none: {}}]\n"
        "actions: [{id: look, title: Look, request: {method: GET, path: /x}}]\n"
    )


async def test_a_folder_is_published_as_a_whole_and_what_is_refused_costs_itself_alone(
    desk: Desk, tmp_path: Path
) -> None:
    name = f"f{uuid4().hex[:8]}"
    (tmp_path / "a.yaml").write_text(a_small(f"{name}-a", extends=f"{name}-z"))
    (tmp_path / "z.yaml").write_text(a_small(f"{name}-z"))
    published = await as_json(desk, "publish", str(tmp_path))
    assert [each["name"].split("/")[1] for each in published] == [f"{name}-z", f"{name}-a"]
    (tmp_path / "m.yaml").write_text(a_small(f"{name}-m", criticality="nonsense"))
    code, output, errors = await command(desk, "publish", str(tmp_path))
    assert code == 2, errors
    assert output.count("published") == 2
    assert "m.yaml" in errors
    assert "1 of 3 definitions were refused" in errors
    code, _, errors = await command(desk, "publish", str(tmp_path), "--dry-run")
    assert (code, "cordboard check" in errors) == (2, True)
    # What comes with the release is there wherever it is installed.
    code, output, errors = await command(desk, "publish", "open-meteo", "--shipped", "--dry-run")
    assert code == 0, errors
    code, _, errors = await command(desk, "publish")
    assert (code, "--shipped" in errors) == (2, True)


async def test_status_lists_every_process(desk: Desk) -> None:
    status = await as_json(desk, "status")
    assert set(status["processes"]) == set(PROCESSES)
    assert all(process["ready"] for process in status["processes"].values())


async def test_integrations_can_be_listed_shown_and_searched(desk: Desk) -> None:
    listed = await as_json(desk, "integrations", "list")
    assert "integrations/acme-desk" in [each["name"] for each in listed]
    shown = await as_json(desk, "integrations", "show", "acme-desk")
    assert shown["activeVersion"]
    actions = await as_json(desk, "integrations", "actions", "acme-desk", "ticket")
    assert "create_ticket" in [each["id"] for each in actions]
    versions = await as_json(desk, "integrations", "versions", "acme-desk")
    assert versions[0]["active"] is True


async def test_a_call_prints_the_output_and_leaves_a_record_and_a_trace(desk: Desk, northwind: Tenant) -> None:
    code, output, errors = await command(desk, "call", f"{northwind.workspace}/desk", "list_tickets", "limit:=2")
    assert code == 0, errors
    assert len(json.loads(output)["data"]) == 2
    trace = errors.rpartition("trace ")[2].strip()
    calls = await as_json(desk, "calls", "list", northwind.workspace)
    assert trace in [each["traceId"] for each in calls]

    async def stored() -> bool:
        code, output, _ = await command(desk, "trace", "show", trace, "-o", "json")
        return code == 0 and {"envoy", "proxy"} <= set(json.loads(output)["services"])

    await until(stored, "the trace")
    assert await as_json(desk, "trace", "list", "--attribute", "cordboard.action=list_tickets")


async def test_the_editor_over_all_actions_is_listed_and_printed_for_appsmith(desk: Desk) -> None:
    commands = await as_json(desk, "form", "acme-desk")
    assert {each["action"]: each["command"] for each in commands}["create_ticket"] == "ACME_DESK_CREATE_TICKET"
    editor = await as_json(desk, "form", "acme-desk", "--format", "appsmith")
    assert {section["identifier"] for section in editor["editor"]} == {
        "SELECTOR",
        "CUSTOM_ACTION",
        *(each["command"] for each in commands),
    }
    code, _, errors = await command(desk, "form", "acme-desk", "--format", "react")
    assert (code, "--format appsmith" in errors) == (2, True)


async def test_connect_by_page_prints_a_link_and_waits_for_whoever_opens_it(desk: Desk, northwind: Tenant) -> None:
    process = await asyncio.create_subprocess_exec(
        COMMAND, "--state-dir", str(desk.mesh.state_dir), "connect", "acme-desk", "-w", northwind.workspace, "--page",
        "--no-browser", "--id", "by-link", "--scheme", desk.schemes["api_key"], "-o", "json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    url = ""
    while "/connect/" not in url:
        line = await process.stderr.readline()
        assert line, "it ended without a link"
        url = line.decode().strip()
    place, _, key = url.partition("#")
    told = {"link": place.rpartition("/")[2], "key": key, "authScheme": desk.schemes["api_key"]}
    values = {"api_key": desk.vendor.settings.api_key}
    answer = await desk.mesh.http("POST", "/v1/connectPages:submit", json={**told, "values": values})
    assert answer.json()["state"] == "STATE_CONNECTED"
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    made = json.loads(output)
    assert made["name"] == f"workspaces/{northwind.workspace}/connections/by-link"
    assert made["state"] == "STATE_READY", "the check call was made"


async def test_connect_by_page_takes_no_values(desk: Desk, northwind: Tenant) -> None:
    given = "connect", "acme-desk", "-w", northwind.workspace
    code, _, errors = await command(desk, *given, "--page", "--value", "api_key=x")
    assert (code, "leave out --value" in errors) == (2, True)
    code, _, errors = await command(desk, *given, "--origin", "https://app.test")
    assert (code, "need --page" in errors) == (2, True)


async def test_a_workspace_is_made_connected_and_gets_a_token(desk: Desk) -> None:
    workspace = f"cli-{uuid4().hex[:8]}"
    await as_json(desk, "workspaces", "create", workspace, "--tier", "business")
    scheme = desk.schemes["basic"]
    settings = desk.vendor.settings
    made = await as_json(
        desk, "connect", "acme-desk", "-w", workspace, "--scheme", scheme, "--id", "desk",
        "--value", f"username={settings.basic_user}", "--value", f"password={settings.basic_password}",
    )  # fmt: skip
    assert made["name"] == f"workspaces/{workspace}/connections/desk"
    listed = await as_json(desk, "connections", "list", workspace)
    assert [each["state"] for each in listed] == ["STATE_READY"]
    issued = await as_json(desk, "token", "-w", workspace, "--role", "reader")
    assert issued["accessToken"].count(".") == 2
    code, _, _ = await command(desk, "connections", "delete", f"{workspace}/desk")
    assert code == 0
    assert await as_json(desk, "connections", "list", workspace) == []


async def test_a_rollout_goes_through_its_stages_and_the_past_can_be_asked(desk: Desk) -> None:
    key = slug = f"action.acme-desk.staged_{uuid4().hex[:6]}"
    made = await as_json(
        desk, "rollout", "put", slug, "--minimum-tier", "business",
        "--stage", "staging=100,production=0/1d", "--stage", "*=100",
    )  # fmt: skip
    assert (made["stage"], "nextStageTime" in made) == (1, True)
    known = ("workspace=a1", "tier=enterprise", "environment=production")
    assert (await as_json(desk, "flag", "evaluate", key, *known))["variant"] == "off"
    assert (await as_json(desk, "rollout", "move", slug, "2"))["stage"] == 2
    assert (await as_json(desk, "flag", "evaluate", key, *known))["variant"] == "on"
    assert (await as_json(desk, "flag", "evaluate", key, *known, "--revision", "1"))["variant"] == "off"
    assert (await as_json(desk, "flag", "evaluate", key, *known, "--time", "2999-01-01T00:00:00Z"))["variant"] == "on"
    assert (await as_json(desk, "rollout", "freeze", slug, "--reason", "a test"))["freezeReason"] == "a test"
    code, _, errors = await command(desk, "rollout", "move", slug, "1")
    assert code != 0
    assert "frozen" in errors
    assert "freezeReason" not in await as_json(desk, "rollout", "thaw", slug)
    assert (await as_json(desk, "rollout", "kill", slug, "--reason", "a test"))["killed"] is True
    assert (await as_json(desk, "flag", "evaluate", key, *known))["reason"] == "DISABLED"
    assert key in [each["name"].partition("/")[2] for each in await as_json(desk, "rollout", "list")]
    code, output, _ = await command(desk, "rollout", "show", slug)
    assert code == 0
    assert "business and above" in output


async def test_a_flag_is_rolled_out_killed_restored_and_rolled_back(desk: Desk) -> None:
    slug = f"cli-{uuid4().hex[:8]}"
    await as_json(desk, "flag", "rollout", slug, "--tier", "business")
    key = f"integration.{slug}"
    evaluated = await as_json(desk, "flag", "evaluate", key, "workspace=a1", "tier=business")
    assert (evaluated["variant"], evaluated["value"]) == ("on", True)
    assert (await as_json(desk, "flag", "kill", key, "--reason", "a test"))["killed"] is True
    assert (await as_json(desk, "flag", "evaluate", key, "tier=business"))["reason"] == "DISABLED"
    await as_json(desk, "flag", "restore", key)
    await as_json(desk, "flag", "rollout", slug, "--tier", "enterprise")
    rolled = await as_json(desk, "flag", "rollback", key, "1")
    assert rolled["rules"][0]["tiers"] == ["business"]
    assert len(await as_json(desk, "flag", "history", key)) == 5


async def test_a_form_is_shown_in_every_way(desk: Desk) -> None:
    code, output, errors = await command(desk, "form", "acme-desk", "create_ticket")
    assert code == 0, errors
    assert "subject" in output
    code, output, _ = await command(desk, "form", "acme-desk", "create_ticket", "--json-schema")
    assert "subject" in json.loads(output)["required"]
    code, output, _ = await command(desk, "form", "acme-desk", "create_ticket", "--appsmith")
    assert "editor" in json.loads(output)


GERMAN = """
slug: acme-translated
title: Acme in two languages
servers: [{url: 'https://acme.example'}]
auth_schemes: [{id: key, api_key: {placement: header, name: X-Api-Key}}]
actions:
- id: create
  title: Create a ticket
  input_schema: {type: object, properties: {subject: {type: string}}}
  request: {method: POST, path: /, body: {encoding: json, fields: [{property: subject, name: subject}]}}
  translations: [{language: de, title: Ticket anlegen}]
  form_hints: [{property: subject, translations: [{language: de, label: Betreff}]}]
"""


async def test_a_form_is_shown_in_the_language_that_is_asked_for(desk: Desk, northwind: Tenant, tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(GERMAN)
    code, _, errors = await command(desk, "publish", str(tmp_path / "acme.yaml"))
    assert code == 0, errors
    code, output, errors = await command(desk, "form", "acme-translated", "create", "--language", "de-CH")
    assert code == 0, errors
    assert "Ticket anlegen" in output
    assert "Betreff" in output
    (made,) = await as_json(desk, "forms", "acme-translated")
    assert (made["state"], made["madeCount"], made["totalCount"]) == ("STATE_READY", 2, 2)
    code, output, _ = await command(desk, "form", "acme-translated", "create")
    assert "Create a ticket" in output
    assert "Betreff" not in output
    # What a browser does by itself.
    headers = {"authorization": f"Bearer {northwind.token}", "accept-language": "fr, de;q=0.7"}
    path = "/v1/integrations/acme-translated/forms/action.create:document"
    answer = await desk.mesh.http("GET", path, headers=headers)
    found = answer.json()
    assert (found["language"], found["title"], found["fields"][0]["label"]) == ("de", "Ticket anlegen", "Betreff")
    again = await desk.mesh.http("GET", path, headers={**headers, "if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    other = await desk.mesh.http("GET", path, headers={**headers, "accept-language": "en"})
    assert (other.status, other.json()["title"]) == (200, "Create a ticket")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("integrations", "show", "nothing"), 3, "does not exist"),
        (("call", "acme", "x"), 2, "WORKSPACE/CONNECTION"),
        (("call", "a/b", "x", "--input", "{"), 2, "not JSON"),
        (("publish", "/nowhere.yaml"), 2, "no such file"),
        (("flag", "rollback", "integration.acme-desk", "4711"), 3, "does not exist"),
        (("logs", "nothing"), 3, "there are:"),
        (("trace", "show", "xyz"), 2, "name"),
    ],
)
async def test_a_command_that_fails_says_why_and_how(
    desk: Desk, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ended, _, errors = await command(desk, *arguments)
    assert (ended, told in errors) == (code, True), errors
    assert "Traceback" not in errors


async def test_a_broken_definition_is_refused_with_its_place(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("slug: x\nslug: y\n")
    code, _, errors = await command(desk, "publish", str(file))
    assert code == 2
    assert "line 2" in errors
