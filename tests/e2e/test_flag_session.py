"""One session with flags, led from the command line, and what other people's providers see of each step.

A rollout, a kill, a guarded rollback, an evaluation as of before, and an experiment: flagd's providers for Python and
Node.js, and OFREP's for browsers, in Chromium too, against one mesh, with the token of one workspace.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from openfeature import api
from openfeature.contrib.provider.flagd.config import ResolverType

from cordboard.client import Client
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from cordboard.flags.v1 import tracking_service_pb2 as tracking
from tests.e2e.test_command import as_json, command
from tests.e2e.test_guarded_rollout import Side, connected
from tests.e2e.test_openfeature import provider
from tests.e2e.test_openfeature_node import NODE, pytestmark  # noqa: F401 - Node.js and its packages
from tests.e2e.test_web_providers import page
from tests.fixtures.chromium import INSTALLED, Browser
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh, until

SLUG: Final = "acme-session"
KEY: Final = f"version.{SLUG}"
NEW: Final = "2.0.0"
Ask = Callable[[str], Awaitable[tuple[str, str]]]


@contextlib.asynccontextmanager
async def of_python(mesh: RunningMesh, token: str) -> AsyncIterator[Ask]:
    """Asks with flagd's provider for Python."""
    domain = uuid4().hex
    await asyncio.to_thread(api.set_provider_and_wait, provider(mesh, token, ResolverType.RPC), domain)
    client = api.get_client(domain)

    async def ask(key: str) -> tuple[str, str]:
        found = await asyncio.to_thread(client.get_string_details, key, "of the code")
        return found.value, found.variant or ""

    try:
        yield ask
    finally:
        await asyncio.to_thread(api.shutdown)


@contextlib.asynccontextmanager
async def of_node(mesh: RunningMesh, token: str, name: str) -> AsyncIterator[Ask]:
    """Asks with a provider of npm, `flagd` or `web`."""
    host, _, port = mesh.mesh.public_address.partition(":")
    ca_file = str(mesh.mesh.ca_file)
    told = {"provider": name, "host": "localhost" if host == "127.0.0.1" else host, "port": int(port), "ca": ca_file}
    node = await asyncio.create_subprocess_exec(
        "node", "session.mjs", cwd=NODE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": ca_file},
    )  # fmt: skip
    assert node.stdin is not None
    assert node.stdout is not None
    given, answers = node.stdin, node.stdout

    async def said(line: str) -> Any:
        given.write(line.encode() + b"\n")
        async with asyncio.timeout(60):
            answer = await answers.readline()
        assert answer, "the provider has gone: see standard error"
        return json.loads(answer)

    async def ask(key: str) -> tuple[str, str]:
        found = await said(key)
        return found["value"], found["variant"]

    try:
        assert await said(json.dumps({**told, "token": token})) == "ready"
        yield ask
        given.close()
        async with asyncio.timeout(50):
            assert await node.wait() == 0
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


@contextlib.asynccontextmanager
async def of_browser(mesh: RunningMesh, token: str) -> AsyncIterator[Ask]:
    """Asks with OFREP's provider for the web in Chromium, which hears of changes and does not poll."""
    browser = await asyncio.to_thread(Browser, "openfeature.mjs")
    try:
        async with page(browser, mesh, token, "ofrep") as opened:

            async def ask(key: str) -> tuple[str, str]:
                found = await opened.ask(key)
                return found["value"], found["variant"]

            yield ask
    finally:
        await asyncio.to_thread(browser.close)


