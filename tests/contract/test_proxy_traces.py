"""One trace for one call: every stage by name, every attempt as a span, the vendor told of it, and no secret in any."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.local.certificates import Identities
from cordboard.proxy import stages
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import (
    CONNECTION,
    INTEGRATION_FLAG,
    ON,
    TICKET,
    Mesh,
    a_mesh,
    execute,
    refusal,
    stream,
    until,
)
from tests.unit.proxy.samples import QUERY, SLUG, acme_desk

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)


@pytest.fixture
async def mesh(
    serving: Serving, identities: Identities, database: Databases, spans: InMemorySpanExporter
) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url) as one:
        spans.clear()
        yield one


def of_call(spans: InMemorySpanExporter, name: str = "cordboard.proxy.v1.ProxyService/Execute") -> ReadableSpan:
    [found] = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def attempts(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == "proxy.send"]


def told(spans: InMemorySpanExporter) -> list[str]:
    """Returns the stages in the order in which they began."""
    found = [(event.timestamp, event.name) for event in of_call(spans).events]
    found += [
        (span.start_time or 0, span.name) for span in spans.get_finished_spans() if span.name.startswith("proxy.")
    ]
    return [name for _, name in sorted(found)]


async def test_the_trace_tells_every_stage_by_name_in_order(mesh: Mesh, spans: InMemorySpanExporter) -> None:
    answer = await mesh.stub().Execute(execute(), metadata=PARENT)
    await mesh.stub().Execute(execute(), metadata=PARENT)
    spans.clear()
    await mesh.stub().Execute(execute(), metadata=PARENT)
    assert answer.call.trace_id == TRACE
    assert told(spans) == [
        stages.ADMIT, stages.RESOLVE, stages.GATE, stages.AUTHORISE, stages.PLAN, stages.GUARD,
        stages.SEND, stages.INTERPRET, stages.RECORD,
    ]  # fmt: skip


async def test_a_stage_that_waits_for_others_is_a_span_with_theirs_below_it(
    mesh: Mesh, spans: InMemorySpanExporter
) -> None:
    await mesh.stub().Execute(execute("create_ticket", TICKET, idempotency_key="k"), metadata=PARENT)
    by_id = {span.context.span_id: span for span in spans.get_finished_spans()}
    server = of_call(spans)
    parents = {
        span.name: by_id[span.parent.span_id].name
        for span in by_id.values()
        if span.parent is not None and span.parent.span_id in by_id
    }
    assert parents["proxy.authorise"] == parents["proxy.guard"] == parents["proxy.send"] == server.name
    assert parents["cordboard.auth.v1.CredentialService/LeaseCredential"] == "proxy.authorise"
    assert parents["INSERT"] == "proxy.guard"
    assert {f"{span.context.trace_id:032x}" for span in by_id.values() if span.parent is not None} == {TRACE}


async def test_no_vendor_gets_the_baggage_or_the_tracestate_of_a_caller(mesh: Mesh) -> None:
    told = (*PARENT, ("baggage", "user=canary"), ("tracestate", "theirs=canary"), ("x-canary", "canary"))
    await mesh.stub().Execute(execute(), metadata=told)
    [seen] = mesh.seen
    # The trace goes on there, and that is all: the vendor keeps names of headers, and values of these three.
    assert set(seen["headers"]) == {"traceparent"}
    assert TRACE in seen["headers"]["traceparent"]
    assert {"baggage", "tracestate", "x-canary"}.isdisjoint(seen["header_names"])


async def test_a_call_says_which_flag_chose_its_version_and_which_one_refused_it(
    mesh: Mesh, spans: InMemorySpanExporter
) -> None:
    def flagged() -> list[dict[str, object]]:
        found = [span for span in spans.get_finished_spans() if span.name.endswith("/Execute")]
        return [{k: v for k, v in (span.attributes or {}).items() if k.startswith("feature_flag.")} for span in found]

    await mesh.stub().Execute(execute())
    # No flag had a say about the version, and the one of the integration only let it through.
    assert flagged() == [{}]
    version = {"state": "ENABLED", "variants": {"stable": "1.0.0"}, "defaultVariant": "stable"}
    await mesh.around.set_flags(**ON, **{f"version__{SLUG.replace('-', '___')}": version})

    async def led() -> bool:
        await mesh.stub().Execute(execute())
        return flagged()[-1] != {}

    await until(led)
    assert flagged()[-1] == {
        "feature_flag.key": f"version.{SLUG}",
        "feature_flag.result.variant": "stable",
    }
    await mesh.around.set_flags(**{INTEGRATION_FLAG: False})

    async def off() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await mesh.stub().Execute(execute())
            return False
        return True

    await until(off)
    assert flagged()[-1] == {
        "feature_flag.key": f"integration.{SLUG}",
        # What the fixture calls the one variant of a flag.
        "feature_flag.result.variant": "it",
        "feature_flag.result.reason": "static",
    }


async def test_an_attempt_says_what_was_asked_of_whom_and_what_came(mesh: Mesh, spans: InMemorySpanExporter) -> None:
    await mesh.stub().Execute(execute("get_ticket", {"ticket_id": "tkt_00000001"}), metadata=PARENT)
    [sent] = attempts(spans)
    host, port = mesh.vendor.url.removeprefix("http://").split(":")
    assert dict(sent.attributes or {}) == {
        "http.request.method": "GET",
        "url.template": f"{mesh.vendor.url}/v1/tickets/{{ticket_id}}",
        "server.address": host,
        "server.port": int(port),
        "http.response.status_code": 200,
        "cordboard.integration": SLUG,
        "cordboard.action": "get_ticket",
        "cordboard.connection": CONNECTION,
        "cordboard.definition.version": "1.0.0",
    }
    about = {key: value for key, value in (of_call(spans).attributes or {}).items() if key.startswith("cordboard.")}
    assert about == {
        "cordboard.workspace": "acme",
        "cordboard.integration": SLUG,
        "cordboard.action": "get_ticket",
        "cordboard.connection": CONNECTION,
        "cordboard.definition.version": "1.0.0",
    }
    assert sent.kind.name == "CLIENT"


async def test_the_vendor_is_told_the_trace_and_the_attempt(mesh: Mesh, spans: InMemorySpanExporter) -> None:
    mesh.break_vendor(status=503, times=1)
    await mesh.stub().Execute(execute(), metadata=PARENT)
    first, second = attempts(spans)
    assert [seen["headers"]["traceparent"] for seen in mesh.seen] == [
        f"00-{TRACE}-{span.context.span_id:016x}-01" for span in (first, second)
    ]
    assert (first.attributes or {})["error.type"] == "503"
    assert (first.status.status_code.name, second.status.status_code.name) == ("ERROR", "UNSET")
    assert (second.attributes or {})["http.request.resend_count"] == 1


async def test_a_refused_call_says_in_which_stage(mesh: Mesh, spans: InMemorySpanExporter) -> None:
    for request, stage, reason in (
        (execute(connection="workspaces/acme/connections/none"), "proxy.authorise", "RESOURCE_NOT_FOUND"),
        (execute("create_ticket", {}), "proxy.plan", "INVALID_FIELDS"),
    ):
        spans.clear()
        await refusal(mesh.stub().Execute(request, metadata=PARENT))
        attributes = of_call(spans).attributes or {}
        assert attributes[stages.FAILED_STAGE] == stage
        assert attributes["cordboard.error.reason"] == reason


async def test_no_span_and_no_log_line_holds_a_secret_or_a_value(
    mesh: Mesh, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    definition = acme_desk(mesh.vendor.url, "1.1.0")
    definition.auth_schemes[0].api_key.placement = QUERY
    definition.auth_schemes[0].api_key.name = "api_key"
    await mesh.around.publish(definition)
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="canary-credential", generation=9)
    await mesh.around.change(CONNECTION, 9)
    stub = mesh.stub()
    for fault in ({}, {"status": 500}, {"cut_connections": True}, {"status": 429, "retry_after": 99}):
        mesh.break_vendor(**fault)
        await refusal(stub.Execute(execute("list_tickets", {"cursor": "canary-value"})))
        await refusal(stub.Execute(execute("create_ticket", TICKET | {"subject": "canary-body"})))
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in stub.ExecuteStream(stream("list_tickets", {"cursor": "canary-value"})):
            pass
    shown = json.dumps([json.loads(span.to_json()) for span in spans.get_finished_spans()])
    assert "proxy.send" in shown
    lines = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "canary" not in shown
    assert "canary" not in lines
    assert any("canary-credential" in seen["query"] for seen in mesh.seen)
