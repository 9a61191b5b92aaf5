"""Lets calls in: who may run how much at once, what is called in which version, whether it is on, and as whom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from cordboard.core.errors import DeadlineExceeded, NotFound
from cordboard.proxy.calls import Call
from cordboard.proxy.connections import Connections, Lease
from cordboard.proxy.definitions import Definition
from cordboard.proxy.ledger import check_key
from cordboard.proxy.limits import Bulkhead, Pace
from cordboard.proxy.recorder import Recorder
from cordboard.proxy.snapshot import Definitions, Flags
from cordboard.proxy.stages import ADMIT, AUTHORISE, GATE, GUARD, RESOLVE
from cordboard.proxy.target import Target, aim
from cordboard.proxy.usage import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run at once in this process, and how often."""

    process: Bulkhead
    workspace: Bulkhead
    integration: Bulkhead
    workspace_pace: Pace
    caller_pace: Pace


@dataclass(frozen=True)
class Admission:
    """The stages up to the plan: admit, resolve, gate, authorise; and room at the vendor."""

    definitions: Definitions
    usage: Usage
    flags: Flags
    connections: Connections
    recorder: Recorder
    limits: Limits

    @contextlib.contextmanager
    def admitted(self, call: Call) -> Iterator[None]:
        """Takes a place for a call as long as the block runs; raises LimitExceeded, InvalidFields, DeadlineExceeded."""
        call.stages.enter(ADMIT)
        order = call.order
        if call.left() <= 0:
            raise DeadlineExceeded("anything")
        check_key(order.idempotency_key)
        whose, limits, background = f"workspaces/{order.workspace}", self.limits, order.background
        if not background:
            # What runs in the background is bounded by its places.
            limits.workspace_pace.take(order.workspace, whose)
            limits.caller_pace.take((order.workspace, order.caller.actor), order.caller.actor)
        with (
            limits.workspace.place(order.workspace, whose, background=background),
            limits.process.place("", "this process", background=background),
            self.recorder.expecting(),
        ):
            yield

    async def target(self, call: Call) -> Target:
        """Returns what an action's call reaches, and as whom; raises as `resolved` does, and StateConflict."""
        definition, lease = await self.resolved(call, call.order.action)
        action = definition.action(call.order.action)
        return aim(definition, action, lease)

    async def resolved(self, call: Call, switch: str) -> tuple[Definition, Lease]:
        """Returns the version and the credential that a call uses.

        `switch` is what flags name the action. Raises NotFound, SwitchedOff, ReconnectRequired, DependencyUnavailable.
        """
        call.stages.enter(RESOLVE)
        order, caller = call.order, call.order.caller
        lease = await self._lease(call)
        call.integration = lease.integration
        context = _context(call, lease)
        version, led = self.flags.version(lease.integration, context)
        place = {"workspace": order.workspace, "environment": lease.environment}
        call.led = None if self.definitions.pinned(lease.integration, **place) else led
        definition = self.definitions.resolve(lease.integration, version, **place)
        call.version = definition.version
        self.usage.count(order.workspace, lease.environment, lease.integration, definition.version)
        call.stages.enter(GATE)
        self.flags.gate(lease.integration, switch, context)
        call.stages.enter(AUTHORISE)
        if lease.environment != caller.environment and caller.token_id and not caller.is_operator:
            # Another environment's connection is not there, as another workspace's is not.
            raise NotFound(order.connection)
        call.generation = lease.generation
        return definition, lease

    async def _lease(self, call: Call) -> Lease:
        known = self.connections.known(call.order.connection)
        if known is not None:
            return known
        with call.stages.working(AUTHORISE):
            lease = await self.connections.lease(call.order.connection, call.left())
        call.stages.enter(RESOLVE)
        return lease

    @contextlib.contextmanager
    def room(self, call: Call, slug: str) -> Iterator[None]:
        """Takes a place at an integration as long as the block runs; raises LimitExceeded."""
        call.stages.enter(GUARD)
        workspace = call.order.workspace
        whose = f"workspaces/{workspace} at integrations/{slug}"
        with self.limits.integration.place((workspace, slug), whose, background=call.order.background):
            yield


def _context(call: Call, lease: Lease) -> dict[str, str]:
    caller = call.order.caller
    workspace = call.order.workspace
    own = caller.workspace == workspace
    # What the token says holds for its own workspace; an operator who calls in another has only the names.
    return {
        "targetingKey": workspace,
        "workspace": workspace,
        "customer": caller.customer if own else "",
        "tier": caller.tier if own else "",
        "region": caller.region if own else "",
        "environment": caller.environment if own else lease.environment,
    }
