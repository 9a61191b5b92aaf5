"""What Telemetry costs and how fast it answers: spans taken in, a burst, and searches over millions of spans.

Telemetry runs in a process of its own, behind the real gRPC server with mutual TLS, on a real PostgreSQL; what is sent
and asked is in this one. INGEST spans are taken in as exporters send them, then a BURST comes at once, and then what is
stored is copied within the database, with other trace ids and earlier times, until there are SPANS.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import asyncpg
import grpc
import psutil
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cordboard.local.certificates import CertificateAuthority, Identities, mesh_identities
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.fixtures.otlp import MILLISECOND, SECOND, a_span, an_export, exporter
from tests.fixtures.postgres import ServiceDatabase
from tests.fixtures.serving import TokenMint, serve
from tests.scale._aims import Aims
from tests.scale.sync import databases

SPANS: Final = int(os.environ.get("SPANS", "2000000"))
INGEST: Final = int(os.environ.get("INGEST", "50000"))
BURST: Final = int(os.environ.get("BURST", "100000"))
SEARCHES: Final = int(os.environ.get("SEARCHES", "25"))
EXPORT: Final = 512
AT_ONCE: Final = 4
HOURS: Final = 3
MIB: Final = 2**20
# One span takes no more of a core than this, in microseconds: ten thousand in a second.
COST_AIM: Final = 100.0
MEMORY_AIM: Final = 512.0
SEARCH_AIM: Final = 300.0
OPEN_AIM: Final = 100.0
# Envoy, the Proxy with its stages and attempts, Auth: what a call looks like.
SHAPE: Final = (
    ("envoy", "ingress", 2, -1),
    ("envoy", "router proxy egress", 3, 0),
    ("proxy", "cordboard.proxy.v1.ProxyService/Execute", 2, 1),
    ("proxy", "proxy.authorise", 1, 2),
    ("auth", "cordboard.auth.v1.CredentialService/LeaseCredential", 2, 3),
    ("auth", "SELECT", 3, 4),
    ("proxy", "proxy.send", 3, 2),
    ("proxy", "INSERT", 3, 2),
)


@dataclass(frozen=True)
class Running:
    """Telemetry, in another process."""

    process: psutil.Process
    channel: grpc.aio.Channel

    def processor_seconds(self) -> float:
        """Returns what it has used of processors."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def memory(self) -> float:
        """Returns what it holds of memory, in MiB."""
        return float(self.process.memory_info().rss / MIB)


