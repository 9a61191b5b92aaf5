"""What flagd-testbed's launchpad does to flagd, done to a whole mesh: start with the testbed's flags, lose the
connection, change a flag.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as evaluation
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2_grpc as evaluation_grpc

from bench.startup import fresh_options
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.cli.session import operator_token
from cordboard.client import Client
from cordboard.common.v1 import options_pb2
from cordboard.core.flagging import RuleBroken, inlined
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.local.certificates import SERVICES
from cordboard.local.mesh import Mesh

PATIENCE: Final = 120.0
TOKEN_SECONDS: Final = 4 * 3600
CHANGING: Final = "changing-flag"
# flagd puts these two into every context by its configuration; here a token's workspace has a customer.
INJECTED: Final = "injectedmetadata"
CUSTOMER: Final = "customer"
WAYS: Final = ("direct", "Envoy")


@dataclass(frozen=True)
class Door:
    """Where a client comes in, and what it shows there."""

    port: int
    ca_file: Path
    token: str
    identity_dir: Path | None = None
    """A client's certificate: the service's own port asks for one."""


def flags_of(testbed: Path) -> dict[str, Any]:
    """Returns the definitions of the testbed's flags by key, with the rules that they share inlined."""
    flags: dict[str, Any] = {}
    evaluators: dict[str, Any] = {}
    for file in sorted((testbed / "flags").glob("*.json")):
        if file.name.startswith("selector-"):
            continue
        document = json.loads(file.read_text(encoding="utf-8"))
        flags |= document["flags"]
        evaluators |= document.get("$evaluators", {})
    if CHANGING not in flags:
        raise FileNotFoundError(f"{testbed} has no flags/*.json with {CHANGING}")
    for flag in flags.values():
        # A rule that refers to nothing is broken for whoever evaluates it.
        with contextlib.suppress(RuleBroken):
            if "targeting" in flag:
                flag["targeting"] = inlined(renamed(flag["targeting"]), evaluators)
    return flags


def renamed(rule: Any) -> Any:
    """Returns a rule that asks for the customer where it asked for what flagd is told to inject."""
    if isinstance(rule, Mapping):
        return {operator: renamed(operands) for operator, operands in rule.items()}
    if isinstance(rule, list):
        return [renamed(each) for each in rule]
    return CUSTOMER if rule == INJECTED else rule


class Launchpad:
    """A mesh that has the testbed's flags."""

    def __init__(self, mesh: Mesh, operator: Client, hold: Path, token: str, member_token: str) -> None:
        """Takes the mesh, its operator, the file that holds Flags back, and the tokens to come with."""
        self._mesh = mesh
        self._operator = operator
        self._hold = hold
        self._token = token
        self._member_token = member_token
        self._variant = "foo"
        self._back: asyncio.Task[None] | None = None

    def door(self, way: str, *, member: bool = False) -> Door:
        """Returns where to come in: as an operator, or as a member of the workspace whose customer is `set`."""
        token = self._member_token if member else self._token
        if way == "Envoy":
            return Door(int(self._mesh.public_address.rpartition(":")[2]), self._mesh.ca_file, token)
        port = int(self._mesh.address("flags").rpartition(":")[2])
        return Door(port, self._mesh.ca_file, token, self._mesh.identity_dir("operator"))

    def forbidden(self, way: str) -> tuple[Door, str]:
        """Returns a door that is closed, and the status which is said there."""
        door = self.door(way)
        if way == "Envoy":
            return replace(door, token="none"), "UNAUTHENTICATED"
        return replace(door, token="", identity_dir=self._mesh.identity_dir("catalog")), "PERMISSION_DENIED"

    async def ready(self) -> None:
        """Returns once flags are given at every door again."""
        async with asyncio.timeout(PATIENCE):
            if self._back is not None:
                await self._back
            for way in WAYS:
                door = self.door(way)
                # Nobody tells: what is asked is another process.
                while not await answers(door):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    async def lose(self, seconds: float) -> None:
        """Kills Flags, which comes back after so many seconds; returns as soon as it is gone."""
        self._hold.touch()
        before = self._mesh.restarts("flags")
        pid = self._mesh.pid("flags")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while self._mesh.restarts("flags") == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        self._back = asyncio.create_task(self._release(seconds))

    async def _release(self, seconds: float) -> None:
        # How long a client is alone is what a scenario asks for.
        await asyncio.sleep(seconds)
        self._hold.unlink(missing_ok=True)

    async def change(self) -> None:
        """Gives the flag that changes its other variant."""
        self._variant = "bar" if self._variant == "foo" else "foo"
        await self.put(CHANGING, {"foo": "foo", "bar": "bar"}, self._variant)

    async def put(self, key: str, variants: Mapping[str, str], default: str) -> None:
        """Puts a flag."""
        values = {name: Value(string_value=value) for name, value in variants.items()}
        flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant=default)
        await self._operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))


