"""Hostile connections, at Envoy and at the ports behind it: each comes to its end, and others are served meanwhile.

`STREAMS_RESET` is how many streams the rapid reset takes, `FLOOD_SECONDS` how long a flood may go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from cordboard.client import CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local import envoy, probes
from cordboard.local.ports import Ports
from tests.fixtures.mesh import RunningMesh, until
from tests.scale._aims import Aims
from tests.soak.abuse import Order, Report, abused

RESETS: Final = int(os.environ.get("STREAMS_RESET", "100000"))
FLOOD_SECONDS: Final = float(os.environ.get("FLOOD_SECONDS", "20"))
RESET_SECONDS: Final = 60.0
# Before a connection is over, this much later than the settings say at most: the machine may be busy.
SLACK: Final = 60.0
BEFORE_SECONDS: Final = 8.0
CALLERS: Final = 3
PAUSE: Final = 0.05
TIMEOUT: Final = 30.0
GET_FLAG: Final = "/cordboard.flags.v1.FlagService/GetFlag"
GRPC: Final = "application/grpc"
HTTP_1: Final = "http/1.1"
NO_TIME: Final = 0.0


@dataclass(frozen=True)
class Attack:
    """What is done, and within how many seconds of its beginning the settings say that each connection is over."""

    kind: str
    count: int
    within: float
    title: str
    endless: bool = False
    """Whether nothing says that it has to end: whoever reads the answers may ask for a long time."""
    more: dict[str, str] = field(default_factory=dict)


HANDSHAKES: Final = (
    Attack("silent", 100, 5, "no byte of TLS"),
    Attack("half_a_hello", 50, 5, "half a handshake, 1 byte/5 s"),
)
AT_ENVOY: Final = (
    *HANDSHAKES,
    Attack("slow_headers_1", 100, 10, "headers of HTTP/1.1, 1 byte/5 s", more={"protocol": HTTP_1}),
    Attack("slow_headers_2", 100, 10, "headers of HTTP/2, 1 byte/5 s"),
    Attack("slow_body_1", 100, 60, "body of HTTP/1.1, 1 byte/5 s", more={"protocol": HTTP_1}),
    Attack("slow_body_2", 100, 60, "body of HTTP/2, 1 byte/5 s"),
    Attack(
        "slow_bodies", 10, 60, "1,000 calls whose requests never come", more={"path": GET_FLAG, "content_type": GRPC}
    ),
    Attack("no_preface", 500, 120, "no preface"),
    Attack("window_0", 10, 30, "1,000 answers, no window", more={"path": "/console"}),
    Attack("large_header", 20, NO_TIME, "a header of 1 MB"),
    Attack("large_header_1", 20, NO_TIME, "a header of 1 MB by HTTP/1.1", more={"protocol": HTTP_1}),
    Attack("many_headers", 20, NO_TIME, "1,000 headers"),
    Attack("rapid_reset", RESETS, NO_TIME, "rapid reset", more={"path": "/v1/flags"}),
    Attack("continuations", 100_000, NO_TIME, "CONTINUATION frames of 4 kB"),
    Attack("empty_continuations", 1_000_000, NO_TIME, "CONTINUATION frames, empty"),
    Attack("settings", 1_000_000, NO_TIME, "SETTINGS", endless=True),
    Attack("settings_unread", 1_000_000, NO_TIME, "SETTINGS, answers not read"),
    Attack("pings", 1_000_000, NO_TIME, "PING", endless=True),
    Attack("pings_unread", 1_000_000, NO_TIME, "PING, answers not read"),
)
FLOODS: Final = frozenset(each.kind for each in AT_ENVOY[-7:])


# With a certificate of the mesh, but for those that get no further than the handshake.
AT_A_SERVICE: Final = (
    *HANDSHAKES,
    Attack("no_preface", 50, NO_TIME, "no certificate", more={"identity": ""}),
    Attack("no_preface", 100, 5, "no preface"),
    # It is asked whether it is there after a minute, and has ten seconds to say so.
    Attack("slow_headers_2", 50, 70, "headers, 1 byte/5 s"),
    Attack("large_header", 20, NO_TIME, "a header of 1 MB"),
    Attack("many_headers", 20, NO_TIME, "1,000 headers"),
    # What is too much of it is let go at once: only the sender has work with it.
    Attack("continuations", 100_000, NO_TIME, "CONTINUATION frames of 4 kB", endless=True),
    # gRPC ends most, and reads no further where it does not.
    Attack("pings", 1_000_000, NO_TIME, "PING", endless=True),
    Attack("settings", 1_000_000, NO_TIME, "SETTINGS", endless=True),
)
AT_FORWARD: Final = (
    *HANDSHAKES,
    Attack("no_preface", 50, NO_TIME, "no certificate", more={"identity": ""}),
    Attack("no_preface", 100, 75, "no request"),
    Attack("slow_headers_1", 100, 75, "headers, 1 byte/5 s"),
    Attack("large_header_1", 20, NO_TIME, "a header of 1 MB"),
)


class Traffic:
    """Good calls through Envoy: some on connections of their own, and one that opens a new one each time."""

    def __init__(self, mesh: RunningMesh, token: str) -> None:
        self._mesh = mesh
        self._token = token
        self.took: list[float] = []
        self.failures: list[str] = []

    @property
    def share(self) -> float:
        """How many of all were answered."""
        return len(self.took) / max(1, len(self.took) + len(self.failures))

    @property
    def p99(self) -> float:
        """In how many seconds 99 of 100 were."""
        return sorted(self.took)[int(len(self.took) * 0.99)] if self.took else TIMEOUT

    async def during(self, work: Any) -> Any:
        """Calls for as long as `work` takes; returns what it gives."""
        stop = asyncio.Event()
        callers = [asyncio.create_task(self._call(stop)) for _ in range(CALLERS)]
        callers.append(asyncio.create_task(self._come_anew(stop)))
        try:
            return await work
        finally:
            stop.set()
            await asyncio.gather(*callers)

    async def _one(self, call: Any) -> None:
        began = time.monotonic()
        try:
            await call
        except (CordboardError, aiohttp.ClientError, TimeoutError, AssertionError) as error:
            self.failures.append(f"{type(error).__name__}: {error}"[:200])
        else:
            self.took.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE)

    async def _call(self, stop: asyncio.Event) -> None:
        async with self._mesh.client(self._token) as client:
            while not stop.is_set():
                await self._one(client.flags.ListFlags(flags.ListFlagsRequest(), timeout=TIMEOUT))

    async def _come_anew(self, stop: asyncio.Event) -> None:
        trust = ssl.create_default_context(cafile=str(self._mesh.mesh.ca_file))
        headers = {"authorization": f"Bearer {self._token}"}
        limit = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(ssl=trust, force_close=True)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=limit) as session:

            async def get() -> None:
                async with session.get(f"{self._mesh.mesh.public_url}/v1/flags") as answer:
                    assert answer.status == 200, f"{answer.status} {await answer.text()}"

            while not stop.is_set():
                await self._one(get())


def memory(mesh: RunningMesh, process: str) -> float:
    """Returns the resident memory of a process of the mesh, in MiB."""
    status = Path(f"/proc/{mesh.mesh.pid(process)}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def held(mesh: RunningMesh, token: str, attack: Attack, order: Order, process: str = "envoy") -> Report:
    """Attacks amid good traffic; says how that went, and checks what is promised."""
    before = Traffic(mesh, token)
    await before.during(asyncio.sleep(BEFORE_SECONDS))
    pids, beginning = mesh.pids(), memory(mesh, process)
    amid = Traffic(mesh, token)
    report: Report = await amid.during(abused(order))
    grown = memory(mesh, process)
    last = max(report.ended, default=0.0)
    print(
        f"\n{attack.title}: {report.opened} connections, {report.refused} refused, {report.sent} sent in "
        f"{report.seconds} s; {len(report.ended)} ended, after {last} s at most; good calls: {len(amid.took)}, "
        f"{len(amid.failures)} failed, p99 {amid.p99 * 1000:.0f} ms ({before.p99 * 1000:.0f} ms before); "
        f"{process} {grown:.0f} MiB ({beginning:.0f} before); load {os.getloadavg()[0]:.1f}"
    )
    aims = Aims()
    aims.at_most("good calls that fail", 1 - amid.share, 0.001, "of them")
    aims.at_most("p99 over that before", amid.p99 / before.p99, 2, "times")
    assert report.opened
    assert amid.took
    assert amid.share >= 0.99, amid.failures[:10]
    assert mesh.pids() == pids
    assert grown < 1024
    if not attack.endless:
        assert not report.open, f"{report.open} of {report.opened} were not ended"
        assert report.ended
        assert last <= attack.within + SLACK
    return report


async def premature(sockets: Path) -> int:
    """Returns how many connections an Envoy has ended because too many of their streams were taken back."""
    name = "http.edge.downstream_rq_too_many_premature_resets"
    told = await probes.answer_of_socket(sockets / envoy.ADMIN_SOCKET, f"/stats?filter=^{name}$")
    return int((told or "").partition(": ")[2])


def order_for(attack: Attack, port: int, mesh: RunningMesh, token: str, **more: Any) -> Order:
    """Returns the order for an attack at a port of this machine."""
    seconds = FLOOD_SECONDS if attack.kind in FLOODS else attack.within + SLACK
    if attack.kind == "rapid_reset":
        seconds = RESET_SECONDS
    order = Order(
        attack.kind, "127.0.0.1", port, str(mesh.mesh.ca_file), "localhost", count=attack.count, seconds=seconds
    )
    # Who has no token would be refused before its body is waited for, or for the number of its calls.
    asked = {"path": "/v1/tokens:issue", "token": token} | attack.more | more
    return replace(order, **asked)


@pytest.fixture(scope="module")
def token(running_mesh: RunningMesh) -> str:
    """A token that no workspace's limit holds up."""
    return running_mesh.backstage.run(running_mesh.token("operator", "publisher"))


