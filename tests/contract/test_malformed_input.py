"""Malformed input, straight at each service's port: it is refused with a reason, never with INTERNAL or UNKNOWN."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.struct_pb2 import Value

import tests.contract.services as contract
from cordboard.client import AlreadyExists
from cordboard.common.v1 import options_pb2
from cordboard.core.access import role_name
from cordboard.core.paging import Paging
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.certificates import SERVICES
from tests.contract.mutations import Mutations
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh

INPUTS: Final = 3_000
# Another one by CORDBOARD_FUZZ_SEED, and the same one again from the line that the test prints.
SEED: Final = int(os.environ.get("CORDBOARD_FUZZ_SEED", "20260105"))
AT_ONCE: Final = 32
TRIES: Final = 8
WORKSPACE: Final = "fuzz"
OURS: Final = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
# The first makes a key of 2048 bits, whatever is sent: a few are as good as many. The second can end the very tokens
# that all of this comes with.
COSTLY: Final = {"RotateSigningKey": 3, "RevokeAllTokens": 0}


@dataclass
class Outcome:
    """What came of the inputs to one service."""

    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, method: contract.Method, request: bytes, code: grpc.StatusCode) -> None:
        """Counts an answer, and keeps the input of one that is a fault."""
        self.codes[code.name] += 1
        if code in OURS:
            self.faults.append(f"{method.path} {code.name}: {request[:400].hex()}")


@dataclass(frozen=True)
class Door:
    """A way to a service: a certificate, and perhaps a token."""

    identity: str
    token: str = ""


@pytest.fixture(scope="module")
def tokens(desk: Desk) -> dict[str, str]:
    """Tokens of the operator, and of a member of a workspace that is made to be thrown at."""
    return desk.mesh.backstage.run(prepare(desk))


async def prepare(desk: Desk) -> dict[str, str]:
    """Makes the workspace `fuzz` with its connection, and the flag `fuzz`; returns the tokens to come with."""
    # Another module of the same run may have made it.
    with contextlib.suppress(AlreadyExists):
        await desk.tenant(WORKSPACE)
    async with desk.mesh.operator() as operator:
        variants = {"on": Value(bool_value=True)}
        await operator.flags.PutFlag(
            flags.PutFlagRequest(flag=flags.Flag(name="flags/fuzz", variants=variants, default_variant="on"))
        )
    return {
        "operator": await desk.mesh.token("operator", "publisher"),
        "member": await desk.mesh.token("reader", "member", "workspace-admin", workspace=WORKSPACE),
    }


def doors(method: contract.Method, tokens: dict[str, str]) -> list[Door]:
    """Returns the ways by which a method can be reached: input that access stops has tested nothing."""
    rule = method.descriptor.GetOptions().Extensions[options_pb2.access]
    roles = {role_name(role) for role in rule.roles}
    found = [Door("envoy", tokens[role]) for role in ("operator", "member") if role in roles]
    found += [Door(peer.removeprefix("client/")) for peer in rule.peers]
    if "Reflection" in method.path:
        return [Door("operator")]
    return found or [Door("proxy")]


async def attack(mesh: RunningMesh, service: str, tokens: dict[str, str], inputs: int, seed: int) -> Outcome:
    """Sends wrong requests to every method of a service in turn, many at once; returns what came of them."""
    made, outcome = Mutations(seed), Outcome()
    every = contract.methods(service)
    # Most of it to what is ours; health and reflection are the same everywhere.
    methods = [method for method in every if "cordboard" in method.path] * 4 + every
    budget = dict(COSTLY)
    identities = {door.identity for method in methods for door in doors(method, tokens)}
    channels = {identity: mesh.channel(service, identity) for identity in identities}

    def work() -> Iterator[tuple[contract.Method, Door, bytes]]:
        number = sent = 0
        while sent < inputs:
            method = methods[number % len(methods)]
            ways = doors(method, tokens)
            door = ways[number // len(methods) % len(ways)]
            number += 1
            if budget.get(method.descriptor.name, 1) <= 0:
                continue
            if method.descriptor.name in budget:
                budget[method.descriptor.name] -= 1
            sent += 1
            yield method, door, made.request(method.descriptor)

    todo = work()

    async def worker() -> None:
        for method, door, request in todo:
            for attempt in range(TRIES):
                await asyncio.sleep(0.2 * attempt)
                code = await contract.call(channels[door.identity], method, request, door.token)
                # A service may say that it is too busy; it may not go on saying so.
                if code is not grpc.StatusCode.UNAVAILABLE:
                    break
            outcome.note(method, request, code)

    try:
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    finally:
        for channel in channels.values():
            await channel.close()
    return outcome


@pytest.mark.parametrize("service", SERVICES)
async def test_malformed_input_is_never_a_fault_of_ours(desk: Desk, tokens: dict[str, str], service: str) -> None:
    mesh = desk.mesh
    before = mesh.restarts(), mesh.pids()
    began = time.monotonic()
    outcome = await attack(mesh, service, tokens, INPUTS, SEED)
    took = time.monotonic() - began
    print(f"\n{service}: {outcome.codes.total()} inputs in {took:.1f} s, seed {SEED}: {dict(outcome.codes)}")
    assert outcome.codes.total() >= INPUTS
    assert not outcome.faults, "\n".join(outcome.faults[:20])
    # A service that answers nothing in time is as good as one that fell over.
    assert outcome.codes["DEADLINE_EXCEEDED"] == outcome.codes["UNAVAILABLE"] == 0
    # The inputs got past access to what reads them, and not all of them were wrong.
    assert outcome.codes["INVALID_ARGUMENT"] > INPUTS / 4
    assert outcome.codes["OK"] > 0
    assert outcome.codes["PERMISSION_DENIED"] + outcome.codes["UNAUTHENTICATED"] < INPUTS / 20
    assert (mesh.restarts(), mesh.pids()) == before


# What a list might take for the last key of a page; a token's binding is no secret.
KEYS: Final = ("x", "-1", "9" * 40, "1.5", "[]", '["a"]', "{}", "a/b/c", "a:b:c:d", "1:2:3:zz", "\u00e9", "%", "'", " ")
PARENTS: Final = (f"workspaces/{WORKSPACE}", "integrations/acme-desk", "flags/fuzz")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_forged_page_token_is_refused_or_leads_to_a_page(
    desk: Desk, tokens: dict[str, str], service: str
) -> None:
    outcome, lists = Outcome(), 0
    for method in contract.methods(service):
        if "page_token" not in method.descriptor.input_type.fields_by_name:
            continue
        kind = message_factory.GetMessageClass(method.descriptor.input_type)
        [door, *_] = doors(method, tokens)
        channel = desk.mesh.channel(service, door.identity)
        ended = set()
        for parent in PARENTS if "parent" in kind.DESCRIPTOR.fields_by_name else ("",):
            for key in KEYS:
                request: Any = kind(parent=parent) if parent else kind()
                request.page_token = Paging.of(request).token(key)
                forged = request.SerializeToString()
                code = await contract.call(channel, method, forged, door.token)
                outcome.note(method, forged, code)
                ended.add(code)
        await channel.close()
        # Some way, a page was looked for.
        assert ended & {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, (method.path, ended)
        lists += 1
    assert lists
    assert not outcome.faults, "\n".join(outcome.faults[:20])


def test_the_same_seed_makes_the_same_inputs() -> None:
    for method in contract.methods("auth")[:5]:
        one, two, other = (Mutations(seed).request(method.descriptor) for seed in (7, 7, 8))
        assert one == two
        streams = [Mutations(seed) for seed in (7, 8)]
        assert [streams[0].request(method.descriptor) for _ in range(9)] != [
            streams[1].request(method.descriptor) for _ in range(9)
        ]
        assert isinstance(other, bytes)


def test_a_fault_is_noticed() -> None:
    outcome = Outcome()
    [method, *_] = contract.methods("flags")
    outcome.note(method, b"\x01\x02", grpc.StatusCode.INVALID_ARGUMENT)
    assert not outcome.faults
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        outcome.note(method, b"\x01\x02", code)
    assert outcome.faults == [f"{method.path} INTERNAL: 0102", f"{method.path} UNKNOWN: 0102"]
