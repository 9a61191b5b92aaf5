"""Every RPC of every service, called by everybody: what is observed is what the rule in the proto says, and no more.

The rules are read here a second time, from the descriptors, by other code than the mesh's own.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor

import tests.contract.services as contract
from cordboard.auth.v1 import api_key_service_pb2 as api_keys
from cordboard.auth.v1 import revocation_service_pb2 as revocations
from cordboard.common.v1 import options_pb2
from cordboard.core import access
from cordboard.local.certificates import SERVICES
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import ROLES, RunningMesh, until

WORKSPACE: Final = "matrix"
OTHER: Final = "elsewhere"
IN: Final = "let in"
# What somebody is told who was let in: the requests are wrong behind the workspace that they name. Any other code is
# named as it is: no decision about who may call ends so.
TOLD_INSIDE: Final = frozenset(
    {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
)
REFUSALS: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"})
# What lets everybody ask, and answers a browser's cookie alone. None of these callers has one.
BY_COOKIE: Final = frozenset({"auth:/cordboard.auth.v1.LoginService/IssueSessionToken"})
BROKEN: Final = (
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
# Calls at a time: all of them at once would wait for each other longer than a call may take.
AT_ONCE: Final = 64


@dataclass(frozen=True)
class Caller:
    """Somebody who calls: a certificate, and perhaps a token."""

    name: str
    peer: str
    """The path of the certificate's SPIFFE id."""
    identity: str
    """The name of the certificate's directory."""
    roles: tuple[str, ...] = ()
    workspace: str = ""
    credential: str = ""
    """What is special about what it comes with: `api key`, `bound` to its certificate, or `revoked`, `bound elsewhere`
    or `two`, which are no credentials at all."""

    @property
    def refused(self) -> bool:
        """Tells whether what it comes with is not accepted by anybody."""
        return self.credential in ("revoked", "revoked api key", "bound elsewhere", "two")


CALLERS: Final = (
    Caller("no token", "envoy", "envoy"),
    *(
        Caller(role, "envoy", "envoy", (role,), WORKSPACE)
        for role in ("reader", "member", "workspace-admin", "publisher", "operator")
    ),
    Caller("another workspace's member", "envoy", "envoy", ("member",), OTHER),
    Caller("another workspace's admin", "envoy", "envoy", ("workspace-admin",), OTHER),
    Caller("another workspace's publisher", "envoy", "envoy", ("publisher",), OTHER),
    Caller("the operator's certificate", "client/operator", "operator"),
    Caller("a client's certificate and a member's token", "client/backend", "backend", ("member",), WORKSPACE),
    *(
        Caller(f"a {role}'s API key", "envoy", "envoy", (role,), WORKSPACE, "api key")
        for role in ("reader", "member", "workspace-admin", "publisher")
    ),
    Caller("another workspace's API key", "envoy", "envoy", ("workspace-admin",), OTHER, "api key"),
    Caller("a service that holds an API key", "uqi", "uqi", ("member",), WORKSPACE, "api key"),
    Caller("a revoked API key", "envoy", "envoy", ("workspace-admin",), WORKSPACE, "revoked api key"),
    Caller("a bound token and its certificate", "client/backend", "backend", ("member",), WORKSPACE, "bound"),
    Caller("a bound token without its certificate", "envoy", "envoy", ("member",), WORKSPACE, "bound elsewhere"),
    Caller("a revoked operator's token", "envoy", "envoy", ("operator",), "", "revoked"),
    Caller("a member's token and an API key", "envoy", "envoy", ("member",), WORKSPACE, "two"),
    Caller("a service that holds an operator's token", "uqi", "uqi", ("operator",)),
    *(Caller(f"service {service}", service, service) for service in SERVICES),
)


@dataclass(frozen=True)
class Rule:
    """An access rule, as the proto has it."""

    roles: frozenset[str]
    peers: frozenset[str]
    public: bool
    workspace_field: str
    relays: frozenset[str] = frozenset()


# Other people's protos carry no rules of ours.
INSIDE: Final = frozenset({*SERVICES, "envoy"})
FOREIGN: Final = {
    "grpc.health.v1.Health": Rule(frozenset(), frozenset(), True, ""),
    "grpc.reflection.v1alpha.ServerReflection": Rule(frozenset(), frozenset({"client/operator"}), False, ""),
    "opentelemetry.proto.collector.trace.v1.TraceService": Rule(frozenset(), INSIDE, False, ""),
    "opentelemetry.proto.collector.metrics.v1.MetricsService": Rule(frozenset(), INSIDE, False, ""),
}