def made_calls(draw: random.Random, spans: int) -> list[ExportTraceServiceRequest]:
    """Returns exports of calls of the last hours, as services send them: each its own spans."""
    exports = []
    by_service: dict[str, list[Span]] = {}
    now = time.time_ns() - SECOND
    for _ in range(spans // len(SHAPE)):
        trace, began, took = os.urandom(16), now - draw.randrange(HOURS * 3600 * SECOND), draw.lognormvariate(4, 0.8)
        failed = draw.random() < 0.02
        workspace, slug = f"w-{draw.randrange(200)}", f"vendor-{draw.randrange(35)}"
        ids: list[bytes] = []
        for service, name, kind, parent in SHAPE:
            attributes: dict[str, Any] = {"cordboard.workspace": workspace, "cordboard.integration": slug}
            if name == "proxy.send":
                status = 503 if failed else 200
                attributes |= {"http.response.status_code": status, "url.template": f"https://{slug}.example/v1/items"}
            if name in ("SELECT", "INSERT"):
                attributes = {"db.system.name": "postgresql", "db.operation.name": name}
            span = a_span(
                name,
                trace_id=trace,
                parent_span_id=ids[parent] if parent >= 0 else b"",
                start=began + len(ids) * MILLISECOND,
                took=max(1, int(took * MILLISECOND)),
                kind=kind,
                status=2 if failed and service in ("envoy", "proxy") else 0,
                attributes=attributes,
            )
            ids.append(span.span_id)
            by_service.setdefault(service, []).append(span)
            if len(by_service[service]) == EXPORT:
                exports.append(an_export(*by_service.pop(service), service=service))
    return [*exports, *(an_export(*rest, service=service) for service, rest in by_service.items())]


def _size(exports: list[ExportTraceServiceRequest]) -> int:
    return sum(len(scope.spans) for each in exports for batch in each.resource_spans for scope in batch.scope_spans)


def _serve(url: str, folder: str, told: Connection) -> None:
    """Runs Telemetry until nobody listens any more."""

    async def work() -> None:
        identities, mint = Identities(CertificateAuthority.open(Path(folder) / "ca"), Path(folder) / "ids"), TokenMint()
        identities.issue(*mesh_identities())
        async with serve("telemetry", TelemetrySettings, start, identities, mint, database_url=url) as served:
            place = str(identities.directory("envoy"))
            told.send((served.process.port, place, mint.token("operator", exp=int(time.time()) + 7200)))
            await asyncio.to_thread(told.poll, None)

    with contextlib.suppress(EOFError):
        asyncio.run(work())


@contextlib.asynccontextmanager
async def telemetry(url: str, folder: Path) -> AsyncIterator[Running]:
    """Runs Telemetry in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, str(folder), theirs), daemon=True)
    process.start()
    theirs.close()
    port, place, token = await asyncio.to_thread(ours.recv)
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(*((Path(place) / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))),
        grpc.access_token_call_credentials(token),
    )
    options = [
        ("grpc.ssl_target_name_override", "telemetry.cordboard.internal"),
        ("grpc.max_receive_message_length", 64 * MIB),
    ]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        yield Running(psutil.Process(process.pid), channel)
    ours.close()
    process.join(30)
    process.kill()


async def taken_in(running: Running, exports: list[ExportTraceServiceRequest]) -> tuple[float, float]:
    """Sends exports, a few at once; returns the seconds that it took, and those of Telemetry's processor."""
    waiting, stub = iter(exports), exporter(running.channel)

    async def send() -> None:
        for each in waiting:
            await stub.Export(each, timeout=300)

    began, worked = time.monotonic(), running.processor_seconds()
    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return time.monotonic() - began, running.processor_seconds() - worked


async def burst(running: Running, exports: list[ExportTraceServiceRequest]) -> tuple[Counter[str], float]:
    """Sends exports all at once; returns what became of their spans, and the most memory that was held, in MiB."""
    stub, found, most = exporter(running.channel), Counter[str](), running.memory()

    async def send(export: ExportTraceServiceRequest) -> None:
        try:
            await stub.Export(export, timeout=300)
            found["OK"] += _size([export])
        except grpc.aio.AioRpcError as error:
            found[error.code().name] += _size([export])

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, running.memory())
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(look())
    await asyncio.gather(*map(send, exports))
    watching.cancel()
    return found, most


