"""The whole mesh on one machine: what starts when, on which port, as whom, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from cordboard.local import environment, envoy, probes
from cordboard.local.certificates import SERVICES, CertificateAuthority, Identities, Identity, mesh_identities
from cordboard.local.failures import NotRunning
from cordboard.local.forked import ForkServerProcess
from cordboard.local.logs import LogFile
from cordboard.local.options import EVERY_SERVICE, MeshOptions
from cordboard.local.ports import Ports
from cordboard.local.postgres import Postgres, PostgresPrograms, data_directory, remove_data, unprivileged_account
from cordboard.local.roles import ROLES
from cordboard.local.state import MeshState, ProcessState, StateDirectory
from cordboard.local.supervision import Child, Program, Supervisor, end

T = TypeVar("T")
Progress = Callable[[str, float, str], None]
"""Told each step's name, how many seconds it has taken, and `started`, `done` or `failed`."""

POSTGRES, ENVOY, TELEMETRY, MIGRATIONS, FORK_SERVER = "postgres", "envoy", "telemetry", "migrations", "fork-server"
START_SECONDS = 60.0
PREDECESSOR_SECONDS = 10.0
RENEWAL_CHECK_SECONDS = 30.0
# Counts the times that Envoy has got Auth's keys: before the first it can admit nobody.
KEYS_FETCHED = "/stats?filter=edge.jwt_authn.jwks_fetch_success$"