@contextlib.asynccontextmanager
async def launched(testbed: Path) -> AsyncIterator[Launchpad]:
    """Starts a mesh with the testbed's flags, and ends it."""
    flags = flags_of(testbed)
    with TemporaryDirectory(prefix="cordboard-testbed-") as folder, fresh_options() as options:
        definitions, hold = Path(folder) / "definitions.json", Path(folder) / "hold"
        # The one that changes is a flag of the database in every respect.
        given = {key: flag for key, flag in flags.items() if key != CHANGING}
        definitions.write_text(json.dumps(given), encoding="utf-8")
        async with Mesh(options, service_command=_commands(definitions, hold)) as mesh:
            token = await operator_token(mesh.address("auth"), mesh.identity_dir("operator"))
            async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file) as first:
                token, member_token = await _tokens(first)
            async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file) as operator:
                launchpad = Launchpad(mesh, operator, hold, token, member_token)
                await launchpad.put(CHANGING, {"foo": "foo", "bar": "bar"}, "foo")
                for key in given:
                    # It is there, and what it says is given to the process.
                    await launchpad.put(key, {"given": "given"}, "given")
                await launchpad.ready()
                yield launchpad


def _commands(definitions: Path, hold: Path) -> Callable[[str], tuple[str, ...]]:
    def command(service: str) -> tuple[str, ...]:
        assert service in SERVICES
        if service == "flags":
            return (sys.executable, "-m", "tests.conformance.flags_process", str(definitions), str(hold))
        return (sys.executable, "-m", f"cordboard.{service}")

    return command


async def _tokens(operator: Client) -> tuple[str, str]:
    """Returns tokens that outlive the suites: an operator's, and that of a member of a customer called `set`."""
    given = workspaces.Workspace(customer="set", tier="business", region="eu")
    await operator.workspaces.CreateWorkspace(
        workspaces.CreateWorkspaceRequest(workspace_id="testbed", workspace=given)
    )
    ttl = Duration(seconds=TOKEN_SECONDS)
    whole = await operator.tokens.IssueToken(
        tokens.IssueTokenRequest(roles=[options_pb2.ROLE_OPERATOR], subject="testbed", ttl=ttl)
    )
    member = await operator.tokens.IssueToken(
        tokens.IssueTokenRequest(
            workspace="workspaces/testbed", environment="production", roles=[options_pb2.ROLE_MEMBER], ttl=ttl
        )
    )
    return whole.access_token, member.access_token


def credentials(door: Door) -> grpc.ChannelCredentials:
    """Returns what a program gives to gRPC to come in at a door."""
    roots = door.ca_file.read_bytes()
    if door.identity_dir is None:
        tls = grpc.ssl_channel_credentials(roots)
    else:
        key, certificate = (door.identity_dir / "tls.key").read_bytes(), (door.identity_dir / "tls.crt").read_bytes()
        tls = grpc.ssl_channel_credentials(roots, key, certificate)
    if not door.token:
        return tls
    return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(door.token))


async def answers(door: Door) -> bool:
    """Tells whether a flag is given at a door."""
    async with grpc.aio.secure_channel(f"localhost:{door.port}", await asyncio.to_thread(credentials, door)) as channel:
        request = evaluation.ResolveBooleanRequest(flag_key="boolean-flag")
        try:
            answer = await evaluation_grpc.ServiceStub(channel).ResolveBoolean(request, timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.value)