def rule_of(method: contract.Method) -> Rule:
    """Returns the rule that a method's proto declares."""
    foreign = FOREIGN.get(method.descriptor.containing_service.full_name)
    if foreign is not None:
        return foreign
    declared = method.descriptor.GetOptions().Extensions[options_pb2.access]
    names = (options_pb2.Role.Name(role) for role in declared.roles)
    return Rule(
        frozenset(name.removeprefix("ROLE_").lower().replace("_", "-") for name in names),
        frozenset(declared.peers),
        declared.public,
        declared.workspace_field,
        frozenset(declared.relays),
    )


def expected(rule: Rule, caller: Caller) -> str:
    """Returns what has to happen, from the rule alone."""
    if rule.public:
        return IN
    if caller.refused:
        return "UNAUTHENTICATED"
    if caller.peer in rule.peers:
        return IN
    speaks = caller.peer == "envoy" or caller.peer.startswith("client/") or caller.peer in rule.relays
    if not speaks:
        return "PERMISSION_DENIED"
    if not caller.roles:
        return "UNAUTHENTICATED" if rule.roles else "PERMISSION_DENIED"
    if not rule.roles & set(caller.roles):
        return "PERMISSION_DENIED"
    if rule.workspace_field and caller.workspace != WORKSPACE and "operator" not in caller.roles:
        return "NOT_FOUND"
    return IN


def request_of(method: contract.Method, rule: Rule) -> Any:
    """Makes a request that names the workspace where it has to, and is wrong behind that: who is let in is told so."""
    request = message_factory.GetMessageClass(method.descriptor.input_type)()
    if rule.workspace_field:
        *path, last = rule.workspace_field.split(".")
        holder = request
        for part in path:
            holder = getattr(holder, part)
        setattr(holder, last, f"workspaces/{WORKSPACE}/?")
    return request


async def observed(
    channel: grpc.aio.Channel, method: contract.Method, request: Any, credentials: tuple[tuple[str, str], ...]
) -> str:
    """Calls, and returns what happened."""
    for attempt in range(10):
        # Each call from an address of its own: who sends bad API keys is slowed down, by address.
        more = (*credentials, ("x-envoy-external-address", uuid4().hex))
        code = await contract.call(channel, method, request.SerializeToString(), more=more)
        # On a busy machine a connection breaks now and then, a stream is reset before its status is read, or a call
        # takes too long: that is no decision about the caller. A service that answers so every time is still found.
        if code not in BROKEN:
            break
        await asyncio.sleep(0.2 * attempt)
    return IN if code in TOLD_INSIDE else str(code.name)


@pytest.fixture(scope="module")
def matrix(desk: Desk) -> Iterator[dict[tuple[str, str], str]]:
    """What happened to every caller at every method."""
    mesh = desk.mesh
    mesh.mesh.issue_identity("backend", "client/backend")
    yield mesh.backstage.run(_called_by_everybody(mesh))


async def _called_by_everybody(mesh: RunningMesh) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    tokens = {caller: await _credentials(mesh, caller) async for caller in _callers(mesh)}
    await _until_revoked(mesh, tokens)
    for service in SERVICES:
        channels = {identity: mesh.channel(service, identity) for identity in {each.identity for each in CALLERS}}
        try:
            cells = [(method, caller) for method in contract.methods(service) for caller in CALLERS]
            free = asyncio.Semaphore(AT_ONCE)

            async def outcome_of(
                method: contract.Method,
                caller: Caller,
                channels: Mapping[str, grpc.aio.Channel] = channels,
                free: asyncio.Semaphore = free,
            ) -> str:
                request = request_of(method, rule_of(method))
                async with free:
                    return await observed(channels[caller.identity], method, request, tokens[caller])

            outcomes = await asyncio.gather(*(outcome_of(method, caller) for method, caller in cells))
        finally:
            for channel in channels.values():
                await channel.close()
        for (method, caller), outcome in zip(cells, outcomes, strict=True):
            found[f"{service}:{method.path}", caller.name] = outcome
    return found


async def _callers(mesh: RunningMesh) -> AsyncIterator[Caller]:
    from cordboard.auth.v1 import workspace_service_pb2 as workspaces

    async with mesh.operator() as operator:
        for workspace in (WORKSPACE, OTHER):
            await operator.workspaces.CreateWorkspace(
                workspaces.CreateWorkspaceRequest(
                    workspace_id=workspace, workspace=workspaces.Workspace(tier="business", region="eu")
                )
            )
    for caller in CALLERS:
        yield caller


