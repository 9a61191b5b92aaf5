"""Other people's clients, as they are on their package indexes, each asked the same of a whole mesh."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.client import Client
from cordboard.common.v1 import options_pb2
from cordboard.core.structs import to_value
from cordboard.flags.v1 import flag_service_pb2 as pb

NODE: Final = Path(__file__).parent.parent / "node"
PATIENCE: Final = 60.0
CHECKS: Final = ("targeting by the token", "text", "number", "object", "no such flag", "wrong type", "a change")


@dataclass(frozen=True)
class Place:
    """Where a client finds the mesh, and as whom it comes."""

    host: str
    port: int
    ca_file: str
    token: str
    key: str
    """Flags to ask for: this one, and those with `-text`, `-number`, `-object` behind it."""


Change = Callable[[], Awaitable[None]]
# Asks everything, has the flag changed, and asks again.
Play = Callable[[Place, Change], Awaitable[tuple[dict[str, Any], dict[str, Any]]]]


@dataclass(frozen=True)
class Outcome:
    """What a client got."""

    client: str
    version: str
    protocol: str
    passed: frozenset[str] = frozenset()
    skipped: str = ""
    """Why it was not run."""


async def outcomes(operator: Client, address: str, ca_file: Path) -> list[Outcome]:
    """Runs every client against the mesh at an address."""
    found = []
    for client, package, protocol, play in _clients():
        version = version_of(client, package)
        if not version:
            found.append(Outcome(package, "", protocol, skipped="is not installed"))
            continue
        place = await set_up(operator, address, ca_file)

        async def change(key: str = place.key) -> None:
            await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason="a check"))

        first, second = await play(place, change)
        found.append(Outcome(package, version, protocol, _passed(first, second)))
    return found


def _clients() -> Iterator[tuple[str, str, str, Play]]:
    yield "python", "openfeature-provider-flagd", "flagd evaluation v2", _flagd(ResolverType.RPC)
    yield "python", "openfeature-provider-flagd", "flagd sync v1", _flagd(ResolverType.IN_PROCESS)
    yield "python", "openfeature-provider-ofrep", "OFREP", _ofrep
    yield "node", "@openfeature/flagd-provider", "flagd evaluation v2", _node("rpc")
    yield "node", "@openfeature/flagd-provider", "flagd sync v1", _node("in-process")
    yield "node", "@openfeature/ofrep-provider", "OFREP", _node("ofrep")
    yield "node", "@openfeature/ofrep-web-provider", "OFREP, all flags at once", _node("web")


def version_of(client: str, package: str) -> str:
    """Returns the version of a client that is installed for `python` or `node`; nothing where it is not."""
    if client == "python":
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
        return ""
    about = NODE / "node_modules" / package / "package.json"
    return str(json.loads(about.read_text())["version"]) if about.exists() and shutil.which("node") else ""


def _passed(first: dict[str, Any], second: dict[str, Any]) -> frozenset[str]:
    holds = {
        "targeting by the token": first["boolean"] == [True, "on", "TARGETING_MATCH"],
        "text": first["text"] == "one",
        "number": first["number"] == 7,
        "object": first["object"] == {"color": "red", "sizes": [1, 2]},
        "no such flag": first["none"] == ["of the code", "FLAG_NOT_FOUND"],
        "wrong type": first["wrong"] == ["of the code", "TYPE_MISMATCH"],
        "a change": second["boolean"][:2] == [False, "off"],
    }
    return frozenset(name for name in CHECKS if holds[name])


async def set_up(operator: Client, address: str, ca_file: Path) -> Place:
    """Makes a workspace with flags of its own."""
    key, workspace = f"check-{uuid4().hex[:8]}", f"w-{uuid4().hex[:8]}"
    given = workspaces.Workspace(customer="northwind-corp", tier="business", region="eu")
    await operator.workspaces.CreateWorkspace(
        workspaces.CreateWorkspaceRequest(workspace_id=workspace, workspace=given)
    )
    mine = pb.Rule(workspaces=[workspace], variant="on")
    for name, variants, rules in (
        (key, {"off": False, "on": True}, [mine]),
        (f"{key}-text", {"a": "one", "b": "two"}, []),
        (f"{key}-number", {"a": 7}, []),
        (f"{key}-object", {"a": {"color": "red", "sizes": [1, 2]}}, []),
    ):
        values = {variant: to_value(value) for variant, value in variants.items()}
        flag = pb.Flag(name=f"flags/{name}", variants=values, default_variant=min(values, key=list(variants).index))
        flag.rules.extend(rules)
        await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))
    issued = await operator.tokens.IssueToken(
        tokens.IssueTokenRequest(
            workspace=f"workspaces/{workspace}", environment="production", roles=[options_pb2.ROLE_MEMBER]
        )
    )
    host, _, port = address.rpartition(":")
    return Place("localhost" if host == "127.0.0.1" else host, int(port), str(ca_file), issued.access_token, key)


def _flagd(mode: ResolverType) -> Play:
    async def play(place: Place, change: Change) -> tuple[dict[str, Any], dict[str, Any]]:
        tls = grpc.ssl_channel_credentials(await asyncio.to_thread(Path(place.ca_file).read_bytes))
        credentials = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(place.token))
        provider = FlagdProvider(
            host=place.host, port=place.port, tls=True, resolver_type=mode, channel_credentials=credentials,
            deadline_ms=10_000,
        )  # fmt: skip
        return await _python(provider, place, change)

    return play


async def _ofrep(place: Place, change: Change) -> tuple[dict[str, Any], dict[str, Any]]:
    # By name, because not everybody has it: the row of the table says so then.
    module: Any = importlib.import_module("openfeature.contrib.provider.ofrep")
    # The provider has no option for an authority to trust; the library under it has a variable.
    os.environ["REQUESTS_CA_BUNDLE"] = place.ca_file
    headers = {"authorization": f"Bearer {place.token}"}
    provider = module.OFREPProvider(f"https://{place.host}:{place.port}", headers_factory=lambda: headers)
    return await _python(provider, place, change)


async def _python(provider: Any, place: Place, change: Change) -> tuple[dict[str, Any], dict[str, Any]]:
    await asyncio.to_thread(api.set_provider_and_wait, provider)
    try:
        client = api.get_client()
        first = await asyncio.to_thread(_asked, client, place.key)
        await change()
        second = first
        async with asyncio.timeout(PATIENCE):
            # A provider that keeps a copy has the news a moment later.
            while second["boolean"][0]:
                second = await asyncio.to_thread(_asked, client, place.key)
                await asyncio.sleep(0.05)
        return first, second
    finally:
        await asyncio.to_thread(api.shutdown)


def _asked(client: Any, key: str) -> dict[str, Any]:
    known = EvaluationContext("somebody", {})
    boolean = client.get_boolean_details(key, True, known)
    none = client.get_string_details(f"{key}-none", "of the code", known)
    wrong = client.get_string_details(key, "of the code", known)
    return {
        "boolean": [boolean.value, boolean.variant, str(boolean.reason)],
        "text": client.get_string_value(f"{key}-text", "?", known),
        "number": client.get_integer_value(f"{key}-number", 0, known),
        "object": client.get_object_value(f"{key}-object", {}, known),
        "none": [none.value, none.error_code and none.error_code.value],
        "wrong": [wrong.value, wrong.error_code and wrong.error_code.value],
    }


def _node(provider: str) -> Play:
    async def play(place: Place, change: Change) -> tuple[dict[str, Any], dict[str, Any]]:
        told = {
            "provider": provider, "host": place.host, "port": place.port, "ca": place.ca_file, "token": place.token,
            "key": place.key,
        }  # fmt: skip
        async with _script(place.ca_file) as (say, hear), asyncio.timeout(PATIENCE):
            say.write(json.dumps(told).encode() + b"\n")
            first = json.loads(await hear.readline())
            await hear.readline()
            await change()
            say.write(b"\n")
            return first, json.loads(await hear.readline())

    return play


@contextlib.asynccontextmanager
async def _script(ca_file: str) -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.StreamReader]]:
    node = await asyncio.create_subprocess_exec(
        "node", "flags.mjs", cwd=NODE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": ca_file},
    )  # fmt: skip
    assert node.stdin is not None
    assert node.stdout is not None
    try:
        yield node.stdin, node.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            node.kill()
        await node.wait()
