"""What flags may ask about workspaces that no caller's token speaks of: told by Auth, and kept for a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import grpc

from cordboard.auth.v1 import workspace_service_pb2 as pb
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.core.channel import Channels
from cordboard.core.errors import DependencyUnavailable

# How long what Auth said is not asked again.
KNOWN_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 5.0
_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class About:
    """A workspace's customer, its tier and its region; empty where there are none."""

    customer: str = ""
    tier: str = ""
    region: str = ""


def context_of(workspace: str, environment: str, about: About) -> dict[str, str]:
    """Returns what flags are asked with for an environment of a workspace."""
    return {
        "targetingKey": workspace,
        "workspace": workspace,
        "customer": about.customer,
        "tier": about.tier,
        "region": about.region,
        "environment": environment,
    }


class Workspaces:
    """What this process knows about workspaces."""

    def __init__(self, channels: Channels) -> None:
        """Takes the way to Auth."""
        self._channels = channels
        self._known: OrderedDict[str, tuple[About, float]] = OrderedDict()

    async def context(self, workspace: str, environment: str, timeout: float = _ASK_SECONDS) -> dict[str, str]:
        """Returns what flags are asked with for a workspace's environment, where no token says it.

        Raises DependencyUnavailable where Auth does not answer within so many seconds and has not answered before.
        """
        return context_of(workspace, environment, await self._about(workspace, min(timeout, _ASK_SECONDS)))

    async def _about(self, workspace: str, timeout: float) -> About:
        known = self._known.get(workspace)
        if known is not None and time.monotonic() - known[1] < KNOWN_SECONDS:
            return known[0]
        try:
            about = await self._ask(workspace, timeout)
        except grpc.aio.AioRpcError:
            # A decision by what was true a while ago is better than none: the flags are a copy as well.
            if known is None:
                raise DependencyUnavailable("auth") from None
            return known[0]
        self._known[workspace] = (about, time.monotonic())
        self._known.move_to_end(workspace)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return about

    async def _ask(self, workspace: str, timeout: float) -> About:
        stub = WorkspaceServiceStub(self._channels.to("auth"))
        request = pb.GetWorkspaceRequest(name=f"workspaces/{workspace}")
        try:
            found = await stub.GetWorkspace(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return About()
            raise
        return About(found.customer, found.tier, found.region)
