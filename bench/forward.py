"""What passes through `/proxy/`, against a bare Envoy before the same vendor; and what memory a gigabyte takes.

Beside it stands an Envoy that hands over to itself with mutual TLS and does nothing else: less than that no mesh costs
in which another process than Envoy holds the credentials.
"""

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
        envoys = _envoys(mesh, vendor["port"], folder)
        async with envoys as (bare, twice), aiohttp.ClientSession(connector=connector) as session:
            authorization = {"Authorization": f"Bearer {token}"}
            ours = Door(session, f"https://{mesh.public_address}/proxy/{SLUG}", authorization)
            key = {"X-Api-Key": KEY}
            doors = {"forward": ours, "twice": Door(session, twice, key), "bare": Door(session, bare, key)}
            for door in doors.values():
                await processes.until(partial(_well, door.note), "a first answer")
            figures = []
            for name, unit, run in (
                ("requests of 42 bytes", "calls/s", partial(_rate, mesh, seconds)),
                ("64 MiB up", "MiB/s", partial(_speed, "up")),
                ("64 MiB down", "MiB/s", partial(_speed, "down")),
            ):
                found = await _compared(doors, run, rounds)
                mine, two, one = (Sample(name, unit, found[door]) for door in doors)
                figures.append(Figure(f"/proxy/ over a bare Envoy, {name}", mine, one, AIM))
                figures.append(Figure(f"two Envoys with mutual TLS over a bare one, {name}", two, one))
            for name, way in (("up", ours.up), ("down", ours.down)):
                grown = Sample(name, "MiB", (await _growth(mesh, partial(way, GIGABYTE)),))
                told = f"memory that Proxy and Envoy take for 1 GiB {name}"
                figures.append(Figure(told, grown, aim=GROWTH_AIM_MIB, better="lower"))
    return figures


async def _compared(
    doors: dict[str, Door], run: Callable[[Door], Awaitable[float]], rounds: int
) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {name: [] for name in doors}
    for number in range(rounds):
        for name in doors if number % 2 == 0 else reversed(doors):
            found[name].append(await run(doors[name]))
    return {name: tuple(each) for name, each in found.items()}


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
async def _envoys(mesh: Mesh, vendor_port: int, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Runs an Envoy that does TLS and one route and nothing else.

    Gives the URL of the one that goes to the vendor, and of the one that goes to itself first, with mutual TLS.
    """
    ports = Ports()
    bare, twice, inner = (ports.claim() for _ in range(3))
    outside, within, server = (mesh.identity_dir(name) for name in ("envoy-public", "envoy", "proxy"))
    told = {
        "static_resources": {
            "listeners": [
                _listener("bare", bare, "vendor", {"tls_certificates": [_certificate(outside)]}),
                _listener("twice", twice, "inner", {"tls_certificates": [_certificate(outside)]}),
                _listener("inner", inner, "vendor", _mutual(server), require_client_certificate=True),
            ],
            "clusters": [
                _cluster("vendor", vendor_port),
                {**_cluster("inner", inner), "transport_socket": _tls("Upstream", _mutual(within))},
            ],
        }
    }
    file = folder / "bare-envoy.json"
    await asyncio.to_thread(file.write_text, json.dumps(told), "utf-8")
    async with processes.running(*envoy.command(file), log=folder / "bare-envoy.log"):
        yield f"https://localhost:{bare}", f"https://localhost:{twice}"
    ports.release()


def _listener(name: str, port: int, cluster: str, tls: dict[str, Any], **how: Any) -> dict[str, Any]:
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    manager = {
        "@type": http,
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    filters = [{"name": "http", "typed_config": manager}]
    chain = {"filters": filters, "transport_socket": _tls("Downstream", tls, **how)}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    found = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "connect_timeout": "1s", "load_assignment": found}


def _tls(side: str, common: dict[str, Any], **how: Any) -> dict[str, Any]:
    kind = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": common, **how}}


def _mutual(identity: Path) -> dict[str, Any]:
    trusted = {"trusted_ca": {"filename": str(identity / "ca.crt")}}
    return {"tls_certificates": [_certificate(identity)], "validation_context": trusted}


def _certificate(identity: Path) -> dict[str, Any]:
    return {
        "certificate_chain": {"filename": str(identity / "tls.crt")},
        "private_key": {"filename": str(identity / "tls.key")},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _same(got: int, wanted: int) -> None:
    if got != wanted:
        raise RuntimeError(f"{got} bytes came of {wanted}")
