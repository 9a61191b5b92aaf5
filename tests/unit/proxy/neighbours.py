"""The Proxy's neighbours in its tests: Catalog, Auth and Flags as real gRPC servers over mTLS, told what to say."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1 import sealing_key_service_pb2 as sealing_pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.v1.credential_service_pb2_grpc import (
    CredentialServiceServicer,
    add_CredentialServiceServicer_to_server,
)
from cordboard.auth.v1.sealing_key_service_pb2_grpc import (
    SealingKeyServiceServicer,
    add_SealingKeyServiceServicer_to_server,
)
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import definition_pb2
from cordboard.catalog.v1 import drift_service_pb2 as drift_pb
from cordboard.catalog.v1 import edge_access_service_pb2 as access_pb
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceServicer, add_DriftServiceServicer_to_server
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.local.certificates import Identities


class Stream:
    """Messages that every watcher gets from the beginning, and as they come."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.watchers = 0
        self._changed = asyncio.Condition()

    async def say(self, *messages: Any) -> None:
        """Adds messages."""
        async with self._changed:
            self.messages.extend(messages)
            self._changed.notify_all()

    async def watch(self, position: int = 0) -> AsyncIterator[Any]:
        """Yields messages for ever."""
        self.watchers += 1
        try:
            while True:
                async with self._changed:
                    while len(self.messages) <= position:
                        await self._changed.wait()
                    found = self.messages[position:]
                position += len(found)
                for message in found:
                    yield message
        finally:
            self.watchers -= 1


