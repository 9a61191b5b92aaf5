"""What an operator's commands say of the running mesh: rates, health, usage, states, traces."""

from __future__ import annotations

import csv
import io
import json

import pytest

from cordboard.client import CordboardError
from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import SLUG, Desk, Tenant
from tests.fixtures.mesh import new_traceparent, until


async def call(desk: Desk, tenant: Tenant, times: int) -> None:
    for _ in range(times):
        code, _, errors = await command(desk, "call", f"{tenant.workspace}/desk", "list_tickets", "limit:=1")
        assert code == 0, errors


async def used(desk: Desk, tenant: Tenant) -> list[dict[str, str]]:
    """Returns the rows of the workspace's list calls: there are several when an hour or a version ends between them."""
    code, output, errors = await command(desk, "usage", "-w", tenant.workspace, "-o", "csv")
    assert code == 0, errors
    return [row for row in csv.DictReader(io.StringIO(output)) if row["action"] == "list_tickets"]


async def test_calls_show_as_rates_with_a_trace_and_as_usage(desk: Desk, northwind: Tenant) -> None:
    before = sum(int(row["calls"]) for row in await used(desk, northwind))
    await call(desk, northwind, 2)

    async def counted() -> bool:
        return sum(int(row["calls"]) for row in await used(desk, northwind)) >= before + 2

    await until(counted, "the calls to be counted by the hour")
    assert sum(int(row["received_bytes"]) for row in await used(desk, northwind)) > 0

    async def rated() -> bool:
        found = await as_json(desk, "rates", "--by", "integration", "--by", "workspace", "--by", "version")
        mine = [each for each in found if each["subject"].get("workspace") == northwind.workspace]
        return any(int(each["calls"]) >= 2 and each.get("slowExemplars") for each in mine)

    await until(rated, "the calls to be counted with a trace")
    [rate, *_] = await as_json(desk, "rates", "--workspace", northwind.workspace)
    trace = rate["slowExemplars"][0]["trace"].removeprefix("traces/")
    shown = await as_json(desk, "trace", "show", trace)
    waited = [
        float(span["criticalDuration"].removesuffix("s")) for span in shown["spans"] if "criticalDuration" in span
    ]
    assert sum(waited) > 0
    code, output, errors = await command(desk, "trace", "compare", trace, trace, "-o", "json")
    assert code == 0, errors
    assert all(step["spans"][0] == step["spans"][1] for step in json.loads(output))
    code, output, errors = await command(desk, "trace", "export", trace, "--format", "perfetto")
    assert code == 0, errors
    assert json.loads(output)["traceEvents"]


async def test_what_was_logged_while_a_call_ran_stands_beside_its_trace(desk: Desk, northwind: Tenant) -> None:
    trace, header = new_traceparent()
    async with desk.mesh.client(northwind.token, traceparent=lambda: header) as member:
        with pytest.raises(CordboardError):
            await member.execute(northwind.connection, "no_such_action")

    async def logged() -> bool:
        found = await as_json(desk, "logs", "--trace", trace)
        return any(each["event"] == "call ended" and each["service"] == "proxy" for each in found)

    await until(logged, "the lines of the call")
    shown = await as_json(desk, "trace", "show", trace)
    assert [each["trace"] for each in shown["lines"]] == [f"traces/{trace}"] * len(shown["lines"])
    assert "call ended" in [each["event"] for each in shown["lines"]]
    code, output, errors = await command(desk, "logs", "proxy", "--text", "no_such_nothing", "--severity", "error")
    assert (code, errors, output.strip()) == (0, "", "no line fits")
    code, output, errors = await command(desk, "logs", "proxy", "--text", "call ended", "-n", "3")
    assert code == 0, errors
    assert 1 <= output.count("call ended") <= 3
    code, _, errors = await command(desk, "logs", "proxy", "--trace", trace, "--follow")
    assert code == 2, errors
    code, _, errors = await command(desk, "logs", "--trace", "nonsense")
    assert code != 0
    assert "trace" in errors


async def test_envoy_and_every_service_send_figures_and_top_shows_them(desk: Desk) -> None:
    async def sent() -> bool:
        code, output, _ = await command(desk, "doctor", "-o", "json")
        return code in {0, 1} and any(each["subject"] == "figures" and each["well"] for each in json.loads(output))

    await until(sent, "figures of every service")
    code, output, errors = await command(desk, "top", "--once")
    assert code == 0, errors
    assert "auth" in output
    graph = await as_json(desk, "trace", "graph")
    assert {"envoy", "auth"} <= {each["caller"] for each in graph} | {each["callee"] for each in graph}
    code, _, errors = await command(desk, "health")
    assert code in {0, 1}, errors


async def test_a_breaker_is_listed_opened_and_let_judge_again(desk: Desk, northwind: Tenant) -> None:
    await call(desk, northwind, 1)
    listed = await as_json(desk, "breakers", "list", "--integration", SLUG)
    [host] = {one["host"] for one in listed if one["cause"] == "CAUSE_VENDOR"}
    where = (SLUG, host, "--action", "get_me", "--reason", "a test")
    [breaker] = await as_json(desk, "breakers", "open", *where)
    assert (breaker["state"], breaker["override"], breaker["action"]) == ("STATE_OPEN", "OVERRIDE_OPEN", "get_me")
    try:
        code, _, errors = await command(desk, "call", f"{northwind.workspace}/desk", "get_me")
        assert code != 0
        assert "held back" in errors
        await call(desk, northwind, 1)
    finally:
        [breaker] = await as_json(desk, "breakers", "auto", *where)
    assert breaker["state"] == "STATE_CLOSED"
    code, _, errors = await command(desk, "call", f"{northwind.workspace}/desk", "get_me")
    assert code == 0, errors
    code, _, errors = await command(desk, "breakers", "open", SLUG, "https://no.host")
    assert code == 2, errors
    assert "host" in errors


async def test_a_workspaces_limits_are_listed(desk: Desk, northwind: Tenant) -> None:
    assert await as_json(desk, "quotas", "list", northwind.workspace, "--integration", "no-such-one") == []
    code, output, errors = await command(desk, "quotas", "list", northwind.workspace)
    assert code == 0, errors
    assert "by this workspace" in output
    code, _, errors = await command(desk, "quotas", "list", "Not A Workspace")
    assert code == 2, errors


async def test_an_endpoint_that_the_vendor_took_away_is_seen_as_drift(desk: Desk, northwind: Tenant) -> None:
    with desk.broken(status=410):
        code, _, _ = await command(desk, "call", f"{northwind.workspace}/desk", "get_me")
        assert code != 0

    async def told() -> bool:
        found = await as_json(desk, "catalog", "drift", SLUG, "--kind", "endpoint")
        return ("get_me", "status", "410") in [(one["action"], one["place"], one["rule"]) for one in found]

    await until(told, "the drift to be told")
    code, output, errors = await command(desk, "catalog", "drift", SLUG)
    assert code == 0, errors
    assert "get_me" in output
    assert "410" in output