class Mesh:
    """A running mesh: ready inside its `async with` block, and gone behind it."""

    def __init__(
        self,
        options: MeshOptions | None = None,
        on_progress: Progress | None = None,
        *,
        service_command: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        self.options = options or MeshOptions()
        self._on_progress = on_progress or _say_nothing
        self._service_command = service_command
        self._directory = StateDirectory(self.options.state_dir)
        self._ports = Ports()
        self._supervisor = Supervisor(self._record)
        self._fork_server: ForkServerProcess | None = None
        self._phase = "starting"
        self._started_time = time.time()
        self._port: dict[str, int] = {}
        self._identities: Identities | None = None
        self._postgres: Postgres | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._sockets, self._sockets_are_temporary = self._directory.sockets, False

    async def __aenter__(self) -> Mesh:
        """Starts the mesh and returns it ready; raises MeshFailure, with nothing left running."""
        try:
            await self.start()
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the mesh."""
        await self.stop()

    @property
    def public_address(self) -> str:
        """Envoy's address, for gRPC clients: `localhost:PORT`."""
        return f"localhost:{self._port[ENVOY]}"

    @property
    def public_url(self) -> str:
        """Envoy's address, for HTTP clients: `https://localhost:PORT`."""
        return f"https://{self.public_address}"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that clients trust."""
        return self._directory.authority / "ca.crt"

    def address(self, service: str) -> str:
        """Returns the address of a service's own port, which takes mTLS only."""
        return f"127.0.0.1:{self._port[service]}"

    def identity_dir(self, name: str) -> Path:
        """Returns the directory of an identity: a service, `envoy`, `operator` or one that was issued."""
        return self._started(self._identities).directory(name)

    def issue_identity(self, name: str, spiffe_path: str) -> Path:
        """Makes `spiffe://cordboard/<spiffe_path>`, kept fresh with the others, and returns its directory."""
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not the name of an identity")
        identities = self._started(self._identities)
        identities.issue(Identity(name, spiffe_path, (f"{name}.client.cordboard.internal", "localhost")))
        return identities.directory(name)

    def database_url(self, role: str) -> str:
        """Returns the SQLAlchemy URL of a service by name, of the `owner` of the schemas, or of the `superuser`."""
        return self._started(self._postgres).database_url(role)

    def pid(self, name: str) -> int | None:
        """Returns the process id of a service, `postgres` or `envoy`; None while it is being restarted."""
        return self._child(name).pid

    def restarts(self, name: str) -> int:
        """Returns how many times this process has died and been started again."""
        return self._child(name).restarts

    def log_file(self, name: str) -> Path:
        """Returns where a process, or `migrations`, writes its output."""
        return self._directory.logs / f"{name}.log"

    async def start(self) -> None:
        """Starts every process, in parallel as far as one does not need another; raises MeshFailure."""
        self._directory.create()
        self._directory.lock()
        self._claim_ports()
        self._record()
        if self._service_command is None:
            # It imports while the database is being made.
            self._fork_server = ForkServerProcess(
                environment.inherited(), LogFile(self.log_file(FORK_SERVER)), [_module(each) for each in SERVICES]
            )
            await self._fork_server.warm()
        database = asyncio.create_task(self._prepare_database(), name="prepare database")
        try:
            await self._step("certificates", self._make_certificates())
            self._supervisor.start(self._envoy_program())
            await database
        except BaseException:
            database.cancel()
            await asyncio.wait({database})
            raise
        for service in SERVICES:
            self._supervisor.start(self._service_program(service))
        self._renewal = asyncio.create_task(self._renew_certificates(), name="renew certificates")

    async def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Returns once every process can serve; raises StartFailed after `timeout` seconds."""
        children = tuple(self._supervisor.children.items())
        if not children:
            raise NotRunning(f"the mesh in {self._directory.root} was not started")
        await asyncio.gather(*(self._wait_for(name, child, timeout) for name, child in children))
        self._phase = "ready"
        self._record()

    async def rotate_certificates(self) -> None:
        """Signs every identity anew, now, without a restart of anything."""
        await asyncio.to_thread(self._started(self._identities).rotate)

    async def stop(self) -> None:
        """Stops every process, last started first, and lets go of the state directory; repeating it does nothing."""
        if not self._directory.locked:
            return
        self._phase = "stopping"
        self._record()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})
        # Telemetry after the others: their last spans still find it.
        callers = tuple(service for service in SERVICES if service != TELEMETRY)
        await self._supervisor.stop((ENVOY,), callers, (TELEMETRY,), (POSTGRES,))
        if self._fork_server is not None:
            await self._fork_server.close()
        envoy.remove_sockets(self._sockets, temporary=self._sockets_are_temporary)
        self._ports.release()
        self._phase = "stopped"
        self._record()
        if not self.options.retain_data:
            await asyncio.to_thread(self._remove_everything)
        self._directory.unlock()

    def _claim_ports(self) -> None:
        # The same ports as last time if they are free: an OAuth client is registered with one of them.
        last = self._directory.last()
        before = last.ports if last is not None else {}
        claimed = {}
        for name in (ENVOY, POSTGRES, envoy.FORWARD, *SERVICES):
            if name == ENVOY and self.options.public_port is not None:
                claimed[name] = self._ports.claim_exactly(self.options.public_port)
            else:
                claimed[name] = self._ports.claim((before[name],) if name in before else ())
        self._port = claimed

    async def _make_certificates(self) -> None:
        def make() -> Identities:
            identities = Identities(CertificateAuthority.open(self._directory.authority), self._directory.identities)
            identities.issue(*mesh_identities())
            return identities

        self._identities = await asyncio.to_thread(make)

    async def _renew_certificates(self) -> None:
        identities = self._started(self._identities)
        while True:
            # Short sleeps and the wall clock: a machine that was asleep has old certificates when it wakes.
            await asyncio.sleep(RENEWAL_CHECK_SECONDS)
            if identities.due():
                await self.rotate_certificates()

    async def _prepare_database(self) -> None:
        await self._step(POSTGRES, self._start_postgres())
        await self._step(MIGRATIONS, self._migrate())

    async def _start_postgres(self) -> None:
        account = unprivileged_account()
        postgres = Postgres(
            programs=await asyncio.to_thread(PostgresPrograms.installed().reachable_by, account),
            data=data_directory(self._directory.database, account),
            port=self._port[POSTGRES],
            passwords=self._directory.passwords(ROLES),
            account=account,
        )
        self._postgres = postgres
        predecessor = postgres.predecessor()
        if predecessor is not None:
            await asyncio.to_thread(end, predecessor, PREDECESSOR_SECONDS)
        await asyncio.to_thread(postgres.initialise)
        child = self._supervisor.start(
            Program(
                name=POSTGRES,
                command=postgres.command,
                environment={"PATH": os.defpath, "LC_ALL": "C"},
                log=LogFile(self.log_file(POSTGRES)),
                ready=postgres.ready,
                address=f"127.0.0.1:{postgres.port}",
                account=account,
                # A fast shutdown: open transactions end, everything is written, no client is waited for.
                stop_signal=signal.SIGINT,
                death_signal=signal.SIGINT,
                stop_seconds=20.0,
                directory=Path("/"),
            )
        )
        await child.wait_ready(START_SECONDS)
        await postgres.provision()

    async def _migrate(self) -> None:
        await self._supervisor.run_once(
            Program(
                name=MIGRATIONS,
                command=(sys.executable, "-m", "cordboard.core.migrate"),
                environment=environment.inherited() | {"CORDBOARD_MIGRATE_DATABASE_URL": self.database_url("owner")},
                log=LogFile(self.log_file(MIGRATIONS)),
                ready=_at_once,
            ),
            START_SECONDS,
        )

    def _told(self, setting: str) -> str:
        """Returns what all services are told, so that Envoy is told the same."""
        return self.options.extra_env.get(EVERY_SERVICE, {}).get(f"CORDBOARD_{setting}", "").strip()

    def _envoy_program(self) -> Program:
        self._sockets, self._sockets_are_temporary = envoy.socket_folder(self._directory.sockets)
        layout = envoy.EnvoyLayout(
            public_port=self._port[ENVOY],
            services={service: self._port[service] for service in (envoy.FORWARD, *SERVICES)},
            identities=self._directory.identities,
            sockets=self._sockets,
            directory=self._directory.envoy,
            descriptors=envoy.descriptors(),
            rate_limit=self.options.rate_limit,
            callers_decide=self._told("TRACE_CALLERS_DECIDE").lower() in {"1", "true", "t", "yes", "y", "on"},
            logs_all=self._told("ACCESS_LOG") == "all",
        )

        async def ready() -> bool:
            counted = await probes.answer_of_socket(layout.admin_socket, KEYS_FETCHED)
            fetched = counted is not None and int(counted.rpartition(":")[2].strip() or 0) > 0
            return fetched and await probes.answers_over_tls(layout.public_port, "/readyz", self.ca_file)

        return Program(
            name=ENVOY,
            command=envoy.command(envoy.fit(layout)),
            environment=environment.inherited() | {"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=cordboard"},
            log=LogFile(self.log_file(ENVOY)),
            ready=ready,
            address=self.public_address,
            stop_seconds=5.0,
        )

    def _service_program(self, service: str) -> Program:
        identity = self.identity_dir(service)
        probing_as = self.identity_dir("operator")

        async def ready() -> bool:
            return await probes.serving(self.address(service), f"{service}.cordboard.internal", probing_as)

        return Program(
            name=service,
            command=self._service_command(service) if self._service_command else (_module(service),),
            environment=environment.of_service(
                service,
                self.options,
                addresses={name: self.address(name) for name in (envoy.FORWARD, *SERVICES)},
                identity=identity,
                database_url=self.database_url(service),
                public_url=self.public_url,
                key_encryption_keys=self._directory.key_encryption_keys(),
                hub_key=self._directory.hub_key(),
            ),
            log=LogFile(self.log_file(service)),
            ready=ready,
            address=self.address(service),
            # Envoy is gone by then: nobody has to hear that this one ends.
            stop_signal=signal.SIGINT,
            forked_from=self._fork_server,
        )

    async def _wait_for(self, name: str, child: Child, timeout: float) -> None:
        # PostgreSQL has told its own story by now, and a mesh that was ready once has no steps left to tell.
        if name == POSTGRES or self._phase == "ready":
            await child.wait_ready(timeout)
        else:
            await self._step(name, child.wait_ready(timeout))

    async def _step(self, name: str, work: Awaitable[None]) -> None:
        begun = time.monotonic()
        self._on_progress(name, 0.0, "started")
        try:
            await work
        except BaseException:
            self._on_progress(name, time.monotonic() - begun, "failed")
            raise
        self._on_progress(name, time.monotonic() - begun, "done")

    def _child(self, name: str) -> Child:
        return self._supervisor.children[name]

    def _started(self, part: T | None) -> T:
        if part is None:
            raise NotRunning(f"the mesh in {self._directory.root} was not started")
        return part

    def _record(self) -> None:
        if not self._port:
            return  # it ends before it has begun: there is nothing to tell
        processes = {
            name: ProcessState(
                name=name,
                pid=child.pid,
                restarts=child.restarts,
                ready=child.ready,
                address=child.program.address,
                log=str(child.program.log.path),
            )
            for name, child in self._supervisor.children.items()
        }
        self._directory.write(
            MeshState(
                phase=self._phase,
                supervisor_pid=os.getpid(),
                started_time=self._started_time,
                profile=self.options.profile,
                public_address=self.public_address,
                public_url=self.public_url,
                ca_file=str(self.ca_file),
                client_identity_dir=str(self._directory.identities / "operator"),
                data_dir=str(self._postgres.data if self._postgres is not None else self._directory.database),
                ports=self._port,
                processes=processes,
            )
        )

    def _remove_everything(self) -> None:
        if self._postgres is not None:
            remove_data(self._postgres.data, self._directory.database)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._directory.root)


def _module(service: str) -> str:
    return f"cordboard.{service}.__main__"


def _say_nothing(_name: str, _seconds: float, _state: str) -> None:
    pass


async def _at_once() -> bool:
    return True
