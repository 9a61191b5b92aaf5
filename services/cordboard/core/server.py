"""How every service starts, serves, says how it is, and ends.

`run` reads the settings, sets up logs and traces, calls the service's own `start` to wire its parts, serves with mutual
TLS behind the layers, keeps health up to date, and on SIGTERM drains: it says that it does not serve, until Envoy has
heard it, no new calls, running calls end, jobs stop, pools close, spans leave. On SIGINT nobody is waited for who would
have to hear it: the whole mesh ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import resource
import signal
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc

from cordboard.common.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from cordboard.core import access, log_export, logs, telemetry, vitals
from cordboard.core.anchors import Anchors
from cordboard.core.api_keys import PREFIX as API_KEY_PREFIX
from cordboard.core.api_keys import ApiKeys
from cordboard.core.audit import Journal
from cordboard.core.audit_chains import Chains
from cordboard.core.channel import Channels
from cordboard.core.copies import Copies
from cordboard.core.database import Database, statement_durations
from cordboard.core.egress import Egress
from cordboard.core.errors import CordboardError, DependencyUnavailable, TokenInvalid
from cordboard.core.health import Health
from cordboard.core.identity import Identity, server_credentials
from cordboard.core.layers import (
    Access,
    Authentication,
    Deadline,
    Errors,
    Gate,
    Layer,
    Logging,
    Staleness,
    Tracing,
    Validation,
)
from cordboard.core.liveness import LEAST_PING_MS
from cordboard.core.measures import Measures, Reading
from cordboard.core.rates import Rates
from cordboard.core.revocations import Kind, RevocationList, Revoked, Signal, Source, follow
from cordboard.core.sampling import HeldSpans, PickedShare
from cordboard.core.servicers.audit import AuditServicer
from cordboard.core.settings import Settings, load
from cordboard.core.times import SystemClock
from cordboard.core.tokens import TokenVerifier
from cordboard.core.validation import Requirements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from opentelemetry.sdk.trace.export import SpanExporter

    from cordboard.core.caller import Caller

logger = logging.getLogger(__name__)

CHECK_EVERY: Final = 1.0
CHECK_TIMEOUT: Final = 2.0
# Longer than Envoy's longest pause between two questions after the health.
NOTICED_WITHIN: Final = 2.5
# So many new objects until the collector looks at them.
GARBAGE_AFTER: Final = 20_000

SettingsType = TypeVar("SettingsType", bound=Settings)


class Registry:
    """Stands where generated code expects a server, and notes which services register."""

    def __init__(self, server: grpc.aio.Server, gate: Gate) -> None:
        """Takes the real server, and the gate that has to know its methods."""
        self._server = server
        self._gate = gate
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Passes handlers on; raises access.RuleMissing when a method of theirs has no rule."""
        for handler in handlers:
            name = handler.service_name()
            self._gate.admit(access.methods(name))
            self.services.append(name)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Leaves the fast path unused: it goes around interceptors' view of unknown methods."""