class Neighbours(CredentialServiceServicer, SealingKeyServiceServicer, DriftServiceServicer):
    """All three, each on a port of its own."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.leases: dict[str, credential_pb.LeaseCredentialResponse] = {}
        self.renewed: dict[str, credential_pb.LeaseCredentialResponse] = {}
        self.asked: list[str] = []
        self.reported: list[tuple[str, int]] = []
        self.renewing = asyncio.Event()
        self.renewing.set()
        """Cleared: whoever reports a credential waits."""
        self.leasing = asyncio.Event()
        self.leasing.set()
        """Cleared: whoever leases a credential, or a key to seal with, waits."""
        self.ended: dict[str, tuple[float, float]] = {}
        """Who waited for what was cleared and left: when, and how many seconds it had been given beyond that."""
        self.hub: access_pb.HubAccess | None = None
        """Where the hub is that this mesh follows."""
        self.drift: list[drift_pb.AnswersLookedAt] = []
        self.lease_failure: grpc.StatusCode | None = None
        self.sealing_failure: grpc.StatusCode | None = None
        self.workspaces: dict[str, workspace_pb.Workspace] = {}
        self.workspace_failure: grpc.StatusCode | None = None
        self.servers: list[grpc.aio.Server] = []
        self._definitions = Stream()
        self._flags = Stream()
        self._connections = Stream()
        self._sequence = 0

    @property
    def watching(self) -> set[str]:
        """Returns the services whose streams somebody watches."""
        streams = {"catalog": self._definitions, "auth": self._connections, "flags": self._flags}
        return {service for service, stream in streams.items() if stream.watchers}

    async def stop(self) -> None:
        """Ends all three."""
        await asyncio.gather(*(server.stop(None) for server in self.servers))

    async def publish(self, definition: definition_pb2.Definition, *, active: bool = True) -> None:
        """Makes a definition version live."""
        self._sequence += 1
        version = catalog_pb.DefinitionVersion(
            name=f"integrations/{definition.slug}/versions/{definition.version}", definition=definition, active=active
        )
        await self._definitions.say(
            catalog_pb.WatchDefinitionsResponse(sequence=self._sequence, definition_version=version)
        )

    async def catch_up(self) -> None:
        """Says that everything was sent."""
        await self._definitions.say(catalog_pb.WatchDefinitionsResponse(sequence=self._sequence, caught_up=True))

    async def set_flags(self, **flags: Any) -> None:
        """Says a whole new set of flags: `name=value` for everybody, `name={...}` as flagd has it; `__` is a dot."""
        self._sequence += 1
        found = {}
        for name, value in flags.items():
            key = name.replace("___", "-").replace("__", ".")
            plain = {"state": "ENABLED", "variants": {"it": value}, "defaultVariant": "it"}
            found[key] = value if isinstance(value, dict) else plain
        await self._flags.say(
            flags_pb.WatchFlagsResponse(sequence=self._sequence, flag_configuration=json.dumps({"flags": found}))
        )

    async def connect(
        self, name: str, *, integration: str, generation: int = 1, environment: str = "production", **fields: Any
    ) -> None:
        """Makes a connection with a credential: `api_key=`, `access_token=` or `basic=`."""
        lifetime = fields.pop("lifetime", None)
        lease = credential_pb.LeaseCredentialResponse(
            connection=connection_pb.Connection(
                name=name,
                integration=f"integrations/{integration}",
                environment=environment,
                auth_scheme=fields.pop("auth_scheme", "key"),
                state=connection_pb.Connection.STATE_READY,
                configuration=fields.pop("configuration", {}),
            ),
            generation=generation,
            **fields,
        )
        if lifetime is not None:
            lease.expire_time.CopyFrom(Timestamp())
            lease.expire_time.GetCurrentTime()
            lease.expire_time.seconds += lifetime
        self.leases[name] = lease

    async def change(self, name: str, generation: int) -> None:
        """Tells watchers that a connection changed."""
        self._sequence += 1
        await self._connections.say(
            credential_pb.WatchConnectionsResponse(sequence=self._sequence, connection=name, generation=generation)
        )

    def watched(self, service: str) -> grpc.GenericRpcHandler:
        """Returns the one method of Catalog, or of Flags, that the Proxy calls."""
        methods: dict[str, tuple[str, str, Any, Any]] = {
            "catalog": (
                "cordboard.catalog.v1.CatalogService", "WatchDefinitions", self.watch_definitions,
                catalog_pb.WatchDefinitionsRequest,
            ),
            "flags": (
                "cordboard.flags.v1.FlagService", "WatchFlags", self.watch_flags, flags_pb.WatchFlagsRequest,
            ),
        }  # fmt: skip
        name, method, behavior, request = methods[service]
        handler: Any = grpc.unary_stream_rpc_method_handler(
            behavior, request.FromString, lambda message: bytes(message.SerializeToString())
        )
        return grpc.method_handlers_generic_handler(name, {method: handler})

    def workspace_handler(self) -> grpc.GenericRpcHandler:
        """Returns the one method of Auth's workspaces that the Proxy calls."""
        handler: Any = grpc.unary_unary_rpc_method_handler(
            self.get_workspace,
            workspace_pb.GetWorkspaceRequest.FromString,
            lambda message: bytes(message.SerializeToString()),
        )
        return grpc.method_handlers_generic_handler("cordboard.auth.v1.WorkspaceService", {"GetWorkspace": handler})

    def hub_handler(self) -> grpc.GenericRpcHandler:
        """Returns the one method of the Catalog's edges that the Proxy calls."""
        handler: Any = grpc.unary_unary_rpc_method_handler(
            self.get_hub_access,
            access_pb.GetHubAccessRequest.FromString,
            lambda message: bytes(message.SerializeToString()),
        )
        return grpc.method_handlers_generic_handler("cordboard.catalog.v1.EdgeAccessService", {"GetHubAccess": handler})

    async def get_hub_access(self, request: Any, context: Any) -> Any:
        if self.hub is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this mesh follows no hub")
        return self.hub

    async def ListDrifts(self, request: Any, context: Any) -> drift_pb.ListDriftsResponse:
        raise NotImplementedError

    async def ReportDrift(self, request: Any, context: Any) -> drift_pb.ReportDriftResponse:
        self.drift.extend(request.looks)
        return drift_pb.ReportDriftResponse()

    async def watch_definitions(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for message in self._definitions.watch():
            if message.sequence > request.after_sequence or message.caught_up:
                yield message

    async def watch_flags(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for message in self._flags.watch():
            yield message

    async def WatchConnections(self, request: Any, context: Any) -> AsyncIterator[Any]:
        begin = len(self._connections.messages)
        yield credential_pb.WatchConnectionsResponse(sequence=max(1, self._sequence))
        async for message in self._connections.watch(begin):
            yield message

    async def LeaseCredential(self, request: Any, context: Any) -> Any:
        self.asked.append(request.connection)
        await self._wait(self.leasing, request.connection, context)
        if self.lease_failure is not None:
            await context.abort(self.lease_failure, "as told")
        found = self.leases.get(request.connection)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not there")
        return found

    async def LeaseSealingKey(self, request: Any, context: Any) -> Any:
        await self._wait(self.leasing, request.workspace, context)
        if self.sealing_failure is not None:
            await context.abort(self.sealing_failure, "as told")
        number = request.number or 1
        key = hashlib.sha256(f"{request.workspace} {number}".encode()).digest()
        return sealing_pb.LeaseSealingKeyResponse(number=number, key=key)

    async def _wait(self, event: asyncio.Event, what: str, context: Any) -> None:
        try:
            await event.wait()
        except asyncio.CancelledError:
            self.ended[what] = (time.time(), context.time_remaining() or 0.0)
            raise

    async def get_workspace(self, request: Any, context: Any) -> Any:
        if self.workspace_failure is not None:
            await context.abort(self.workspace_failure, "as told")
        found = self.workspaces.get(request.name)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not there")
        return found

    async def ReportCredential(self, request: Any, context: Any) -> Any:
        self.reported.append((request.connection, request.generation))
        await self._wait(self.renewing, request.connection, context)
        held = self.leases.get(request.connection)
        newer = held if held is not None and held.generation > request.generation else None
        newer = newer or self.renewed.pop(request.connection, None)
        if newer is None:
            return credential_pb.ReportCredentialResponse(
                generation=request.generation, state=connection_pb.Connection.STATE_RECONNECT_REQUIRED
            )
        self.leases[request.connection] = newer
        return credential_pb.ReportCredentialResponse(
            generation=newer.generation, state=connection_pb.Connection.STATE_READY
        )


@contextlib.asynccontextmanager
async def neighbours(identities: Identities) -> AsyncIterator[Neighbours]:
    """Serves them inside the block."""
    here = Neighbours()
    for service in ("catalog", "auth", "flags"):
        directory = identities.directory(service)
        server = grpc.aio.server()
        if service == "auth":
            add_CredentialServiceServicer_to_server(here, server)
            add_SealingKeyServiceServicer_to_server(here, server)
            server.add_generic_rpc_handlers((here.workspace_handler(),))
        else:
            server.add_generic_rpc_handlers((here.watched(service),))
        if service == "catalog":
            server.add_generic_rpc_handlers((here.hub_handler(),))
            add_DriftServiceServicer_to_server(here, server)
        credentials = grpc.ssl_server_credentials(
            [((directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes())],
            root_certificates=(directory / "ca.crt").read_bytes(),
            require_client_auth=True,
        )
        here.addresses[f"{service}_address"] = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        await server.start()
        here.servers.append(server)
    try:
        yield here
    finally:
        await here.stop()