@pytest.mark.parametrize("attack", AT_ENVOY, ids=lambda attack: attack.kind)
async def test_hostile_connections_at_envoy_end_and_others_are_served(
    running_mesh: RunningMesh, token: str, attack: Attack
) -> None:
    port = int(running_mesh.mesh.public_address.rpartition(":")[2])
    report = await held(running_mesh, token, attack, order_for(attack, port, running_mesh, token))
    if attack.kind == "rapid_reset":
        assert await premature(running_mesh.state_dir / "run") >= len(report.ended)
    if attack.kind == "slow_headers_1":
        assert report.first == {"HTTP/1.1 408 Request Timeout": attack.count}
    if attack.kind == "large_header_1":
        assert report.first == {"HTTP/1.1 431 Request Header Fields Too Large": attack.count}


@pytest.mark.parametrize("attack", AT_A_SERVICE, ids=lambda attack: f"{attack.kind}-{attack.title}")
async def test_hostile_connections_at_a_service_end_and_others_are_served(
    running_mesh: RunningMesh, token: str, attack: Attack
) -> None:
    await held(running_mesh, token, attack, inside(attack, "flags", running_mesh, token), "flags")


@pytest.mark.parametrize("attack", AT_FORWARD, ids=lambda attack: f"{attack.kind}-{attack.title}")
async def test_hostile_connections_at_the_port_for_plain_http_end_and_others_are_served(
    running_mesh: RunningMesh, token: str, attack: Attack
) -> None:
    order = replace(inside(attack, envoy.FORWARD, running_mesh, token), protocol=HTTP_1)
    await held(running_mesh, token, attack, order, "proxy")


