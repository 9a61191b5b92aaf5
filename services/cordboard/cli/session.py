"""A command's connection to the mesh: as the operator, or as a workspace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import typer

from cordboard.auth.v1.token_service_pb2 import IssueTokenRequest
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.cli import profiles
from cordboard.cli.failures import CommandFailed, exit_code, lines
from cordboard.cli.output import errors
from cordboard.client import Client, CordboardError
from cordboard.client.errors import from_rpc
from cordboard.common.v1 import options_pb2

T = TypeVar("T")
OPERATOR: Final = (options_pb2.ROLE_OPERATOR, options_pb2.ROLE_PUBLISHER)
MEMBER: Final = (options_pb2.ROLE_MEMBER,)


@dataclass(frozen=True)
class Target:
    """Which mesh a command means."""

    profile: str
    state_dir: Path


@dataclass(frozen=True)
class Endpoint:
    """How to reach a mesh and with which token."""

    address: str
    ca_file: Path | None
    token: str
    identity_dir: Path | None = None

    def client(self, token: str = "") -> Client:
        """Returns a client, with this endpoint's token unless another is given."""
        return Client(self.address, token=token or self.token, ca_file=self.ca_file, identity_dir=self.identity_dir)


async def endpoint(target: Target) -> Endpoint:
    """Returns where the target is, with the operator's token; raises CommandFailed."""
    if target.profile != profiles.LOCAL:
        remote = profiles.profile(target.profile)
        return Endpoint(remote.address, remote.ca(), remote.token(), remote.identity())
    from cordboard.local.state import read_state

    state = read_state(target.state_dir)
    if state is None:
        raise CommandFailed(f"no mesh runs in {target.state_dir}: start one with `cordboard up --detach`", 6)
    token = await operator_token(f"127.0.0.1:{state.ports['auth']}", Path(state.client_identity_dir))
    return Endpoint(state.public_address, Path(state.ca_file), token)


async def operator_token(auth_address: str, identity_dir: Path) -> str:
    """Returns an operator's token, asked of Auth directly with the operator's certificate."""
    credentials = grpc.ssl_channel_credentials(
        (identity_dir / "ca.crt").read_bytes(),
        (identity_dir / "tls.key").read_bytes(),
        (identity_dir / "tls.crt").read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", "auth.cordboard.internal")]
    async with grpc.aio.secure_channel(auth_address, credentials, options=options) as channel:
        request = IssueTokenRequest(roles=OPERATOR, subject="operator")
        try:
            answer = await TokenServiceStub(channel).IssueToken(request, timeout=10, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from None
        return str(answer.access_token)


@contextlib.asynccontextmanager
async def as_operator(target: Target) -> AsyncIterator[Client]:
    """Gives a client with the target's own token."""
    found = await endpoint(target)
    async with found.client() as client:
        yield client


@contextlib.asynccontextmanager
async def as_workspace(
    target: Target, workspace: str, environment: str, roles: Iterable[options_pb2.Role.ValueType] = MEMBER
) -> AsyncIterator[Client]:
    """Gives a client that is a workspace in an environment: what it may do is what that workspace may."""
    found = await endpoint(target)
    async with found.client() as operator:
        issued = await operator.tokens.IssueToken(
            IssueTokenRequest(workspace=f"workspaces/{workspace}", environment=environment, roles=list(roles))
        )
    async with found.client(issued.access_token) as client:
        yield client


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's work; a failure becomes a line on standard error and an exit code."""
    try:
        return asyncio.run(work())
    except CordboardError as error:
        for line in lines(error):
            errors.print(line, style="red", highlight=False)
        raise typer.Exit(exit_code(error)) from None
    except CommandFailed as error:
        errors.print(str(error), style="red", highlight=False)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
