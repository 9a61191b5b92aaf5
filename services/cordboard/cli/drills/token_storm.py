"""Every access token ends at once, and then the vendor's token endpoint fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from cordboard.cli.demo.desk import connect_by_consent, register_client
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.drills.scene import READ, WORKSPACE, Cause
from cordboard.client import CordboardError

if TYPE_CHECKING:
    from cordboard.cli.drills.scene import Scene

CONNECTION: Final = f"workspaces/{WORKSPACE}/connections/desk-oauth"
CALLS: Final = 50
TOKENS: Final = "/oauth/token"


async def play(scene: Scene) -> None:
    """Plays it; raises StepFailed where it does not go as the runbook says."""
    with scene.narrator.step("An account is connected by OAuth", "A script clicks the consent."):
        await register_client(scene.operator, scene.vendor)
        await connect_by_consent(scene.operator, scene.member, scene.callers, CONNECTION)
    async with scene.traffic(CONNECTION) as calls:
        with scene.narrator.step(f"The token ends while {CALLS} calls are on their way") as step:
            before = await _refreshes(scene)
            await scene.vendor.control("PUT", "faults", {"expire_tokens": True})
            done = await asyncio.gather(*(_call(scene) for _ in range(CALLS)))
            count = await _refreshes(scene) - before
            if any(done) or count != 1:
                raise StepFailed(f"{count} refreshes, and calls failed with {sorted({*done} - {''})}")
            step.result(f"{CALLS} of {CALLS} calls went well, with one refresh")
        with scene.narrator.step("The token ends again, and the vendor's token endpoint answers 503"):
            began = time.monotonic()
            fault = {"status": 503, "error_rate": 1, "path": TOKENS}
            await scene.vendor.control("PUT", "faults", fault | {"expire_tokens": True})
            await calls.fail(began)
        with scene.narrator.step("It is noticed", "Runbook: RefreshFailing.") as step:
            await scene.noticed(step, "RefreshFailing", began)
            step.result(f"calls failed with {', '.join(sorted(calls.reasons))}: nobody was asked to connect again")
            if "RECONNECT_REQUIRED" in calls.reasons:
                raise StepFailed("an endpoint that is away is no reason to connect again")
        await scene.look(
            Cause(f"the vendor's token endpoint, {scene.vendor.url}{TOKENS}, answers 503: no token is renewed")
        )
        with scene.narrator.step("The endpoint is back", "Runbook: `unknown` means that it is the vendor's.") as step:
            healed = time.monotonic()
            await scene.vendor.control("DELETE", "faults")
            step.result(f"calls go well again {await calls.go_well(healed):.1f} s later, and nobody did anything")


async def _call(scene: Scene) -> str:
    """Returns why a call failed; empty where it went well."""
    try:
        await scene.member.execute(CONNECTION, READ, {}, timeout=30)
    except CordboardError as error:
        return error.reason or error.code.name
    return ""


async def _refreshes(scene: Scene) -> int:
    stats = await scene.vendor.control("GET", "stats?last=0")
    return sum(one["count"] for one in stats["by_route"] if one["route"] == TOKENS)