class Process(Generic[SettingsType]):
    """One service's process while it runs: what `start` wires its parts to."""

    def __init__(self, name: str, settings: SettingsType, *, exporter: SpanExporter | None = None) -> None:
        """Takes the service's name and settings; `exporter` replaces the export by OTLP."""
        self.name = name
        self.settings = settings
        self.identity = Identity(settings.identity_dir)
        self.channels = Channels(self.identity, _addresses(settings))
        self.measures = Measures(name)
        self.measures.gauge("cordboard.certificate.remaining", "s", (), self._certificate_remaining)
        vitals.watch(self.measures)
        if exporter is None and settings.telemetry_address and name != "telemetry":
            exporter = telemetry.MeshSpanExporter(settings.telemetry_address, self.identity)
        self._held: HeldSpans | None = None
        sampler: PickedShare | None = None
        if exporter is not None and settings.trace_sample_rate < 1:
            self._held = HeldSpans(most=settings.trace_held_spans, slow=settings.trace_slow_seconds)
            self.measures.gauge("cordboard.traces", "{trace}", ("cordboard.state",), self._held.readings)
            sampler = PickedShare(settings.trace_sample_rate)
        self._provider = telemetry.set_up(name, exporter, sampler=sampler, held=self._held)
        self._log_export: log_export.LogExport | None = None
        # What Telemetry says of an export that it takes would be one more to take.
        if settings.log_export and settings.telemetry_address and name != "telemetry":
            sender = log_export.MeshLogExporter(settings.telemetry_address, self.identity)
            self._log_export = log_export.send(name, sender)
        self._keys: Callable[[], Awaitable[str]] = self._keys_of_auth
        self._exchange: Callable[[str], Awaitable[str]] = self._exchange_at_auth
        self._revocations_from: Source | None = self._revocations_of_auth if settings.auth_address else None
        self.revocations = RevocationList()
        self.copies = Copies()
        self._database: Database | None = None
        self._journal: Journal | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._checks: dict[str, Callable[[], Awaitable[None]]] = {}
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._drains: list[Callable[[], Awaitable[None]]] = []
        self._health = Health()
        self._gate = Gate(self._layers(settings))
        self._real = self._bare_server(settings, self._gate)
        self._registry = Registry(self._real, self._gate)
        # What `start` registers its servicers with.
        self.server = cast("grpc.aio.Server", self._registry)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self.port = 0

    @staticmethod
    def _bare_server(settings: Settings, gate: Gate) -> grpc.aio.Server:
        return grpc.aio.server(
            interceptors=[gate],
            maximum_concurrent_rpcs=settings.max_concurrent_calls,
            options=[
                ("grpc.max_concurrent_streams", 256),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 16384),
                ("grpc.absolute_max_metadata_size", 16384),
                # A connection that never says anything would stay for two minutes.
                ("grpc.server_handshake_timeout_ms", 5_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_MS),
                # Certificates are checked at the handshake only: connections must end for a rotation to matter.
                ("grpc.max_connection_age_ms", 3_600_000),
                ("grpc.max_connection_age_grace_ms", 30_000),
                ("grpc.so_reuseport", 0),
            ],
        )

    def _layers(self, settings: Settings) -> list[Layer]:
        verifier = TokenVerifier(self._current_keys, settings.token_issuer, settings.token_audience, self.revocations)
        self._verifier, self._api_keys = verifier, ApiKeys(self._token_for)
        return [
            Tracing(followed=settings.trust_domain if settings.trace_sample_rate < 1 else ""),
            Rates(self.measures),
            Logging(every_call=settings.access_log == "all"),
            Errors(),
            Staleness(self.copies),
            Deadline(),
            Authentication(verifier, self._api_keys, settings.trust_domain),
            Access(),
            Validation(Requirements()),
        ]

    @property
    def serving(self) -> bool:
        """Whether the process has all that it needs, and does not end."""
        return self._health.serving

    def database(self) -> Database:
        """Returns the service's database; readiness includes it, and it is closed at the end."""
        if self._database is None:
            url = self.settings.database_url.get_secret_value()
            self._database = Database(
                url, pool_size=self.settings.database_pool_size, statements=statement_durations(self.measures)
            )
            vitals.watch_connections(self.measures, self._database)
            self.add_check("database", self._database.check)
            self.on_close(self._database.close)
        return self._database

    def journal(self) -> Journal:
        """Returns the service's audit journal; its batches are written to the end."""
        if self._journal is None:
            self._journal = Journal(self.database())
            self.on_close(self._journal.close)
        return self._journal

    def background(self, job: Coroutine[Any, Any, None]) -> None:
        """Runs a job until the process ends; a job that fails ends the process, which is then started again."""
        self._jobs.append(asyncio.create_task(job))

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Has something closed at the end; what came last closes first."""
        self._closers.append(close)

    def on_drain(self, drain: Callable[[], Awaitable[None]]) -> None:
        """Has another server of this process drain at the end, while the one for gRPC does and all it needs is open."""
        self._drains.append(drain)

    def add_check(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """Has a check, which raises when it fails, pass once before the service serves, and then watches it.

        A service that serves goes on when a check fails: what is away is away for its replicas too, and each of them
        still answers from memory, or with DependencyUnavailable. Health tells the check's own status under its name.
        """
        self._checks[name] = check

    async def caller_through_envoy(self, credential: str, address: str, certificate: Callable[[], str]) -> Caller:
        """Returns who comes through Envoy with a token or an API key, elsewhere than by gRPC; raises TokenInvalid.

        `address` is where it comes from, `certificate` gives the thumbprint of the certificate that Envoy was shown.
        """
        if credential.startswith(API_KEY_PREFIX):
            credential = await self._api_keys.token(credential, address)
        return await self._verifier.verify(credential, access.GATEWAY, certificate)

    def verify_with(
        self,
        keys: Callable[[], Awaitable[str]],
        *,
        revocations: Source | None = None,
        exchange: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        """Takes what tokens are verified with from elsewhere than Auth's RPCs: Auth has it itself.

        `keys` gives the JSON Web Key Set as text, `revocations` what was revoked (None: nothing ever is), and
        `exchange` a token for an API key.
        """
        self._keys = keys
        self._revocations_from = revocations
        self._exchange = exchange or self._exchange

    async def serve(self) -> None:
        """Begins to listen; `port` is then the real one."""
        if self.settings.profile == "development":
            from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

            # Not `enable_server_reflection`, which takes what is no grpc.aio.Server for a synchronous one.
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
                reflection.aio.ReflectionServicer([*self._registry.services, reflection.SERVICE_NAME]), self.server
            )
        if self._journal is not None:
            self._serve_journal(self._journal)
        if self._keys == self._keys_of_auth and self.settings.auth_address:
            # Whoever called before would be told that Auth is away, though it only was not there yet.
            self.add_check("auth", self._verifier.ready)
        if self._revocations_from is not None:
            self.revocations.expect()
            self.background(follow(self._revocations_from, self.revocations))
        self.port = self._real.add_secure_port(self.settings.listen_address, server_credentials(self.identity))
        await self._real.start()
        self.background(self._watch_health())
        if self.settings.telemetry_address:
            self.background(self.measures.run(self.channels))
            if self._held is not None:
                self.background(self._held.follow(self.channels))
        logger.info("listening", extra={"address": self.settings.listen_address, "port": self.port})

    def _serve_journal(self, journal: Journal) -> None:
        chains, settings = Chains(self.database()), self.settings
        add_AuditServiceServicer_to_server(AuditServicer(self.name, chains, journal), self.server)
        if settings.audit_anchor_file is not None or settings.audit_anchor_url:
            anchors = Anchors(
                self.name,
                chains,
                SystemClock(),
                file=settings.audit_anchor_file,
                url=settings.audit_anchor_url,
                egress=Egress(settings.egress_allowed_networks),
            )
            self.background(anchors.run(settings.audit_anchor_seconds))

    async def until_stopped(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set; raises what a background job raised."""
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *self._jobs], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            waiting.cancel()
            task.result()
            raise RuntimeError("a background job ended")

    async def give_notice(self) -> None:
        """Says that this process serves no more, and serves until those who ask have heard it.

        A call that is on its way while the port closes would be lost.
        """
        self._health.end()
        await self._health.noticed(min(NOTICED_WITHIN, self.settings.grace_seconds))

    async def close(self) -> None:
        """Drains and closes everything, in the reverse order of its making."""
        self._health.end()
        self._gate.end_watches()
        await asyncio.gather(self._real.stop(self.settings.grace_seconds), *(drain() for drain in self._drains))
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for close in reversed(self._closers):
            with contextlib.suppress(CordboardError):
                await close()
        if self.settings.telemetry_address:
            await self.measures.export(self.channels)
        await self.channels.close()
        await asyncio.to_thread(self._provider.shutdown)
        if self._log_export is not None:
            await asyncio.to_thread(self._log_export.end)

    def _certificate_remaining(self) -> list[Reading]:
        return [Reading((), self.identity.expiry().timestamp() - SystemClock().now().timestamp())]

    async def _current_keys(self) -> str:
        return await self._keys()

    async def _keys_of_auth(self) -> str:
        from cordboard.auth.v1.token_service_pb2 import GetJwksRequest
        from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub

        try:
            body = await TokenServiceStub(self.channels.to("auth")).GetJwks(GetJwksRequest(), timeout=3)
        except grpc.aio.AioRpcError as error:
            raise DependencyUnavailable("auth") from error
        return str(body.data.decode())

    async def _token_for(self, api_key: str) -> str:
        return await self._exchange(api_key)

    async def _exchange_at_auth(self, api_key: str) -> str:
        from cordboard.auth.v1.verification_service_pb2 import ExchangeApiKeyRequest
        from cordboard.auth.v1.verification_service_pb2_grpc import VerificationServiceStub

        stub = VerificationServiceStub(self.channels.to("auth"))
        try:
            answer = await stub.ExchangeApiKey(ExchangeApiKeyRequest(api_key=api_key), timeout=3)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise TokenInvalid("signature") from None
            raise DependencyUnavailable("auth") from error
        return str(answer.access_token)

    async def _revocations_of_auth(self, after: int) -> AsyncIterator[Signal]:
        from cordboard.auth.v1.revocation_service_pb2 import Revocation
        from cordboard.auth.v1.verification_service_pb2 import WatchRevocationsRequest
        from cordboard.auth.v1.verification_service_pb2_grpc import VerificationServiceStub

        stub = VerificationServiceStub(self.channels.to("auth"))
        try:
            async for message in stub.WatchRevocations(WatchRevocationsRequest(after_sequence=after)):
                found = message.revocation
                if not message.HasField("revocation"):
                    yield Signal(message.sequence)
                    continue
                name = Revocation.Kind.Name(found.kind).removeprefix("KIND_").lower().replace("_", "-")
                entry = Revoked(
                    Kind(name),
                    found.subject,
                    found.workspace.removeprefix("workspaces/"),
                    found.generation,
                    found.expire_time.ToDatetime(UTC).timestamp() if found.HasField("expire_time") else None,
                )
                yield Signal(message.sequence, entry)
        except grpc.aio.AioRpcError as error:
            raise DependencyUnavailable("auth") from error

    async def _watch_health(self) -> None:
        serving: bool | None = None
        told: dict[str, bool] = {}
        reached: set[str] = set()
        while True:
            passes = await self._passing()
            for name, passed in passes.items():
                if told.get(name) is not passed:
                    self._health.tell((name,), serving=passed)
                    level = logging.WARNING if name in reached and not passed else logging.INFO
                    logger.log(level, "a check changed", extra={"check": name, "passes": passed})
            told = passes
            reached.update(name for name, passed in passes.items() if passed)
            if (reached >= passes.keys()) is not serving:
                serving = reached >= passes.keys()
                self._health.tell(("", *self._registry.services), serving=serving)
                logger.info("health changed", extra={"serving": serving})
            await asyncio.sleep(CHECK_EVERY if serving else 0.05)

    async def _passing(self) -> dict[str, bool]:
        async def passes(check: Callable[[], Awaitable[None]]) -> bool:
            try:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    await check()
            except Exception:
                return False
            return True

        results = await asyncio.gather(*(passes(check) for check in self._checks.values()))
        return dict(zip(self._checks, results, strict=True))