async def multiply(url: str) -> int:
    """Copies what is stored, each time to earlier hours, until there is enough; returns how many spans there are."""
    # What copies may take longer than what the service asks.
    settings = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), server_settings=settings)
    try:
        have = await connection.fetchval("SELECT count(*) FROM span")
        copies, step, day = max(0, -(-(SPANS - have) // have)), HOURS * 3600 * SECOND, 86_400 * SECOND
        now = time.time_ns()
        for each in range((now - (copies + 2) * step) // day, now // day + 1):
            await connection.execute("SELECT keep_day($1)", each)
        for number in range(1, copies + 1):
            # What was copied before is older: the snapshot of the first hours stays what it is.
            await connection.execute(
                """
                INSERT INTO span SELECT md5(trace_id::text || $1::text)::uuid, span_id, parent_id, start_ns - $2,
                    duration_ns, kind, status, resource_id, service, name, attributes, body
                FROM span WHERE start_ns >= $3""",
                str(number),
                number * step,
                now - step - 60 * SECOND,
                timeout=900,
            )
        return int(await connection.fetchval("SELECT count(*) FROM span"))
    finally:
        await connection.close()


async def analyse(url: str) -> None:
    """Has PostgreSQL look at what there is and tidy it up, as its autovacuum does in time."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("VACUUM (ANALYZE)", timeout=900)
    finally:
        await connection.close()


async def timed(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Returns how many milliseconds a call took, and what it gave."""
    began = time.monotonic()
    found = await call()
    return (time.monotonic() - began) * 1000, found


def questions(draw: random.Random) -> dict[str, pb.ListTracesRequest]:
    """Returns one search of each kind, as the console asks."""
    slug, workspace = f"vendor-{draw.randrange(35)}", f"w-{draw.randrange(200)}"

    def since(hours: float, **others: Any) -> pb.ListTracesRequest:
        moment = Timestamp()
        moment.FromNanoseconds(time.time_ns() - int(hours * 3600 * SECOND))
        return pb.ListTracesRequest(page_size=100, start_time=moment, **others)

    return {
        "newest failures": since(1 / 12, errors_only=True),
        "a service, of the last hour": since(1, service="auth"),
        "an operation": since(24, service="proxy", operation="Execute"),
        "an integration, of the last day": since(24, attributes={"cordboard.integration": slug}),
        "failures of an integration, of a week": since(
            168, attributes={"cordboard.integration": slug}, errors_only=True
        ),
        "a workspace and an integration": since(
            168, attributes={"cordboard.integration": slug, "cordboard.workspace": workspace}
        ),
        "slower than a second": since(24, min_duration=Duration(seconds=1)),
        "what a vendor answered": since(168, attributes={"http.response.status_code": "503"}),
    }


async def measured(database: ServiceDatabase, folder: Path, aims: Aims) -> None:
    """Measures all of it."""
    draw = random.Random(20261122)
    async with telemetry(database.url, folder) as running:
        calls = made_calls(draw, INGEST)
        seconds, worked = await taken_in(running, calls)
        count = _size(calls)
        print(
            f"{count} spans in {seconds:.1f} s: {count / seconds:.0f}/s, {count / worked:.0f} in a second of one core"
        )
        aims.at_most("a span on the processor", worked / count * 1e6, COST_AIM, "microseconds")

        before = running.memory()
        calls = made_calls(draw, BURST)
        found, most = await burst(running, calls)
        told = ", ".join(f"{state} {spans}" for state, spans in found.items())
        print(f"a burst of {_size(calls)}: {told}; {before:.0f} MiB before, {most:.0f} at most")
        aims.at_most("memory in a burst", most, MEMORY_AIM, "MiB")
        # Whatever was not taken was refused so that its sender sends it again.
        aims.exactly("spans of a burst that got no answer", _size(calls) - found["OK"] - found["RESOURCE_EXHAUSTED"], 0)

        began = time.monotonic()
        stored = await multiply(database.url)
        await analyse(database.superuser_url)
        print(f"{stored} spans, after {time.monotonic() - began:.0f} s of copying", flush=True)
        await searched(running, draw, aims)


async def searched(running: Running, draw: random.Random, aims: Aims) -> None:
    """Searches, and opens what is found."""
    stub: Any = TraceServiceStub(running.channel)
    took: dict[str, list[float]] = {}
    opened: list[float] = []
    for _ in range(SEARCHES):
        for name, request in questions(draw).items():
            try:
                milliseconds, found = await timed(lambda asked=request: stub.ListTraces(asked, timeout=120))  # type: ignore[misc]
            except grpc.aio.AioRpcError as error:
                # It took longer than a statement may.
                aims.exactly(f"search, {name}, that ended with {error.code().name}", 1, 0)
                continue
            took.setdefault(name, []).append(milliseconds)
            if found.traces:
                wanted = pb.GetTraceRequest(name=found.traces[0].name)
                milliseconds, _ = await timed(lambda asked=wanted: stub.GetTrace(asked, timeout=120))  # type: ignore[misc]
                opened.append(milliseconds)
    for name, times in took.items():
        print(f"search, {name}: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms")
    every = [each for times in took.values() for each in times]
    aims.at_most("search, 95 of 100", statistics.quantiles(every, n=20)[-1], SEARCH_AIM, "ms")
    aims.at_most("opening a trace, 95 of 100", statistics.quantiles(opened, n=20)[-1], OPEN_AIM, "ms")


def main() -> None:
    """Prints the figures; ends with 1 where one is not as it is promised."""
    aims = Aims()
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with databases() as copy, tempfile.TemporaryDirectory() as folder:
        asyncio.run(measured(copy("telemetry"), Path(folder), aims))
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    aims.settle()


if __name__ == "__main__":
    main()
