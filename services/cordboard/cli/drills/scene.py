"""What a drill plays on: a mesh with a vendor, a customer who calls without end, and an operator who looks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from cordboard.cli.demo.desk import SLUG, connect_by_key, create_workspace, import_desk, roll_out
from cordboard.cli.demo.narrator import Narrator, Step, StepFailed
from cordboard.cli.demo.parts import PRODUCTION, Callers, Vendor, told, until, vendor
from cordboard.cli.mesh import LOOPBACK
from cordboard.client import Client, CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.mesh import Mesh, Progress
from cordboard.local.options import MeshOptions
from cordboard.telemetry.v1 import alert_service_pb2 as alerts

T = TypeVar("T")
WORKSPACE: Final = "northwind"
CONNECTION: Final = f"workspaces/{WORKSPACE}/connections/desk"
READ: Final = "get_me"
INTEGRATION: Final = f"integrations/{SLUG}"
# How long a drill waits for what it is about to see: an alert is promised within a minute.
NOTICED_SECONDS: Final = 120.0
REPAIRED_SECONDS: Final = 120.0
_PAUSE: Final = 0.1
_CALL_SECONDS: Final = 10.0


@dataclass
class Calls:
    """What became of the customer's calls."""

    made: int = 0
    well: float = 0.0
    """When the newest call began that went well."""
    failed: float = 0.0
    """When the newest call began that did not."""
    reasons: dict[str, int] = field(default_factory=dict)
    """How often calls failed, by the reason."""

    async def go_well(self, since: float) -> float:
        """Returns the seconds from then until a call began that went well; raises StepFailed."""
        try:
            await until(lambda: told(self.well > since), "a call that goes well", patience=REPAIRED_SECONDS)
        except StepFailed as problem:
            raise StepFailed(f"{problem}; calls failed with {self.reasons}") from None
        return self.well - since

    async def fail(self, since: float) -> float:
        """Returns the seconds from then until a call began that did not go well; raises StepFailed."""
        await until(lambda: told(self.failed > since), "a call that fails", patience=NOTICED_SECONDS)
        return self.failed - since


@dataclass(frozen=True)
class Cause:
    """What a drill has made, for whoever had to find it."""

    text: str
    edge: Scene | None = None
    """The edge whose console may be needed for it."""


async def nobody_looks(_: Cause) -> None:
    """Looks at nothing."""


@dataclass(frozen=True)
class Scene:
    """Where a drill takes place."""

    narrator: Narrator
    folder: Path
    mesh: Mesh
    vendor: Vendor
    callers: Callers
    operator: Client
    member: Client
    look: Callable[[Cause], Awaitable[None]] = nobody_looks
    """Is called while the failure is there, before it is mended."""

    @contextlib.asynccontextmanager
    async def traffic(self, connection: str = CONNECTION) -> AsyncIterator[Calls]:
        """Calls inside the block, again and again, whatever becomes of it."""
        calls = Calls()

        async def call() -> None:
            while True:
                began = time.monotonic()
                try:
                    await self.member.execute(connection, READ, {}, timeout=_CALL_SECONDS)
                    calls.well = began
                except CordboardError as error:
                    calls.failed = began
                    reason = error.reason or error.code.name
                    calls.reasons[reason] = calls.reasons.get(reason, 0) + 1
                calls.made += 1
                await asyncio.sleep(_PAUSE)

        began = time.monotonic()
        running = asyncio.create_task(call())
        try:
            await calls.go_well(began)
            yield calls
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def noticed(self, step: Step, rule: str, since: float) -> str:
        """Notes how soon what is wrong was among what needs somebody, and an alert; returns a trace that shows it."""
        item = await until(lambda: self._attention(rule), "the attention list", patience=NOTICED_SECONDS, every=0.25)
        step.result(f"what needs somebody, after {time.monotonic() - since:.1f} s: {item.summary}")
        alert = await until(lambda: self._alert(rule), f"the alert {rule}", patience=NOTICED_SECONDS, every=0.5)
        step.result(f"the alert {rule}, after {time.monotonic() - since:.0f} s: {alert.summary}")
        return item.trace or alert.trace

    async def _attention(self, rule: str) -> alerts.AttentionItem | None:
        found = (await self.operator.alerts.ListAttention(alerts.ListAttentionRequest())).items
        return next((one for one in found if one.runbook.endswith(f"#{rule.lower()}")), None)

    async def _alert(self, rule: str) -> alerts.Alert | None:
        request = alerts.ListAlertsRequest(state=alerts.Alert.STATE_FIRING, rule=rule)
        return next(iter((await self.operator.alerts.ListAlerts(request)).alerts), None)


@contextlib.asynccontextmanager
async def scene(
    folder: Path,
    narrator: Narrator,
    progress: Progress,
    look: Callable[[Cause], Awaitable[None]] = nobody_looks,
) -> AsyncIterator[Scene]:
    """Gives a mesh of its own with a customer whose account is connected; nothing of it is left afterwards."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    options = MeshOptions(state_dir=folder / "mesh", egress_allowed_networks=(LOOPBACK,), retain_data=False)
    async with vendor(folder) as acme, Mesh(options, progress) as mesh, contextlib.AsyncExitStack() as stack:
        callers = Callers(mesh)
        stack.push_async_callback(callers.close)
        operator = await callers.operator()
        await import_desk(operator, acme)
        await roll_out(operator, flags.Rule(environments=[PRODUCTION], variant="on"))
        await create_workspace(operator, WORKSPACE, "business")
        member = await callers.workspace(operator, WORKSPACE)
        await connect_by_key(operator, member, acme, CONNECTION)
        yield Scene(narrator, folder, mesh, acme, callers, operator, member, look)


async def refused(call: Awaitable[object]) -> CordboardError:
    """Returns the error with which a call ends; raises StepFailed where it goes well."""
    try:
        await call
    except CordboardError as error:
        return error
    raise StepFailed("what was to be refused went well")


async def becomes(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Returns the first true thing that `look` gives while something is repaired; raises StepFailed."""
    return await until(look, what, patience=REPAIRED_SECONDS, every=0.1)