async def _credentials(mesh: RunningMesh, caller: Caller) -> tuple[tuple[str, str], ...]:
    if not caller.roles:
        return ()
    bound = {"certificate_thumbprint": _thumbprint(mesh, "backend")} if "bound" in caller.credential else {}
    token = await mesh.token(*caller.roles, workspace=caller.workspace, **bound)
    bearer = ("authorization", f"Bearer {token}")
    async with mesh.operator() as operator:
        if caller.credential == "revoked":
            token_id = jwt.decode(token, options={"verify_signature": False})["jti"]
            await operator.revocations.RevokeToken(revocations.RevokeTokenRequest(name=f"tokens/{token_id}"))
        if "api key" not in caller.credential and caller.credential != "two":
            return (bearer,)
        request = api_keys.CreateApiKeyRequest(
            parent=f"workspaces/{caller.workspace}", environment="production", roles=[ROLES[r] for r in caller.roles]
        )
        made = await operator.api_keys.CreateApiKey(request)
        if caller.credential == "revoked api key":
            await operator.api_keys.RevokeApiKey(api_keys.RevokeApiKeyRequest(name=made.api_key.name))
    key = ("x-api-key", made.secret)
    return (bearer, key) if caller.credential == "two" else (key,)


async def _until_revoked(mesh: RunningMesh, tokens: Mapping[Caller, tuple[tuple[str, str], ...]]) -> None:
    [revoked] = [found for caller, found in tokens.items() if caller.credential == "revoked"]
    for service in SERVICES:
        # Reflection is for the operator's certificate, and refuses a bad token before it looks at that.
        method = next(each for each in contract.methods(service) if not rule_of(each).public)
        async with mesh.channel(service, "envoy") as channel:

            async def refused(method: contract.Method = method, channel: grpc.aio.Channel = channel) -> bool:
                outcome = await observed(channel, method, request_of(method, rule_of(method)), revoked)
                return outcome == "UNAUTHENTICATED"

            await until(refused, f"{service} to know what was revoked")


def _thumbprint(mesh: RunningMesh, identity: str) -> str:
    leaf = x509.load_pem_x509_certificate((mesh.mesh.identity_dir(identity) / "tls.crt").read_bytes())
    return base64.urlsafe_b64encode(leaf.fingerprint(hashes.SHA256())).rstrip(b"=").decode()


def deviations(matrix: Mapping[tuple[str, str], str], rules: Mapping[str, Rule]) -> list[str]:
    """Returns every cell that is not what these rules say."""
    callers = {caller.name: caller for caller in CALLERS}
    return [
        f"{method} by {name}: expected {wanted}, observed {outcome}"
        for (method, name), outcome in matrix.items()
        if outcome != (wanted := "UNAUTHENTICATED" if method in BY_COOKIE else expected(rules[method], callers[name]))
    ]


def _rules() -> dict[str, Rule]:
    return {f"{service}:{method.path}": rule_of(method) for service in SERVICES for method in contract.methods(service)}


def test_every_rpc_has_an_access_rule() -> None:
    counted = 0
    for service in SERVICES:
        for method in contract.methods(service):
            rule = rule_of(method)
            assert rule.roles or rule.peers or rule.public, method.path
            if rule.workspace_field:
                _holds_text(method.descriptor, rule.workspace_field)
            counted += 1
    assert counted > 40


def _holds_text(method: MethodDescriptor, path: str) -> None:
    message: Any = method.input_type
    *parts, last = path.split(".")
    for part in parts:
        message = message.fields_by_name[part].message_type
    field = message.fields_by_name[last]
    assert field.type == field.TYPE_STRING, f"{method.full_name}: {path}"


def test_a_service_with_a_method_without_a_rule_does_not_start() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="matrix/bare.proto", package="matrix", syntax="proto3")
    file.message_type.add(name="Request")
    file.service.add(name="Bare").method.add(name="Do", input_type=".matrix.Request", output_type=".matrix.Request")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(access.RuleMissing, match=r"matrix\.Bare\.Do has no access rule"):
        access.methods("matrix.Bare")


def test_every_rpc_lets_in_exactly_those_whom_its_rule_names(matrix: dict[tuple[str, str], str]) -> None:
    rules = _rules()
    assert deviations(matrix, rules) == []
    counted = Counter(matrix.values())
    print(f"\naccess matrix: {len(rules)} RPCs x {len(CALLERS)} callers = {len(matrix)} cells, 0 deviations; {counted}")
    assert len(matrix) == len(rules) * len(CALLERS)
    assert len(matrix) > 700
    # Every kind of outcome occurs, so none of them is what everybody gets.
    assert set(counted) == {IN, *REFUSALS}


def test_a_rule_that_is_wider_or_narrower_than_what_is_enforced_is_noticed(matrix: dict[tuple[str, str], str]) -> None:
    rules = _rules()
    for name, rule in rules.items():
        if rule.public:
            continue
        wider = replace(rule, public=True)
        assert deviations(matrix, rules | {name: wider}), f"{name}: nobody is kept out"
        if rule.roles:
            assert deviations(matrix, rules | {name: replace(rule, roles=frozenset())}), f"{name}: no role is let in"
        if rule.workspace_field:
            careless = replace(rule, workspace_field="")
            assert deviations(matrix, rules | {name: careless}), f"{name}: another workspace is let in"
