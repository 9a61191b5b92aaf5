"""A version that cannot work is rolled out to everybody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.struct_pb2 import Value

from cordboard.catalog.document import write
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import lifecycle_pb2 as lifecycle
from cordboard.cli.demo.desk import SLUG
from cordboard.cli.drills.scene import INTEGRATION, Cause, becomes
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.telemetry.v1 import metrics_service_pb2 as metrics

if TYPE_CHECKING:
    from cordboard.cli.drills.scene import Scene

FLAG = f"flags/version.{SLUG}"
# The port of discard, which nobody serves.
NOWHERE = "http://127.0.0.1:9"


async def play(scene: Scene) -> None:
    """Plays it; raises StepFailed where it does not go as the runbook says."""
    operator = scene.operator
    with scene.narrator.step(
        "A version with a wrong address is staged", "Nothing listens there. Nobody has it yet."
    ) as step:
        bad = await _stage(scene)
        before = await _put(scene, bad)
        step.result(f"{bad}; revision {before} of {FLAG.partition('/')[2]} gives it to nobody")
    async with scene.traffic() as calls:
        with scene.narrator.step("It is rolled out to everybody, without a guard"):
            began = time.monotonic()
            await _put(scene, bad, flags.Rule(variant="new"))
            await calls.fail(began)
        with scene.narrator.step("It is noticed", "Runbook: IntegrationFailing.") as step:
            await scene.noticed(step, "IntegrationFailing", began)
            errors = await becomes(lambda: _errors(scene, bad), "figures of the versions")
            step.result(f"by version: {'; '.join(errors)}")
        await scene.look(Cause(f"{FLAG} gives version {bad} to everybody, and nothing listens at its {NOWHERE}"))
        with scene.narrator.step("The rollout is rolled back", "Runbook: `cordboard flag rollback`.") as step:
            mended = time.monotonic()
            await operator.flags.RollbackFlag(
                flags.RollbackFlagRequest(name=f"{FLAG}/revisions/{before}", reason="the new version fails")
            )
            step.result(f"calls go well again {await calls.go_well(mended):.1f} s later")


async def _stage(scene: Scene) -> str:
    request = catalog.GetDefinitionVersionRequest(name=f"{INTEGRATION}/versions/active")
    definition = (await scene.operator.catalog.GetDefinitionVersion(request)).definition
    major, minor, _ = definition.version.split(".")
    definition.version = f"{major}.{int(minor) + 1}.0"
    for server in definition.servers:
        server.url = NOWHERE
    staged = await scene.operator.catalog.PublishDefinition(
        catalog.PublishDefinitionRequest(document=write(definition), stage=lifecycle.VERSION_STATE_STAGED)
    )
    return staged.name.rpartition("/")[2]


async def _put(scene: Scene, version: str, *rules: flags.Rule) -> int:
    """Has a version given to whom the rules fit; returns the flag's revision."""
    variants = {"new": Value(string_value=version), "active": Value(string_value="")}
    flag = flags.Flag(name=FLAG, variants=variants, rules=rules, default_variant="active", off_variant="active")
    request = flags.PutFlagRequest(flag=flag, reason="the newest version")
    return (await scene.operator.flags.PutFlag(request)).revision


async def _errors(scene: Scene, bad: str) -> list[str]:
    request = metrics.ListRatesRequest(dimensions=[metrics.DIMENSION_VERSION], filter=metrics.Subject(integration=SLUG))
    rates = (await scene.operator.metrics.ListRates(request)).rates
    found = [f"{each.subject.version} {100 * each.errors / each.calls:.0f} % of {each.calls} calls fail"
             for each in rates if each.calls]  # fmt: skip
    return found if any(each.startswith(bad) for each in found) else []