def run(name: str, kind: type[SettingsType], start: Callable[[Process[SettingsType]], Awaitable[None]]) -> None:
    """Runs a service until SIGTERM or SIGINT; exits with 2 on wrong settings and with 1 on a fault."""
    settings = load(kind)
    logs.set_up(name, settings.log_level)
    _harden()
    uvloop.run(_main(name, settings, start))


async def _main(name: str, settings: SettingsType, start: Callable[[Process[SettingsType]], Awaitable[None]]) -> None:
    stop, others_stay = asyncio.Event(), False

    def ask_to_stop(number: signal.Signals) -> None:
        nonlocal others_stay
        others_stay = number is signal.SIGTERM
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop, number)
    process = Process(name, settings)
    try:
        await start(process)
        await process.serve()
        # What was loaded stays: the collector need not look at it again, and the pauses get shorter.
        gc.collect()
        gc.freeze()
        # A call under way makes thousands of objects that are reachable still: to look at them every 700 finds nothing.
        gc.set_threshold(GARBAGE_AFTER)
        await process.until_stopped(stop)
        if others_stay:
            await process.give_notice()
    except access.RuleMissing as error:
        logger.error("not started", extra={"problem": str(error)})
        sys.exit(2)
    finally:
        await process.close()


def _harden() -> None:
    """Keeps memory, which holds secrets, out of core files and of other processes' reach."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pr_set_dumpable = 4
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)


def _addresses(settings: Settings) -> dict[str, str]:
    named = {
        "catalog": settings.catalog_address,
        "auth": settings.auth_address,
        "uqi": settings.uqi_address,
        "flags": settings.flags_address,
        "proxy": settings.proxy_address,
        "telemetry": settings.telemetry_address,
    }
    return {service: address for service, address in named.items() if address}
