"""The messages of backends, from and to what the domain works with."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp
from cordboard.proxy.backends.findings import FAILED, MOST, Seen, Sums
from cordboard.proxy.backends.route import DIRECT, Backend, Kind, RemoteConnection, Route
from cordboard.proxy.v1 import backend_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE: Final = "workspaces/*/backendRoutes/*"
MOST_CONNECTIONS: Final = 1_000
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,254}")
# What a gateway calls an account stands in paths and headers: one line, as it is.
_REMOTE: Final = re.compile(r"[\x21-\x7e]{1,255}")


def to_route(message: pb.BackendRoute) -> Route:
    """Returns the route that a message wants; raises InvalidFields with everything that is wrong with it."""
    workspace, slug = parse(message.name, ROUTE, field="route.name")
    wrong = list(_problems(message.primary, workspace, "route.primary"))
    candidate = None
    if message.HasField("candidate"):
        wrong += _problems(message.candidate, workspace, "route.candidate")
    rate = message.shadow_rate
    if not (math.isfinite(rate) and 0 <= rate <= 1):
        wrong.append(Violation("route.shadow_rate", "must be from 0 to 1"))
    elif rate and not message.HasField("candidate"):
        wrong.append(Violation("route.shadow_rate", "needs a candidate to compare"))
    if wrong:
        raise InvalidFields(wrong)
    primary = _backend(message.primary)
    if message.HasField("candidate"):
        candidate = _backend(message.candidate)
        if candidate == primary:
            raise InvalidFields.one("route.candidate", "must be another backend than the primary")
    return Route(workspace, slug, primary, candidate, rate)


def to_message(route: Route) -> pb.BackendRoute:
    """Returns a route as a message."""
    return pb.BackendRoute(
        name=route.name,
        primary=_message(route.primary),
        candidate=_message(route.candidate) if route.candidate is not None else None,
        shadow_rate=route.shadow_rate,
        etag=route.etag,
        update_time=to_timestamp(route.update_time) if route.update_time is not None else None,
        cut_over_time=to_timestamp(route.cut_over_time) if route.cut_over_time is not None else None,
    )


def _problems(message: pb.Backend, workspace: str, field: str) -> Iterator[Violation]:
    kind = message.WhichOneof("kind")
    if kind == "gateway":
        pattern = f"workspaces/{workspace}/connections/"
        connection = message.gateway.connection
        if not connection.startswith(pattern) or not _ID.fullmatch(connection.removeprefix(pattern)):
            yield Violation(f"{field}.gateway.connection", "must be a connection of the same workspace")
        if message.gateway.integration and not _REMOTE.fullmatch(message.gateway.integration):
            yield Violation(f"{field}.gateway.integration", "must be one word of at most 255 ASCII characters")
    elif kind != "hub" and message.connections:
        yield Violation(f"{field}.connections", "are called what they are called here: the backend is direct")
        return
    if len(message.connections) > MOST_CONNECTIONS:
        yield Violation(f"{field}.connections", f"must be at most {MOST_CONNECTIONS}")
        return
    yield from _listed(message, field)


def _listed(message: pb.Backend, field: str) -> Iterator[Violation]:
    seen = set()
    for index, one in enumerate(message.connections):
        here = f"{field}.connections[{index}]"
        if not _ID.fullmatch(one.connection):
            yield Violation(f"{here}.connection", "must be the id of a connection")
        elif one.connection in seen:
            yield Violation(f"{here}.connection", "is there twice")
        seen.add(one.connection)
        if not _REMOTE.fullmatch(one.remote):
            yield Violation(f"{here}.remote", "must be one word of at most 255 ASCII characters")
        if one.environment and not _ID.fullmatch(one.environment):
            yield Violation(f"{here}.environment", "must be the name of an environment")
        if one.configuration and not one.environment:
            yield Violation(f"{here}.configuration", "is the connection's own, unless it has an environment")
        if "\0" in "".join([*one.configuration, *one.configuration.values()]):
            yield Violation(f"{here}.configuration", "must not hold the character NUL")


def _backend(message: pb.Backend) -> Backend:
    kind = message.WhichOneof("kind")
    connections = tuple(
        RemoteConnection(one.connection, one.remote, one.environment, dict(one.configuration))
        for one in message.connections
    )
    if kind == "hub":
        return Backend(Kind.HUB, connections=connections)
    if kind != "gateway":
        return DIRECT
    return Backend(Kind.GATEWAY, message.gateway.connection, message.gateway.integration, connections)


def _message(backend: Backend) -> pb.Backend:
    if backend.kind is Kind.DIRECT:
        return pb.Backend(direct=pb.DirectBackend())
    connections = [
        pb.RemoteConnection(
            connection=one.connection,
            remote=one.remote,
            environment=one.environment,
            configuration=one.configuration,
        )
        for one in backend.connections
    ]
    if backend.kind is Kind.HUB:
        return pb.Backend(hub=pb.HubBackend(), connections=connections)
    gateway = pb.GatewayBackend(connection=backend.connection, integration=backend.integration)
    return pb.Backend(gateway=gateway, connections=connections)


def to_comparison(name: str, sums: list[Sums], seen: list[Seen]) -> pb.Comparison:
    """Returns what a comparison has shown as a message."""
    message = pb.Comparison(name=name)
    for one in sums:
        about = message.actions.add(**asdict(one))
        for each in seen:
            if each.action != one.action:
                continue
            if each.kind == FAILED:
                about.reasons[each.pointer] = each.calls
            elif len(about.differences) < MOST:
                about.differences.add(
                    pointer=each.pointer,
                    kind=pb.FieldDifference.Kind.Value(f"KIND_{each.kind.upper()}"),
                    primary=each.primary,
                    candidate=each.candidate,
                    calls=each.calls,
                    last_call=each.last_call,
                )
    return message
