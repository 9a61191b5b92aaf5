"""Calls of every kind, one after the other, while a network or a database is bad: how each of them ended, and when."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import aiohttp
import grpc
from google.rpc import error_details_pb2, status_pb2
from yarl import URL

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from tests.fixtures.desk import INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import until

SECONDS: Final = 4.0
# Whoever has not been answered then hangs: no load of a machine explains it.
HANGS: Final = 30.0
# A fault of ours; where the neighbour or the network is at fault there is another word for it.
OURS: Final = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
OK: Final = "OK"
EXECUTE: Final = "/cordboard.proxy.v1.ProxyService/Execute"


@dataclass(frozen=True)
class Ended:
    """How one call ended."""

    kind: str
    began: float
    took: float
    code: str
    told: str = ""
    """The reason, or the text where there is none."""
    stale: str = ""

    @property
    def well(self) -> bool:
        return self.code == OK

    @property
    def word(self) -> str:
        return OK if self.well else f"{self.code} {self.told}".strip()[:90]


Ask = Callable[[str, Any, float], Awaitable[tuple[str, str, str]]]
"""Calls a method by its path with a request and a deadline; returns the code, what was told of it, and staleness."""
Call = Callable[[], Awaitable[tuple[str, str, str]]]
"""Makes one call, and returns the same."""


def by_web(desk: Desk, token: str) -> Ask:
    """Returns what calls through Envoy and says its deadline, which it does not keep: only the mesh can end a call."""

    async def ask(path: str, request: Any, seconds: float) -> tuple[str, str, str]:
        message = request.SerializeToString()
        headers = {
            "content-type": "application/grpc-web+proto",
            "authorization": f"Bearer {token}",
            "grpc-timeout": f"{round(seconds * 1000)}m",
        }
        url = URL(desk.mesh.mesh.public_url + path, encoded=True)
        data = b"\0" + len(message).to_bytes(4) + message

        async def post() -> tuple[dict[str, str], bytes]:
            async with desk.mesh.browser.post(url, data=data, headers=headers) as answer:
                return {key.lower(): value for key, value in answer.headers.items()}, await answer.read()

        try:
            found, body = await desk.mesh.backstage.wait(post())
        except aiohttp.ClientError as error:
            return "BROKEN", type(error).__name__, ""
        told = found | _trailers(body)
        if "grpc-status" not in told:
            return "BROKEN", "no status", ""
        code = _CODES[int(told["grpc-status"])]
        return code, _reason(told) or told.get("grpc-message", ""), told.get("cordboard-stale", "")

    return ask


_CODES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


def _trailers(body: bytes) -> dict[str, str]:
    """Returns what stands in the last frame of an answer of gRPC-Web."""
    while len(body) >= 5:
        kind, size = body[0], int.from_bytes(body[1:5])
        if kind & 0x80:
            lines = body[5 : 5 + size].decode().split("\r\n")
            return {
                key.strip().lower(): value.strip() for key, _, value in (one.partition(":") for one in lines if one)
            }
        body = body[5 + size :]
    return {}


def _reason(told: dict[str, str]) -> str:
    packed = told.get("grpc-status-details-bin", "")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4))).details:
        detail.Unpack(info)
    return info.reason


def by_client(client: Client) -> Ask:
    """Returns what calls with the Python client, which gives up at its deadline by itself."""
    stubs: dict[str, Any] = {
        EXECUTE: client.proxy.Execute,
        "/cordboard.catalog.v1.CatalogService/GetIntegration": client.catalog.GetIntegration,
    }

    async def ask(path: str, request: Any, seconds: float) -> tuple[str, str, str]:
        try:
            await stubs[path](request, timeout=seconds)
        except CordboardError as error:
            return error.code.name, error.reason or error.message, ""
        return OK, "", ""

    return ask


@dataclass
class Traffic:
    """Calls of several kinds at a steady pace, each on its own, until it is told to stop."""

    every: float = 0.7
    ended: list[Ended] = field(default_factory=list)
    _kinds: dict[str, Call] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _lanes: list[asyncio.Task[None]] = field(default_factory=list)

    def add(self, kind: str, call: Call) -> None:
        """Calls this too, again and again."""
        self._kinds[kind] = call

    def begin(self) -> None:
        self._lanes = [asyncio.create_task(self._lane(kind, call)) for kind, call in self._kinds.items()]

    async def end(self) -> None:
        """Ends it, when all that is under way has ended."""
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        await asyncio.gather(*self._running)

    def of(self, kind: str, since: float = 0.0) -> list[Ended]:
        """Returns the calls of a kind that began since then, in the order of their beginnings."""
        return sorted((one for one in self.ended if one.kind == kind and one.began >= since), key=lambda one: one.began)

    async def well_again(self, since: float, *, in_a_row: int = 12, patience: float = 120.0) -> dict[str, float]:
        """Returns, by kind, how long after `since` calls that went wrong still began; fails the test when it lasts."""

        async def all_well() -> bool:
            return all(
                len(found := self.of(kind, since)) >= in_a_row and all(one.well for one in found[-in_a_row:])
                for kind in self._kinds
            )

        def still() -> str:
            last = {kind: [one.word for one in self.of(kind, since)[-3:]] for kind in self._kinds}
            return f"calls to go well again; the last ones: {last}"

        await until(all_well, still, patience=patience, every=0.1)
        return {
            kind: max((one.began - since for one in self.of(kind, since) if not one.well), default=0.0)
            for kind in self._kinds
        }

    async def _lane(self, kind: str, call: Call) -> None:
        for number in itertools.count():
            task = asyncio.create_task(self._one(kind, call))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            # Not one after the other: a caller does not wait for the call of another one.
            await asyncio.sleep(self.every * (1 + 0.2 * (number % 2)))

    async def _one(self, kind: str, call: Call) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(HANGS):
                code, told, stale = await call()
        except TimeoutError:
            code, told, stale = "HANGS", "", ""
        self.ended.append(Ended(kind, began, time.monotonic() - began, code, told, stale))


class Writes:
    """Tickets that are created under keys of their own, and asked for again until they are done, or in doubt."""

    def __init__(self, desk: Desk, tenant: Tenant, ask: Ask) -> None:
        self.desk = desk
        self.tenant = tenant
        self.ask = ask
        self.prefix = f"w-{uuid4().hex[:8]}"
        self.open: dict[str, str] = {}
        self.done: set[str] = set()
        self.doubtful: set[str] = set()
        self._numbers = itertools.count()

    async def one(self) -> tuple[str, str, str]:
        """Creates one ticket."""
        key = f"{self.prefix}-{next(self._numbers)}"
        self.open[key] = ""
        return await self._ask(key, SECONDS)

    async def again(self) -> None:
        """Asks for what is not done, under the same keys, until it is."""

        async def all_ended() -> bool:
            for key in list(self.open):
                await self._ask(key, HANGS)
            return not self.open

        await until(all_ended, lambda: f"{len(self.open)} writes to end: {Counter(self.open.values())}", patience=120)

    def twice(self) -> dict[str, int]:
        """Returns the tickets that there are more than once."""
        return {subject: count for subject, count in self._tickets().items() if count > 1}

    def lost(self) -> set[str]:
        """Returns what was acknowledged, and is not there."""
        return self.done - self._tickets().keys()

    def _tickets(self) -> dict[str, int]:
        return {subject: count for subject, count in self.desk.tickets().items() if subject.startswith(self.prefix)}

    async def _ask(self, key: str, seconds: float) -> tuple[str, str, str]:
        values = f'{{"subject": "{key}", "requester_id": "con_00000001"}}'
        request = proxy.ExecuteRequest(
            connection=self.tenant.connection, action="create_ticket", input_json=values, idempotency_key=key
        )
        code, told, stale = await self.ask(EXECUTE, request, seconds)
        if code == OK or told == "INDETERMINATE":
            (self.done if code == OK else self.doubtful).add(key)
            self.open.pop(key, None)
        elif key in self.open:
            self.open[key] = f"{code} {told}"
        return code, told, stale


async def fresh_connections(desk: Desk, tenant: Tenant, count: int) -> list[str]:
    """Connects the workspace so many times more; returns the names. The Proxy has a lease of none of them."""

    async def connect(client: Client, name: str) -> str:
        session = await client.connect.CreateConnectSession(
            connecting.CreateConnectSessionRequest(
                parent=f"workspaces/{tenant.workspace}",
                integration=INTEGRATION,
                auth_scheme=desk.schemes["api_key"],
                connection_id=name,
            )
        )
        request = connecting.SubmitConnectSessionRequest(name=session.name)
        request.values.update({"api_key": desk.vendor.settings.api_key})
        await client.connect.SubmitConnectSession(request)
        return f"workspaces/{tenant.workspace}/connections/{name}"

    async with desk.mesh.client(tenant.token) as client:
        made = []
        for _ in range(0, count, 10):
            made += await asyncio.gather(*(connect(client, f"new-{uuid4().hex[:10]}") for _ in range(10)))
        return made


def reading(ask: Ask, connection: Callable[[], str]) -> Call:
    """Returns a call that reads at the vendor on the connection that is named then."""
    return lambda: ask(EXECUTE, proxy.ExecuteRequest(connection=connection(), action="get_me"), SECONDS)


def looking_up(ask: Ask) -> Call:
    """Returns a call that the Catalog answers from memory."""
    path = "/cordboard.catalog.v1.CatalogService/GetIntegration"
    return lambda: ask(path, catalog.GetIntegrationRequest(name=INTEGRATION), SECONDS)


def listing(ask: Ask) -> Call:
    """Returns a call that Flags asks its database for."""
    return lambda: ask("/cordboard.flags.v1.FlagService/ListFlags", flags.ListFlagsRequest(), SECONDS)


def paging(client: Client, connection: str) -> Call:
    """Returns a call that streams two pages of the vendor's, with gRPC itself."""

    async def call() -> tuple[str, str, str]:
        request = proxy.ExecuteStreamRequest(connection=connection, action="list_tickets", input_json="{}", max_pages=2)
        try:
            async for _ in client.proxy.ExecuteStream(request, timeout=SECONDS):
                pass
        except CordboardError as error:
            return error.code.name, error.reason or error.message, ""
        return OK, "", ""

    return call
