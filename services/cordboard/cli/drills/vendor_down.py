"""The vendor answers 503 to everything."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cordboard.cli.demo.desk import SLUG
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.drills.scene import CONNECTION, READ, Cause, becomes, refused
from cordboard.telemetry.v1 import trace_service_pb2 as traces

if TYPE_CHECKING:
    from cordboard.cli.drills.scene import Scene


async def play(scene: Scene) -> None:
    """Plays it; raises StepFailed where it does not go as the runbook says."""
    async with scene.traffic() as calls:
        with scene.narrator.step("The vendor's servers answer 503", "A customer goes on calling, ten times a second."):
            began = time.monotonic()
            await scene.vendor.control("PUT", "faults", {"status": 503, "error_rate": 1})
        with scene.narrator.step("It is noticed", "Runbook: IntegrationFailing, BreakerOpen.") as step:
            trace = await scene.noticed(step, "IntegrationFailing", began)
            found = await becomes(lambda: _vendor_status(scene, trace), "the trace of a failed call")
            step.result(f"its trace shows what the vendor said: {found}")
        await scene.look(Cause(f"the vendor of {SLUG} at {scene.vendor.url} answers 503 to everything"))
        with scene.narrator.step("Meanwhile calls are refused at once, and the vendor is left in peace") as step:
            error = await refused(scene.member.execute(CONNECTION, READ, {}))
            if error.reason not in ("BREAKER_OPEN", "VENDOR_ERROR"):
                raise StepFailed(f"a call was refused as {error.reason}")
            step.result(f"{error.code.name}, {error.reason}: {error.message}")
        with scene.narrator.step("The vendor is back", "Runbook: nothing to do, the breaker tries by itself.") as step:
            healed = time.monotonic()
            await scene.vendor.control("DELETE", "faults")
            step.result(f"calls go well again {await calls.go_well(healed):.1f} s later")


async def _vendor_status(scene: Scene, name: str) -> str:
    trace = await scene.operator.traces.GetTrace(traces.GetTraceRequest(name=name))
    for span in trace.spans:
        if span.attributes.get("http.response.status_code") == "503":
            return f"{span.name}, HTTP 503"
    return ""
