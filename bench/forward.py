"""What passes through `/proxy/`, against a bare Envoy before the same vendor; and what memory a gigabyte takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from bench import bulk, load, processes, scene, startup
from bench.figures import Figure, Sample
from cordboard.local import envoy
from cordboard.local.mesh import ENVOY
from cordboard.local.ports import Ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cordboard.local.mesh import Mesh

SLUG = "bulk"
KEY = "a key that this vendor takes"
AIM = 0.7
MIB = 1024 * 1024
LARGE = 64 * MIB
GIGABYTE = 1024 * MIB
# What a few chunks, buffers of sockets and the allocator's habits may take; a body that is held takes 1,024.
GROWTH_AIM_MIB = 64.0
LOOK_EVERY_SECONDS = 0.05


@dataclass(frozen=True)
class Door:
    """A way to the vendor."""

    session: aiohttp.ClientSession
    base: str
    headers: dict[str, str]

    async def note(self) -> None:
        """Gets something small."""
        async with self.session.get(f"{self.base}/note", headers=self.headers) as answer:
            answer.raise_for_status()
            await answer.read()

    async def up(self, size: int) -> None:
        """Sends so many bytes."""
        body = bulk.blocks(size)
        async with self.session.put(f"{self.base}/bulk", data=body, headers=self.headers) as answer:
            answer.raise_for_status()
            _same((await answer.json())["size"], size)

    async def down(self, size: int) -> None:
        """Gets so many bytes, and forgets them."""
        async with self.session.get(f"{self.base}/bulk?size={size}", headers=self.headers) as answer:
            answer.raise_for_status()
            got = 0
            async for block in answer.content.iter_any():
                got += len(block)
            _same(got, size)


async def measure(mesh: Mesh, stage: scene.Scene, folder: Path, *, rounds: int, seconds: float) -> list[Figure]:
    """Measures both ways in turn, round by round; each request is traced and recorded on ours."""
    async with processes.module("bench.bulk", folder) as (vendor, _):
        url = f"http://127.0.0.1:{vendor['port']}"
        token = await scene.another(mesh, stage, SLUG, bulk.document(url), KEY)
        trust = ssl.create_default_context(cafile=str(mesh.ca_file))
        connector = aiohttp.TCPConnector(ssl=trust, limit=load.CONCURRENCY)
        async with _bare(mesh, vendor["port"], folder) as bare, aiohttp.ClientSession(connector=connector) as session:
            authorization = {"Authorization": f"Bearer {token}"}
            ours = Door(session, f"https://{mesh.public_address}/proxy/{SLUG}", authorization)
            doors = {"forward": ours, "bare": Door(session, bare, {"X-Api-Key": KEY})}
            for door in doors.values():
                await processes.until(partial(_well, door.note), "a first answer")
            figures = []
            for name, unit, run in (
                ("requests of 42 bytes", "calls/s", partial(_rate, mesh, seconds)),
                ("64 MiB up", "MiB/s", partial(_speed, "up")),
                ("64 MiB down", "MiB/s", partial(_speed, "down")),
            ):
                mine, other = (Sample(name, unit, found) for found in await _compared(doors, run, rounds))
                figures.append(Figure(f"/proxy/ over a bare Envoy, {name}", mine, other, AIM))
            for name, way in (("up", ours.up), ("down", ours.down)):
                grown = Sample(name, "MiB", (await _growth(mesh, partial(way, GIGABYTE)),))
                told = f"memory that Proxy and Envoy take for 1 GiB {name}"
                figures.append(Figure(told, grown, aim=GROWTH_AIM_MIB, better="lower"))
    return figures


async def _compared(
    doors: dict[str, Door], run: Callable[[Door], Awaitable[float]], rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found: dict[str, list[float]] = {name: [] for name in doors}
    for number in range(rounds):
        for name in doors if number % 2 == 0 else reversed(doors):
            found[name].append(await run(doors[name]))
    return tuple(found["forward"]), tuple(found["bare"])


async def _rate(mesh: Mesh, seconds: float, door: Door) -> float:
    await load.idle(startup.servers(mesh))
    return await load.rate(door.note, seconds)


async def _speed(way: str, door: Door) -> float:
    begun = time.perf_counter()
    await getattr(door, way)(LARGE)
    return LARGE / MIB / (time.perf_counter() - begun)


async def _growth(mesh: Mesh, work: Callable[[], Awaitable[None]]) -> float:
    """Returns by how many MiB Proxy and Envoy together grew at most while something was done."""
    watched = [psutil.Process(pid) for name in ("proxy", ENVOY) if (pid := mesh.pid(name)) is not None]
    before = _resident(watched)
    highest = before
    doing = asyncio.ensure_future(work())
    while not doing.done():
        highest = max(highest, _resident(watched))
        await asyncio.wait([doing], timeout=LOOK_EVERY_SECONDS)
    await doing
    return (max(highest, _resident(watched)) - before) / MIB


def _resident(watched: list[psutil.Process]) -> float:
    return float(sum(process.memory_info().rss for process in watched))


async def _well(look: Callable[[], Awaitable[None]]) -> bool:
    try:
        await look()
    except aiohttp.ClientError:
        return False
    return True


@contextlib.asynccontextmanager
async def _bare(mesh: Mesh, vendor_port: int, folder: Path) -> AsyncIterator[str]:
    """Runs an Envoy that does nothing but TLS and one route; gives its URL."""
    ports = Ports()
    port = ports.claim()
    file = folder / "bare-envoy.json"
    identity = mesh.identity_dir("envoy-public")
    await asyncio.to_thread(file.write_text, json.dumps(_configuration(port, vendor_port, identity)), "utf-8")
    async with processes.running(*envoy.command(file), log=folder / "bare-envoy.log"):
        yield f"https://localhost:{port}"
    ports.release()


def _configuration(port: int, vendor_port: int, identity: Path) -> dict[str, Any]:
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    certificate = {
        "certificate_chain": {"filename": str(identity / "tls.crt")},
        "private_key": {"filename": str(identity / "tls.key")},
    }
    manager = {
        "@type": http,
        "stat_prefix": "bare",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "vendor",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "vendor", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    chain = {
        "filters": [{"name": "http", "typed_config": manager}],
        "transport_socket": {
            "name": "tls",
            "typed_config": {"@type": tls, "common_tls_context": {"tls_certificates": [certificate]}},
        },
    }
    return {
        "static_resources": {
            "listeners": [{"name": "edge", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [
                {
                    "name": "vendor",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": "vendor",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(vendor_port)}}]}],
                    },
                }
            ],
        }
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _same(got: int, wanted: int) -> None:
    if got != wanted:
        raise RuntimeError(f"{got} bytes came of {wanted}")