async def test_a_session_is_seen_by_every_provider(
    desk: Desk, running_mesh: RunningMesh, operator: Client, tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        reached, other = await stack.enter_async_context(connected(SLUG, desk, running_mesh, operator))
        token = await running_mesh.token("member", workspace=reached.workspace)
        asks = {
            "python": await stack.enter_async_context(of_python(running_mesh, token)),
            "node": await stack.enter_async_context(of_node(running_mesh, token, "flagd")),
            "web": await stack.enter_async_context(of_node(running_mesh, token, "web")),
        }
        if INSTALLED:
            asks["browser"] = await stack.enter_async_context(of_browser(running_mesh, token))

        async def seen(key: str, *wanted: tuple[str, str]) -> None:
            for name, ask in asks.items():

                async def same(ask: Ask = ask) -> bool:
                    return await ask(key) in wanted

                await until(same, f"{name} to see {wanted} of {key}")

        await seen(KEY, ("of the code", ""))
        # A rollout.
        await as_json(
            desk, "rollout", "put", KEY, "--version", NEW, "--workspace", reached.workspace, "--guard",
            "--stage", "production=0/1d", "--stage", "*=100", "--reason", "try it with one",
        )  # fmt: skip
        await seen(KEY, (NEW, "on"))
        # A kill, and what held before it.
        killed = await as_json(desk, "rollout", "kill", KEY, "--reason", "the vendor asks us to stop")
        await seen(KEY, ("", "off"))
        before = str(int(killed["revision"]) - 1)
        then = await as_json(
            desk, "flag", "evaluate", KEY, f"workspace={reached.workspace}", "environment=production",
            "--revision", before,
        )  # fmt: skip
        assert (then["value"], then["variant"]) == (NEW, "on")
        await as_json(desk, "flag", "restore", KEY, "--reason", "they may again")
        await seen(KEY, (NEW, "on"))
        # A guarded rollback.
        await rolled_back(desk, operator, reached, other)
        await seen(KEY, ("", "off"))
        shown = await as_json(desk, "rollout", "show", KEY)
        assert shown["lock"]["reason"] == "failures"
        history = await as_json(desk, "flag", "history", KEY)
        assert [each["creator"] for each in history].count("guard") == 1
        unlocked = await as_json(desk, "rollout", "unlock", KEY, "--reason", "the vendor had an hour")
        assert "lock" not in unlocked
        # An experiment: three providers of one workspace are one subject.
        await experiment(desk, tmp_path, reached, other, seen)


async def rolled_back(desk: Desk, operator: Client, reached: Side, other: Side) -> None:
    """Breaks the vendor where the new version alone calls, and returns once the guard has taken it back."""
    going = True

    async def traffic(side: Side) -> None:
        while going:
            await side.version()
            await asyncio.sleep(0.02)

    async def locked() -> bool:
        return (await operator.rollouts.GetRollout(rollouts.GetRolloutRequest(name=f"rollouts/{KEY}"))).HasField("lock")

    async def arrived() -> bool:
        return await reached.version() == NEW

    await until(arrived, "the new version to lead calls")
    lanes = [asyncio.create_task(traffic(side)) for side in (reached, other)]
    try:
        with desk.broken(path="/v1/tickets", status=400):
            await until(locked, "the guard")
    finally:
        going = False
        await asyncio.gather(*lanes)


async def experiment(
    desk: Desk, folder: Path, reached: Side, other: Side, seen: Callable[..., Awaitable[None]]
) -> None:
    """Plays an experiment from its start to its end."""
    key = f"session-{uuid4().hex[:8]}"
    file = folder / "flag.json"
    file.write_text(json.dumps({
        "name": f"flags/{key}",
        "variants": {each: f"the {each} desk" for each in ("old", "new")},
        "defaultVariant": "old",
        "rules": [{"split": [{"variant": each, "weight": 1} for each in ("old", "new")]}],
    }))  # fmt: skip
    await as_json(desk, "flag", "put", str(file), "--reason", "half and half")
    started = await as_json(
        desk, "experiments", "start", key, "--flag", key, "--metric", "order", "--guard-metric", "refund:total:down",
        "--hypothesis", "more of them order", "--expect", "100",
    )  # fmt: skip
    assert [arm["variant"] for arm in started["arms"]] == ["new", "old"]
    given = (await as_json(desk, "flag", "evaluate", key, f"workspace={reached.workspace}"))["variant"]
    # What chance gave to the workspace, all providers say.
    await seen(key, (f"the {given} desk", given))
    # A browser has asked for all flags at once: its program says which it made use of.
    for side in (reached, other):
        await side.client.tracking.ExposeFlags(tracking.ExposeFlagsRequest(names=[f"flags/{key}"]))
    ordered = await reached.client.tracking.TrackEvents(
        tracking.TrackEventsRequest(events=[tracking.TrackedEvent(event="order", value=3)])
    )
    assert ordered.measurements == 1
    code, shown, errors = await command(desk, "experiments", "show", key)
    assert code == 0, errors
    assert shown.count("order") >= 3
    code, exported, errors = await command(desk, "experiments", "export", key)
    assert code == 0, errors
    head, *lines = exported.splitlines()
    assert head == "workspace,variant,time,order count,order total,refund:total:down count,refund:total:down total"
    # Three providers of one workspace are one subject.
    assert len(lines) == 2
    [mine] = [line for line in lines if line.startswith(f"{reached.workspace},{given},")]
    assert mine.endswith(",1,3.0,0,0.0")
    ended = await as_json(desk, "experiments", "stop", key, "--reason", "enough for a test")
    assert ended["state"] == "EXPERIMENT_STATE_STOPPED"
    assert sum(map(int, ended["results"]["subjects"])) == 2
