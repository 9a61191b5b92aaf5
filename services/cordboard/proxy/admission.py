"""Lets calls in: who may run how much at once, what is called in which version, whether it is on, and as whom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cordboard.auth.v1.credential_service_pb2 import LeaseCredentialResponse
from cordboard.core.errors import DeadlineExceeded, NotFound, StateConflict
from cordboard.proxy.backends.gateway import GATEWAY
from cordboard.proxy.backends.route import DIRECT, Backend, Kind, RemoteConnection, Route
from cordboard.proxy.backends.routes import Routes
from cordboard.proxy.calls import Call
from cordboard.proxy.connections import Connections, Lease
from cordboard.proxy.credentials import Credential
from cordboard.proxy.definitions import Definition
from cordboard.proxy.ledger import check_key
from cordboard.proxy.limits import Bulkhead, Pace
from cordboard.proxy.quotas.pace import SharedPace
from cordboard.proxy.recorder import Recorder
from cordboard.proxy.sealed_inputs import SealedInputs
from cordboard.proxy.snapshot import Definitions, Flags
from cordboard.proxy.stages import ADMIT, AUTHORISE, GATE, GUARD, RESOLVE
from cordboard.proxy.target import Target, aim
from cordboard.proxy.usage import Usage
from cordboard.proxy.workspaces import About, Workspaces, context_of


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run at once in this process, and how often: here, and over all replicas."""

    process: Bulkhead
    workspace: Bulkhead
    integration: Bulkhead
    workspace_pace: Pace
    caller_pace: Pace
    workspace_shared: SharedPace
    caller_shared: SharedPace


@dataclass(frozen=True)
class Admission:
    """The stages up to the plan: admit, resolve, gate, authorise; and room at the vendor."""

    definitions: Definitions
    usage: Usage
    flags: Flags
    connections: Connections
    workspaces: Workspaces
    recorder: Recorder
    limits: Limits
    routes: Routes
    sealed: SealedInputs

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
        """Returns what an action's call reaches, and as whom, and puts secrets in the place of references in its input.

        Raises as `resolved` does, StateConflict, and InvalidFields for a reference that cannot be opened.
        """
        order = call.order
        definition, lease = await self.resolved(call, order.action)
        call.given = await self.sealed.opened(order.workspace, definition.slug, order.action, order.given)
        action = definition.action(call.order.action)
        call.backend = self.routes.primary(call.order.workspace, definition.slug)
        return aim(definition, action, lease, call.backend)

    async def resolved(self, call: Call, switch: str) -> tuple[Definition, Lease]:
        """Returns the version and the credential that a call uses.

        `switch` is what flags name the action. Raises LimitExceeded, NotFound, SwitchedOff, ReconnectRequired, and
        DependencyUnavailable.
        """
        order, caller = call.order, call.order.caller
        if not order.background:
            await self.limits.workspace_shared.take(order.workspace, "", f"workspaces/{order.workspace}")
            await self.limits.caller_shared.take(order.workspace, caller.actor, caller.actor)
        call.stages.enter(RESOLVE)
        lease = await self._lease(call)
        call.integration = lease.integration
        context = await self._context(call, lease)
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

    async def candidate(self, call: Call, route: Route, target: Target) -> Target:
        """Returns the target of a call by the candidate of its route; raises as `target` does."""
        via, own = route.candidate or DIRECT, call.order.connection.rpartition("/")[2]
        remote = next((one for one in via.connections if one.connection == own and one.environment), None)
        if remote is not None:
            lease = remote_lease(call.order.connection, route, remote)
        else:
            lease = await self.connections.lease(call.order.connection, max(0.0, call.left()))
        if lease.environment != target.lease.environment or lease.integration != route.integration:
            raise NotFound(call.order.connection)
        call.backend, call.generation = via, lease.generation
        return aim(target.definition, target.action, lease, via)

    def raw(self, call: Call, definition: Definition) -> Backend:
        """Returns the way of what is no action's call: directly to the vendor, or to the hub.

        Raises StateConflict where a workspace's calls go another way, or not by HTTP.
        """
        slug = definition.slug
        if definition.database is not None:
            raise StateConflict(f"integrations/{slug}", "backend", "a database takes statements, and no HTTP")
        route, via = self.routes.route(call.order.workspace, slug), self.routes.primary(call.order.workspace, slug)
        if route is not None and via.kind not in (Kind.DIRECT, Kind.HUB):
            text = "what is no action's call can only go to the vendor directly, or to the hub"
            raise StateConflict(route.name, "backend", text)
        call.backend = via
        return via

    async def gateway(self, call: Call, connection: str, environment: str) -> tuple[Definition, Lease]:
        """Returns the definition and the lease of the workspace's connection at a gateway.

        Raises as a call of its own would, and NotFound where it is of another environment.
        """
        lease = await self.connections.lease(connection, max(0.0, call.left()))
        if lease.environment != environment:
            raise NotFound(connection)
        context = await self._context(call, lease)
        definition = self.definition(call.order.workspace, lease, context)
        self.flags.gate(lease.integration, GATEWAY, context)
        return definition, lease

    def definition(self, workspace: str, lease: Lease, context: Mapping[str, str]) -> Definition:
        """Returns the version that a workspace's connection uses; raises NotFound and DependencyUnavailable."""
        version, _ = self.flags.version(lease.integration, context)
        return self.definitions.resolve(lease.integration, version, workspace=workspace, environment=lease.environment)

    async def _context(self, call: Call, lease: Lease) -> dict[str, str]:
        caller, workspace = call.order.caller, call.order.workspace
        if caller.workspace != workspace:
            # What a token says holds for its own workspace alone, and not where an operator calls in another.
            return await self.workspaces.context(workspace, lease.environment, max(0.0, call.left()))
        return context_of(workspace, caller.environment, About(caller.customer, caller.tier, caller.region))

    async def _lease(self, call: Call) -> Lease:
        elsewhere = self.routes.elsewhere(call.order.connection)
        if elsewhere is not None:
            return remote_lease(call.order.connection, *elsewhere)
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


def remote_lease(connection: str, route: Route, remote: RemoteConnection) -> Lease:
    """Returns what is known of a connection that is none here: where it stands in for a lease, without a credential."""
    return Lease(
        connection=connection,
        integration=route.integration,
        environment=remote.environment,
        auth_scheme="",
        generation=0,
        configuration=dict(remote.configuration),
        credential=Credential(connection, LeaseCredentialResponse()),
        expires=float("inf"),
    )
