"""Who may call what: the rules written in the protos, as one table from method to rule.

The rule of a method is its `(cordboard.common.v1.access)` option. A method without one keeps its service from
starting. Methods of other people's protos (health, reflection, OTLP, flagd) have their rules here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool, message_factory

from cordboard.common.v1 import options_pb2
from cordboard.core.errors import AccessDenied, NotFound, TokenInvalid

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from cordboard.core.caller import Caller

SERVICES: Final = ("catalog", "auth", "uqi", "flags", "proxy", "telemetry")
GATEWAY: Final = "envoy"
CLIENTS: Final = "client/"


class RuleMissing(RuntimeError):
    """A method has no access rule, so its service does not start."""


@dataclass(frozen=True)
class Rule:
    """One method's access rule."""

    roles: frozenset[str] = frozenset()
    peers: frozenset[str] = frozenset()
    public: bool = False
    workspace_field: str = ""
    relays: frozenset[str] = frozenset()
    """Services that may call with the token of whom they act for."""


@dataclass(frozen=True)
class Method:
    """One method of a service that runs here."""

    path: str
    """`package.Service/Method`, as in errors and spans."""
    rule: Rule
    request_class: Any = field(repr=False)
    """The message class of the request."""


ANY_PEER: Final = Rule(peers=frozenset({*SERVICES, GATEWAY}), public=True)
ANY_WORKSPACE: Final = Rule(roles=frozenset({"reader", "member", "workspace-admin", "publisher", "operator"}))
FOREIGN: Final[dict[str, Rule]] = {
    "flagd.evaluation.v1.Service": ANY_WORKSPACE,
    "flagd.evaluation.v2.Service": ANY_WORKSPACE,
    "flagd.sync.v1.FlagSyncService": ANY_WORKSPACE,
    "grpc.health.v1.Health": ANY_PEER,
    "grpc.reflection.v1alpha.ServerReflection": Rule(peers=frozenset({"client/operator"})),
    "opentelemetry.proto.collector.trace.v1.TraceService": Rule(peers=frozenset({*SERVICES, GATEWAY})),
    "opentelemetry.proto.collector.logs.v1.LogsService": Rule(peers=frozenset({*SERVICES, GATEWAY})),
    "opentelemetry.proto.collector.metrics.v1.MetricsService": Rule(peers=frozenset({*SERVICES, GATEWAY})),
}


def methods(service: str) -> dict[str, Method]:
    """Returns the methods of a service by gRPC path (`/package.Service/Method`); raises RuleMissing."""
    descriptor = descriptor_pool.Default().FindServiceByName(service)
    found = {}
    for method in descriptor.methods:
        path = f"{service}/{method.name}"
        found[f"/{path}"] = Method(
            path, FOREIGN.get(service) or _declared(method), message_factory.GetMessageClass(method.input_type)
        )
    return found


def _declared(method: MethodDescriptor) -> Rule:
    options = method.GetOptions()
    if not options.HasExtension(options_pb2.access):
        raise RuleMissing(f"{method.full_name} has no access rule")
    declared = options.Extensions[options_pb2.access]
    rule = Rule(
        roles=frozenset(role_name(role) for role in declared.roles),
        peers=frozenset(declared.peers),
        public=declared.public,
        workspace_field=declared.workspace_field,
        relays=frozenset(declared.relays),
    )
    if not (rule.roles or rule.peers or rule.public):
        raise RuleMissing(f"{method.full_name} has an access rule that lets nobody in")
    return rule


def role_name(role: int) -> str:
    """Returns a role as it stands in tokens: `workspace-admin`."""
    return options_pb2.Role.Name(role).removeprefix("ROLE_").lower().replace("_", "-")  # type: ignore[arg-type]


def check(method: Method, caller: Caller) -> None:
    """Returns when the caller may call the method; raises TokenInvalid (none came) or AccessDenied."""
    rule = method.rule
    if rule.public or caller.peer in rule.peers:
        return
    # A token speaks only through Envoy or a client with a certificate: a service that holds a caller's token is not
    # thereby the caller, unless the rule lets it pass tokens on.
    if caller.peer == GATEWAY or caller.peer.startswith(CLIENTS) or caller.peer in rule.relays:
        if rule.roles and not caller.token_id:
            raise TokenInvalid("missing")
        if caller.roles & rule.roles:
            return
    raise AccessDenied(method.path)


def check_workspace(method: Method, caller: Caller, request: Message) -> None:
    """Returns when the workspace that the request names is the caller's; raises NotFound, as for one that is not there.

    An operator, and a service that came without a token, may name any.
    """
    if not method.rule.workspace_field or caller.is_operator or not caller.token_id:
        return
    value: Any = request
    for part in method.rule.workspace_field.split("."):
        value = getattr(value, part)
    # An empty or misshapen name is left to validation, which says what is wrong with it.
    if isinstance(value, str) and value.startswith("workspaces/") and value.split("/")[1] != caller.workspace:
        raise NotFound(value)