def inside(attack: Attack, where: str, mesh: RunningMesh, token: str) -> Order:
    """Returns the order for an attack at a port behind Envoy, by one who has Envoy's certificate."""
    port = int(mesh.mesh.address(where).rpartition(":")[2])
    more: dict[str, Any] = {"identity": str(mesh.mesh.identity_dir("envoy")), "path": GET_FLAG, "content_type": GRPC}
    owner = "proxy" if where == envoy.FORWARD else where
    return replace(order_for(attack, port, mesh, token), name=f"{owner}.cordboard.internal", **more | attack.more)


def careless(fitted: dict[str, Any]) -> None:
    """Takes the guards out of Envoy's configuration."""
    edge = fitted["static_resources"]["listeners"][0]
    edge["listener_filters_timeout"] = "600s"
    manager = edge["filter_chains"][0]["filters"][-1]["typed_config"]
    manager["common_http_protocol_options"]["idle_timeout"] = "900s"
    manager["request_headers_timeout"] = "0s"
    manager["stream_flush_timeout"] = "300s"
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != "envoy.filters.http.buffer"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.get("route", {}).get("max_stream_duration", {}).pop("max_stream_duration", None)
        route.get("typed_per_filter_config", {}).pop("envoy.filters.http.buffer", None)
    fitted["layered_runtime"]["layers"][0]["static_layer"]["overload.premature_reset_total_stream_count"] = 100_000_000


