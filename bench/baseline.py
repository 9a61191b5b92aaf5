"""A handler of Execute that makes the vendor call and nothing else: no resolution, no flags, no vault, no ledger, no
retries, no breaker, no audit. It is traced like the Proxy, with a span for the call and one for the vendor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.trace import SpanKind, set_span_in_context

from bench import processes
from cordboard.core import telemetry
from cordboard.core.identity import Identity
from cordboard.proxy.v1 import proxy_service_pb2 as pb

API_KEY_VARIABLE = "BENCH_VENDOR_API_KEY"
SERVICE = "cordboard.proxy.v1.ProxyService"


class Baseline:
    """Gets a ticket from the vendor."""

    def __init__(self, vendor: aiohttp.ClientSession) -> None:
        """Takes the session with the vendor, which carries the key."""
        self._vendor = vendor

    async def execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:
        """Makes the one call."""
        parent = telemetry.remote_context(dict(context.invocation_metadata()))
        tracer = telemetry.tracer()
        with (
            tracer.start_as_current_span("Execute", parent, SpanKind.SERVER),
            tracer.start_as_current_span("GET", kind=SpanKind.CLIENT) as span,
        ):
            carrier: dict[str, str] = {}
            telemetry.propagator.inject(carrier, set_span_in_context(span))
            ticket = json.loads(request.input_json)["ticket_id"]
            async with self._vendor.get(f"tickets/{ticket}", headers=carrier) as answer:
                text = await answer.text()
                span.set_attribute("http.response.status_code", answer.status)
        return pb.ExecuteResponse(output_json=text, vendor_status=answer.status)


async def _main(identity: Path, ready_file: Path, vendor: str, collector: str) -> None:
    provider = telemetry.set_up("baseline", telemetry.MeshSpanExporter(collector, Identity(identity)))
    headers = {"x-api-key": os.environ[API_KEY_VARIABLE], "accept": "application/json"}
    try:
        async with aiohttp.ClientSession(f"{vendor}/", headers=headers) as session:
            server = grpc.aio.server()
            handler = grpc.unary_unary_rpc_method_handler(
                Baseline(session).execute, pb.ExecuteRequest.FromString, pb.ExecuteResponse.SerializeToString
            )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Execute": handler}),))
            well = health.aio.HealthServicer()
            for name in ("", SERVICE):
                await well.set(name, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(well, server)
            await processes.serve(server, identity, ready_file)
    finally:
        await asyncio.to_thread(provider.shutdown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.baseline")
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--vendor", required=True, help="base URL of the vendor's API")
    parser.add_argument("--collector", required=True, help="HOST:PORT of Telemetry")
    given = parser.parse_args()
    processes.run(partial(_main, given.identity, given.ready_file, given.vendor, given.collector))
