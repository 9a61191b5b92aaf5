"""A mesh that keeps no trace but those that fail or are slow: they are there whole, and the others are not.

The controls: where services do not ask Telemetry what others keep, Auth's part is missing; at a rate of 1 every call is
there, which test_traces.py needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest

from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.client import Client, CordboardError, NotFound
from cordboard.flags.v1.flag_service_pb2 import ListFlagsRequest
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from tests.fixtures.desk import CONNECTION, Desk, Tenant, a_desk
from tests.fixtures.mesh import Backstage, a_mesh, until

LEASE = "cordboard.auth.v1.CredentialService/LeaseCredential"


@pytest.fixture(scope="module")
def sampled(backstage: Backstage, trust: None) -> Iterator[Desk]:
    """Acme Desk at a mesh of its own that picks no trace."""
    with (
        a_mesh(backstage, trace_sample_rate="0", trace_slow_seconds="1.5") as mesh,
        a_desk(mesh, backstage) as desk,
    ):
        yield desk


async def connected(desk: Desk) -> Tenant:
    """Returns a workspace that no call was made for yet: the first one has Auth lease its credential."""
    workspace = f"ws-{uuid4().hex[:12]}"
    async with desk.mesh.operator() as operator:
        made = workspaces.Workspace(customer=workspace, tier="business", region="eu")
        await operator.workspaces.CreateWorkspace(
            workspaces.CreateWorkspaceRequest(workspace_id=workspace, workspace=made)
        )
    tenant = Tenant(workspace, await desk.mesh.token("member", workspace=workspace))
    async with desk.mesh.client(tenant.token) as client:
        await desk.connect(client, workspace, "api_key")
    assert tenant.connection.endswith(CONNECTION)
    return tenant


async def asked(desk: Desk, tenant: Tenant, flags: str) -> tuple[str, str]:
    """Makes a call as part of a trace of the caller's; returns the trace's id, and why the call failed."""
    trace_id = os.urandom(16).hex()
    header = f"00-{trace_id}-{os.urandom(8).hex()}-{flags}"
    async with desk.mesh.client(tenant.token, traceparent=lambda: header) as client:
        try:
            await client.execute(tenant.connection, "get_me")
        except CordboardError as error:
            return trace_id, error.reason
    return trace_id, ""


async def kept(operator: Client, trace_id: str) -> pb.Trace | None:
    try:
        return await operator.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{trace_id}"))
    except NotFound:
        return None


async def whole(operator: Client, trace_id: str, *services: str) -> pb.Trace:
    """Returns a trace once these services' spans are in it."""

    async def there() -> list[pb.Trace]:
        found = await kept(operator, trace_id)
        return [found] if found is not None and set(services) <= set(found.services) else []

    [found] = await until(there, f"the trace {trace_id} with spans of {', '.join(services)}")
    return found


async def test_a_call_that_fails_is_kept_at_every_hop_and_one_that_does_not_is_nowhere(sampled: Desk) -> None:
    tenant = await connected(sampled)
    async with sampled.mesh.operator() as operator:
        with sampled.broken(status=503):

            async def failed() -> str:
                # Until the connection is known to the Proxy, a call fails for another reason, and earlier.
                trace_id, reason = await asked(sampled, tenant, "00")
                return trace_id if reason == "VENDOR_ERROR" else ""

            trace_id = await until(failed, "a call that the vendor fails")
        # Nobody was asked to record it, and yet: what went well at Auth is there because the Proxy's part failed.
        trace = await whole(operator, trace_id, "envoy", "proxy", "auth")
        leased = [span for span in trace.spans if span.name == LEASE and span.service == "auth"]
        assert leased
        assert all(span.status != pb.Span.STATUS_ERROR for span in leased)
        assert [span.attributes["cordboard.kept"] for span in trace.spans if "cordboard.kept" in span.attributes]
        ids = {span.span_id for span in trace.spans}
        roots = [span for span in trace.spans if span.parent_span_id not in ids]
        assert [span.service for span in roots] == ["envoy"]

        async with sampled.mesh.client(tenant.token) as client:
            await sampled.reach(client, tenant)
        fine, reason = await asked(sampled, tenant, "01")
        assert reason == ""
        with sampled.broken(latency_ms=2000):
            slow, reason = await asked(sampled, tenant, "01")
        assert reason == ""
        await whole(operator, slow, "envoy", "proxy")
        # It came before the slow one, on the same way, and asked to be recorded.
        assert await kept(operator, fine) is None


async def test_callers_are_obeyed_only_where_the_mesh_is_told_so(backstage: Backstage, trust: None) -> None:
    """What `bench/tracing.py` stands on: a call without a trace there has none."""
    with a_mesh(backstage, trace_callers_decide="true") as mesh:
        token = await mesh.token("operator")
        ids = {}
        for flags in ("00", "01"):
            ids[flags] = os.urandom(16).hex()
            header = f"00-{ids[flags]}-{os.urandom(8).hex()}-{flags}"
            async with mesh.client(token, traceparent=partial(str, header)) as client:
                await client.flags.ListFlags(ListFlagsRequest())
        async with mesh.operator() as operator:
            await whole(operator, ids["01"], "envoy", "flags")
            assert await kept(operator, ids["00"]) is None
