"""What is another workspace's and what is nowhere are told apart by nobody: the same code, words and details."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.rpc import error_details_pb2, status_pb2

import tests.contract.services as contract
from cordboard.local.certificates import SERVICES
from tests.contract.test_access_matrix import AT_ONCE, BROKEN, rule_of
from tests.fixtures.desk import Desk

NOWHERE: Final = "no-such-workspace"
HIDDEN: Final = "<workspace>"
# What a name goes on with: nothing, what every workspace of this test has, what none has, and what is no name.
RESTS: Final = ("", "/connections/desk", "/connections/none", "/calls/none", "/jobs/none", "/?")
ROLES: Final = ("reader", "member", "workspace-admin", "publisher")
Told = tuple[str, str, str]


def request_for(method: contract.Method, field: str, name: str) -> bytes:
    """Returns a request whose workspace field holds a name."""
    request = message_factory.GetMessageClass(method.descriptor.input_type)()
    *path, last = field.split(".")
    holder: Any = request
    for part in path:
        holder = getattr(holder, part)
    setattr(holder, last, name)
    return bytes(request.SerializeToString())


async def told(channel: grpc.aio.Channel, method: contract.Method, request: bytes, token: str) -> Told:
    """Calls; returns code, words and details. What a busy machine breaks is asked again."""
    for attempt in range(10):
        answer = await _told(channel, method, request, token)
        if answer[0] not in {each.name for each in BROKEN}:
            break
        await asyncio.sleep(0.2 * attempt)
    return answer


async def _told(channel: grpc.aio.Channel, method: contract.Method, request: bytes, token: str) -> Told:
    raw: Any = channel
    arguments: dict[str, Any] = {
        "metadata": (("authorization", f"Bearer {token}"),),
        "timeout": contract.TIMEOUT,
    }
    call: Any
    try:
        if method.descriptor.client_streaming:

            async def requests() -> Any:
                yield request

            call = raw.stream_stream(method.path)(requests(), **arguments)
        elif method.descriptor.server_streaming:
            call = raw.unary_stream(method.path)(request, **arguments)
        else:
            call = raw.unary_unary(method.path)(request, **arguments)
            await call
            return "OK", "", ""
        if await call.read() is not grpc.aio.EOF:
            call.cancel()
            return "OK", "", ""
    except grpc.aio.AioRpcError:
        pass
    return (await call.code()).name, await call.details() or "", details_of(await call.trailing_metadata())


def details_of(metadata: Any) -> str:
    """Returns the details of an error as text, without what each call has of its own."""
    status = status_pb2.Status()
    for key, value in metadata or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    found = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        # An id of the request differs each time.
        if detail.TypeName() == "google.rpc.RequestInfo":
            continue
        if detail.Unpack(info):
            kept = {name: told for name, told in info.metadata.items() if name not in ("trace_id", "request_id")}
            found.append(f"{info.domain} {info.reason} {sorted(kept.items())}")
        else:
            found.append(repr(detail.value))
    return "; ".join(found)


def hidden(answer: Told, workspace: str) -> Told:
    """Returns an answer without the name that the caller gave himself."""
    code, words, details = (part.replace(workspace, HIDDEN) for part in answer)
    return code, words, details


async def asked(desk: Desk, mine: str, theirs: str) -> dict[tuple[str, str, str], tuple[Told, Told]]:
    """Asks every RPC that names a workspace, as each role of `mine`, for `theirs` and for one that is nowhere."""
    mesh, found, free = desk.mesh, dict[tuple[str, str, str], tuple[Told, Told]](), asyncio.Semaphore(AT_ONCE)
    tokens = {role: await mesh.token(role, workspace=mine) for role in ROLES}
    for service in SERVICES:
        async with mesh.channel(service, "envoy") as channel:

            async def pair(method: contract.Method, role: str, rest: str, channel: grpc.aio.Channel = channel) -> None:
                field = rule_of(method).workspace_field
                async with free:
                    answers = [
                        hidden(
                            await told(
                                channel,
                                method,
                                request_for(method, field, f"workspaces/{workspace}{rest}"),
                                tokens[role],
                            ),
                            workspace,
                        )
                        for workspace in (theirs, NOWHERE)
                    ]
                found[method.path, role, rest] = (answers[0], answers[1])

            named = [method for method in contract.methods(service) if rule_of(method).workspace_field]
            await asyncio.gather(*(pair(method, role, rest) for method in named for role in ROLES for rest in RESTS))
    return found


def differences(found: dict[tuple[str, str, str], tuple[Told, Told]]) -> list[str]:
    """Returns every pair of answers that differ."""
    return [f"{place}: {theirs} and {nowhere}" for place, (theirs, nowhere) in found.items() if theirs != nowhere]


async def test_what_is_another_workspaces_and_what_is_nowhere_are_answered_alike(desk: Desk) -> None:
    mine, theirs = await desk.tenant(), await desk.tenant()
    found = await asked(desk, mine.workspace, theirs.workspace)
    codes = Counter(answer[0] for answer, _ in found.values())
    print(f"\n{len(found)} pairs of answers for what is another's and what is nowhere: {dict(codes)}")
    assert differences(found) == []
    assert set(codes) == {"NOT_FOUND", "PERMISSION_DENIED"}
    assert codes["NOT_FOUND"] > 500
    # The control: who may see it is told apart what is there from what is nowhere.
    own = await asked(desk, theirs.workspace, theirs.workspace)
    assert len(differences(own)) > 100