@contextlib.asynccontextmanager
async def a_twin(mesh: RunningMesh, change: Callable[[dict[str, Any]], None]) -> AsyncIterator[tuple[int, Path]]:
    """Runs another Envoy before the same services with other settings; gives its port and its sockets' folder."""
    ports, folder = Ports(), Path(tempfile.mkdtemp(prefix="cordboard-twin-"))
    port = ports.claim()
    text = (mesh.state_dir / "envoy" / "envoy.json").read_text()
    fitted = json.loads(text.replace(str(mesh.state_dir / "run"), str(folder)))
    fitted["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    change(fitted)
    file = folder / "envoy.json"
    file.write_text(json.dumps(fitted))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*envoy.command(file), stdout=log, stderr=log)
    try:
        trust = mesh.mesh.ca_file
        await until(
            lambda: probes.answers_over_tls(port, "/readyz", trust), lambda: (folder / "log").read_text()[-2000:]
        )
        yield port, folder
    finally:
        process.kill()
        await process.wait()
        ports.release()
        shutil.rmtree(folder, ignore_errors=True)


async def test_without_its_guards_envoy_lets_all_of_that_go_on(running_mesh: RunningMesh, token: str) -> None:
    waits = {each.kind: replace(each, count=10) for each in AT_ENVOY}
    async with a_twin(running_mesh, careless) as (port, folder):
        # Each would be over by the settings of the repository, and a little later.
        kinds = {
            "silent": 20.0,
            "slow_headers_1": 25.0,
            "slow_headers_2": 25.0,
            "slow_body_1": 80.0,
            "slow_body_2": 80.0,
        }
        kinds |= {"no_preface": 140.0, "window_0": 60.0}
        orders = [
            replace(order_for(waits[kind], port, running_mesh, token), seconds=seconds)
            for kind, seconds in kinds.items()
        ]
        for kind, report in zip(kinds, await asyncio.gather(*map(abused, orders)), strict=True):
            print(f"\nwithout a guard, {kind}: {report.open} of {report.opened} go on")
            assert report.open == report.opened == 10, kind
        reset = next(each for each in AT_ENVOY if each.kind == "rapid_reset")
        report = await abused(order_for(replace(reset, count=20_000), port, running_mesh, token))
        ended = await premature(folder)
        print(f"\nwithout a guard, {report.sent} streams are reset, and {ended} connections ended for it")
        assert report.sent > 1_000
        assert ended == 0

        # One who sends no requests to the end has all places of a service, and nobody is served by it.
        calls = next(each for each in AT_ENVOY if each.kind == "slow_bodies")
        attack = asyncio.create_task(abused(replace(order_for(calls, port, running_mesh, token), seconds=20.0)))
        amid = Traffic(running_mesh, token)

        async def refused() -> bool:
            return bool(amid.failures) or attack.done()

        await amid.during(until(refused, "a call that is refused"))
        print(f"\nwithout a guard, good calls end with {amid.failures[:1]}")
        assert amid.failures
        await attack

    async def served() -> bool:
        after = Traffic(running_mesh, token)
        await after.during(asyncio.sleep(1.0))
        return not after.failures

    await until(served, "calls to be served again")
