"""The trace of a call: every hop is an edge with the right parent, from the caller's header to the vendor's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pytest
import pytest_asyncio

from cordboard.client import Client, NotFound
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import new_traceparent, until

EXECUTE: Final = "cordboard.proxy.v1.ProxyService/Execute"
LEASE: Final = "cordboard.auth.v1.CredentialService/LeaseCredential"
STAGES: Final = ("admit", "resolve", "gate", "authorise", "plan", "guard", "send", "interpret", "record")
TICKET: Final = {"subject": "A story in spans", "requester_id": "con_00000001"}


class Story:
    """The spans of one trace, and the questions that a test asks of them."""

    def __init__(self, spans: Sequence[pb.Span]) -> None:
        self._spans = spans
        self._children: dict[str, list[pb.Span]] = defaultdict(list)
        for span in spans:
            self._children[span.parent_span_id].append(span)

    def child(self, parent: str, service: str, kind: pb.Span.Kind.ValueType, name: str = "") -> pb.Span:
        """Returns the one child of a span that fits."""
        [found] = [
            span
            for span in self._children[parent]
            if span.service == service and span.kind == kind and (not name or span.name == name)
        ]
        return found

    def children(self, parent: str) -> list[pb.Span]:
        """Returns the children of a span."""
        return self._children[parent]

    def below(self, ancestor: str) -> list[pb.Span]:
        """Returns every span below one."""
        found = list(self._children[ancestor])
        for span in found:
            found.extend(self._children[span.span_id])
        return found


def attempt_of(spans: Sequence[pb.Span], caller: str) -> pb.Span:
    """Returns the vendor attempt of an Execute that the span `caller` made; fails unless every hop is there."""
    story = Story(spans)
    came_in = story.child(caller, "envoy", pb.Span.KIND_SERVER)
    went_on = story.child(came_in.span_id, "envoy", pb.Span.KIND_CLIENT)
    served = story.child(went_on.span_id, "proxy", pb.Span.KIND_SERVER, EXECUTE)
    assert served.attributes["rpc.response.status_code"] == "OK"
    # A stage that waits for others is a span, one that only computes is an event of the call's own span.
    spent = [span.name for span in story.children(served.span_id) if span.name.startswith("proxy.")]
    noted = [event.name for event in served.events if event.name.startswith("proxy.")]
    assert {*spent, *noted} == {f"proxy.{stage}" for stage in STAGES}
    assert list(dict.fromkeys(noted)) == [f"proxy.{stage}" for stage in STAGES if f"proxy.{stage}" in noted]
    statements = [span for span in story.below(served.span_id) if "db.system.name" in span.attributes]
    assert statements, "no SQL statement below the call"
    assert {span.service for span in statements} <= {"proxy", "auth"}
    return story.child(served.span_id, "proxy", pb.Span.KIND_CLIENT, "proxy.send")


async def spans_of(operator: Client, trace_id: str) -> list[pb.Span]:
    """Returns the spans of a trace once those of Envoy and of the Proxy's call are there: what ends last comes last."""

    async def whole() -> list[pb.Span]:
        try:
            trace = await operator.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{trace_id}"))
        except NotFound:
            return []
        ended = Counter((span.service, span.kind) for span in trace.spans)
        calls = ended["envoy", pb.Span.KIND_SERVER]
        there = calls and calls == ended["envoy", pb.Span.KIND_CLIENT] == _served(trace)
        return list(trace.spans) if there else []

    return await until(whole, f"the trace {trace_id}")


def _served(trace: pb.Trace) -> int:
    routed = {span.span_id for span in trace.spans if span.service == "envoy" and span.kind == pb.Span.KIND_CLIENT}
    return sum(1 for span in trace.spans if span.parent_span_id in routed)


@dataclass(frozen=True)
class Traced:
    """One Execute and what the mesh tells of it."""

    trace_id: str
    caller: str
    """The span id of the caller, who is outside the mesh."""
    spans: list[pb.Span]


@pytest_asyncio.fixture
async def traced(desk: Desk, northwind: Tenant, member: Client, operator: Client) -> Traced:
    """An Execute that a caller with a trace of its own made."""
    # A credential that ended meanwhile is renewed by a call that nobody looks at.
    await desk.reach(member, northwind)
    trace_id, header = new_traceparent()
    async with desk.mesh.client(northwind.token, traceparent=lambda: header) as client:
        result = await client.execute(northwind.connection, "create_ticket", TICKET, idempotency_key=trace_id)
    assert result.call.trace_id == trace_id
    return Traced(trace_id, header.split("-")[2], await spans_of(operator, trace_id))


async def test_every_hop_of_an_execute_is_an_edge(desk: Desk, traced: Traced) -> None:
    attempt = attempt_of(traced.spans, traced.caller)
    assert attempt.attributes["http.response.status_code"] == "201"
    # The vendor can go on with the trace: it was told of this very attempt, and of no other.
    told = {request["headers"].get("traceparent", "") for request in desk.requests()}
    assert {each for each in told if traced.trace_id in each} == {f"00-{traced.trace_id}-{attempt.span_id}-01"}


async def test_a_trace_without_a_hop_is_noticed(traced: Traced) -> None:
    caller, spans = traced.caller, traced.spans
    attempt_of(spans, caller)
    borders = (pb.Span.KIND_SERVER, pb.Span.KIND_CLIENT)
    needed = [span for span in spans if span.kind in borders and "db.system.name" not in span.attributes]
    assert len(needed) == 4
    for missing in needed:
        with pytest.raises((ValueError, AssertionError)):
            attempt_of([span for span in spans if span is not missing], caller)
    # A hop that hangs somewhere else is as good as none.
    for moved in needed:
        elsewhere = pb.Span()
        elsewhere.CopyFrom(moved)
        elsewhere.parent_span_id = "0" * 16
        with pytest.raises((ValueError, AssertionError)):
            attempt_of([elsewhere if span is moved else span for span in spans], caller)


async def test_the_lease_of_a_credential_is_in_the_trace_too(desk: Desk, operator: Client) -> None:
    tenant = await desk.tenant()
    found: list[list[pb.Span]] = []

    async def leased() -> bool:
        # A new credential: what the Proxy holds ends, and the next call asks Auth.
        trace_id, header = new_traceparent()
        async with desk.mesh.client(tenant.token, traceparent=lambda: header) as client:
            await desk.connect(client, tenant.workspace, "api_key")
            await client.execute(tenant.connection, "get_me")
        found.append(await spans_of(operator, trace_id))
        return LEASE in {span.name for span in found[-1]}

    await until(leased, "a call that leases its credential")
    story = Story(found[-1])
    asked = next(span for span in found[-1] if span.name == LEASE and span.kind == pb.Span.KIND_CLIENT)
    [authorise] = [span for span in found[-1] if span.span_id == asked.parent_span_id]
    assert (authorise.service, authorise.name) == ("proxy", "proxy.authorise")
    answered = story.child(asked.span_id, "auth", pb.Span.KIND_SERVER, LEASE)
    assert any("db.system.name" in span.attributes for span in story.below(answered.span_id))


async def test_no_span_of_a_call_holds_a_secret(desk: Desk, northwind: Tenant, traced: Traced) -> None:
    told = "\n".join(str(span) for span in traced.spans)
    assert TICKET["subject"] not in told, "a span holds what the caller sent"
    assert northwind.token not in told
    assert not any(secret in told for secret in (desk.vendor.settings.client_secret, desk.vendor.settings.api_key))
    assert "acme_at_" not in told
    # The look is not blind: what spans may hold is found by it.
    assert northwind.workspace in told
