"""The main job, end to end: from an API description to governed calls, on real parts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final

from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.cli.demo.desk import (
    FLAG,
    SLUG,
    connect_by_consent,
    connect_by_key,
    create_workspace,
    import_desk,
    register_client,
    roll_out,
)
from cordboard.cli.demo.narrator import Narrator, StepFailed
from cordboard.cli.demo.parts import PRODUCTION, Callers, Vendor, told, until
from cordboard.cli.form_table import form_table
from cordboard.cli.waterfall import waterfall
from cordboard.client import Client, CordboardError, LimitExceeded, SwitchedOff, Unavailable
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.telemetry.v1 import trace_service_pb2 as traces
from cordboard.uqi.v1 import form_service_pb2 as forms

BUSINESS, STARTER = "northwind", "corner-shop"
DESK: Final = f"workspaces/{BUSINESS}/connections/desk"
SHOP: Final = f"workspaces/{STARTER}/connections/desk"
CREATE, LIST = "create_ticket", "list_tickets"


@dataclass
class Cast:
    """Who plays."""

    narrator: Narrator
    vendor: Vendor
    callers: Callers
    operator: Client
    business: Client
    starter: Client


async def begin(narrator: Narrator, vendor: Vendor, callers: Callers) -> Cast:
    """Imports the vendor's API, rolls it out, and makes the workspaces with their tokens."""
    operator = await callers.operator()
    with narrator.step(
        "An API description becomes an integration",
        "Acme Desk publishes an OpenAPI document. Importing it is all it takes: no code is written or generated.",
    ) as step:
        answer = await import_desk(operator, vendor)
        report = answer.report
        step.result(f"{report.action_count} of {report.operation_count} operations are actions now")
        step.result(f"published as {answer.definition_version.name}")
    with narrator.step(
        "It is rolled out to tier business, in production",
        "Nobody has it before. A rollout is data: it takes effect in every process without a deployment.",
    ) as step:
        flag = await roll_out(operator, flags.Rule(tiers=["business"], environments=[PRODUCTION], variant="on"))
        step.result(f"revision {flag.revision}: tier business in production gets it, everybody else does not")
    with narrator.step(
        "Two customers get their workspaces and tokens",
        "A token is an RS256 JWT for one workspace in one environment; Envoy checks it, and every service again.",
    ) as step:
        for workspace, tier in ((BUSINESS, "business"), (STARTER, "starter")):
            await create_workspace(operator, workspace, tier)
            step.result(f"{workspace}: tier {tier}")
    business = await callers.workspace(operator, BUSINESS)
    starter = await callers.workspace(operator, STARTER)
    return Cast(narrator, vendor, callers, operator, business, starter)


async def connect(cast: Cast) -> None:
    """Connects the one workspace by OAuth and the other by an API key."""
    with cast.narrator.step(
        "An account is connected by OAuth",
        "Authorization code with PKCE against the vendor's real OAuth server. The consent is clicked by a script.",
    ) as step:
        await register_client(cast.operator, cast.vendor)
        await connect_by_consent(cast.operator, cast.business, cast.callers, DESK)
        connection = await cast.business.connections.GetConnection(connections.GetConnectionRequest(name=DESK))
        step.result(f"{connection.name} may {' '.join(connection.scopes)}")
        step.result("its tokens are in the vault; nothing but the Proxy can lease them")
    with cast.narrator.step("Another is connected by an API key", "What a person would type into the form.") as step:
        made = await connect_by_key(cast.operator, cast.starter, cast.vendor, SHOP)
        step.result(made.name)


async def use(cast: Cast) -> str:
    """Shows a form, a write and a paged read; returns the write's trace id."""
    with cast.narrator.step(
        "The form of an action is there before anyone asks", f"Made from the definition, for `{CREATE}`."
    ) as step:
        request = forms.GetFormDocumentRequest(name=f"integrations/{SLUG}/forms/action.{CREATE}")
        form = await until(lambda: cast.business.forms.GetFormDocument(request), "the form")
        cast.narrator.show(form_table(form))
        step.result("as JSON Schema and as Appsmith UQI JSON")
    with cast.narrator.step(
        "A write and a paged read, through Envoy",
        "Typed input is checked before anything leaves; the credential is added at the last moment, to allowed hosts.",
    ) as step:
        contacts = await until(lambda: cast.business.execute(DESK, "list_contacts", {}), "the first call")
        requester = contacts.output["data"][0]
        ticket = {"subject": "The printer is on fire", "priority": "urgent", "requester_id": requester["id"]}
        written = await cast.business.execute(DESK, CREATE, ticket, idempotency_key="demo-1")
        step.result(f"ticket {written.output['id']} created: HTTP {written.vendor_status}")
        again = await cast.business.execute(DESK, CREATE, ticket, idempotency_key="demo-1")
        if again.output != written.output or not again.call.replayed:
            raise StepFailed("the same idempotency key ran twice")
        step.result("the same call with the same idempotency key gave the stored answer")
        count, pages = 0, 0
        async for items in cast.business.pages(DESK, LIST, {"limit": 25}):
            count, pages = count + len(items), pages + 1
        step.result(f"{count} tickets came in {pages} pages, each as soon as it was there")
    return str(written.call.trace_id)


async def refuse(cast: Cast) -> None:
    """Shows that the other tier is refused."""
    with cast.narrator.step(
        "The other tier is refused", "Same integration, a valid token, a valid connection: the rollout decides."
    ) as step:
        try:
            await cast.starter.execute(SHOP, LIST, {})
        except SwitchedOff as error:
            step.result(f"{error.code.name}, {error.reason}: {error.message}")
        else:
            raise StepFailed("a workspace of tier starter could call")


async def kill(cast: Cast) -> None:
    """Kills the integration under traffic and rolls back."""
    with cast.narrator.step(
        "The kill switch and a rollback, under running traffic",
        "How long does it take until the last call gets through?",
    ) as step:
        outcomes: list[tuple[float, bool]] = []
        going = True

        async def traffic() -> None:
            while going:
                try:
                    await cast.business.execute(DESK, LIST, {"limit": 1})
                    outcomes.append((time.monotonic(), True))
                except SwitchedOff:
                    outcomes.append((time.monotonic(), False))
                await asyncio.sleep(0.02)

        running = [asyncio.create_task(traffic()) for _ in range(2)]
        await until(lambda: told(sum(1 for _ in outcomes) >= 20), "traffic")
        before = await cast.operator.flags.GetFlag(flags.GetFlagRequest(name=FLAG))
        began = time.monotonic()
        await cast.operator.flags.KillFlag(flags.KillFlagRequest(name=FLAG, reason="a drill"))
        step.result(f"the last call got through {await _stopped(outcomes, began):.0f} ms after the switch")
        began = time.monotonic()
        await cast.operator.flags.RestoreFlag(flags.RestoreFlagRequest(name=FLAG, reason="the drill is over"))
        step.result(f"restored: the first call went through after {await _went(outcomes, began):.0f} ms")
        wrong = flags.Flag()
        wrong.CopyFrom(before)
        wrong.ClearField("etag")
        wrong.rules[0].tiers[:] = ["enterprise"]
        began = time.monotonic()
        await cast.operator.flags.PutFlag(flags.PutFlagRequest(flag=wrong, reason="a mistake"))
        await _stopped(outcomes, began)
        began = time.monotonic()
        await cast.operator.flags.RollbackFlag(
            flags.RollbackFlagRequest(name=f"{FLAG}/revisions/{before.revision}", reason="undo the mistake")
        )
        step.result(
            f"a wrong rollout was undone by one call, back to revision {before.revision}: "
            f"calls went through again after {await _went(outcomes, began):.0f} ms"
        )
        going = False
        await asyncio.gather(*running)
        step.result(f"{len(outcomes)} calls were made meanwhile; none failed otherwise")


async def _stopped(outcomes: list[tuple[float, bool]], since: float) -> float:
    """Waits until calls are refused; returns the milliseconds from `since` to the last one that got through."""
    seen = len(outcomes)
    await until(lambda: told(len(outcomes) > seen + 10 and not any(well for _, well in outcomes[-10:])), "the refusal")
    last = max((moment for moment, well in outcomes if well), default=since)
    return max(0.0, last - since) * 1000


async def _went(outcomes: list[tuple[float, bool]], since: float) -> float:
    """Waits until calls go through; returns the milliseconds from `since` to the first one that did."""
    await until(lambda: told(outcomes[-1][1] and outcomes[-1][0] > since), "the first call")
    return (min(moment for moment, well in outcomes if well and moment > since) - since) * 1000


async def break_vendor(cast: Cast) -> None:
    """Breaks the vendor, shows the breaker open, and close again."""
    with cast.narrator.step(
        "The vendor breaks", "Its servers answer 503. The circuit breaker stops asking, and tries again by itself."
    ) as step:
        await cast.vendor.control("PUT", "faults", {"status": 503, "error_rate": 1})
        failures = 0
        opened: Unavailable | None = None
        while opened is None:
            if failures > 200:
                raise StepFailed("the breaker stays closed")
            try:
                await cast.business.execute(DESK, "get_me", {}, timeout=5)
            except Unavailable as error:
                opened = error if error.reason == "BREAKER_OPEN" else None
                failures += opened is None
            except CordboardError:
                failures += 1
        began = time.monotonic()
        with contextlib.suppress(CordboardError):
            await cast.business.execute(DESK, "get_me", {}, timeout=5)
        refused = (time.monotonic() - began) * 1000
        step.result(f"open after {failures} failed calls; a call is refused in {refused:.0f} ms, with a time to retry")
        page = await cast.operator.proxy.ListBreakers(proxy.ListBreakersRequest(integration=f"integrations/{SLUG}"))
        for breaker in page.breakers:
            state = proxy.Breaker.State.Name(breaker.state).removeprefix("STATE_").lower()
            cast.narrator.say(f"{breaker.host}: {state}, {breaker.failures} of {breaker.calls} calls failed")
        await cast.vendor.control("DELETE", "faults")
        healed = time.monotonic()
        # One call tries, then a few, before everything goes.
        for _ in range(3):
            await until(lambda: cast.business.execute(DESK, "get_me", {}), "the breaker to close", every=0.1)
        step.result(f"closed {time.monotonic() - healed:.1f} s after the vendor came back")


async def exceed(cast: Cast, burst: int) -> None:
    """Calls more than the workspace may."""
    with cast.narrator.step(
        "A workspace calls more than it may", "Each workspace has a bucket of its own at Envoy; others feel nothing."
    ) as step:
        request = catalog.GetIntegrationRequest(name=f"integrations/{SLUG}")
        answered, refused = 0, 0
        retry: float | None = None

        async def one() -> None:
            nonlocal answered, refused, retry
            try:
                await cast.starter.catalog.GetIntegration(request)
                answered += 1
            except LimitExceeded as error:
                refused += 1
                retry = error.retry_after

        for _ in range(10):
            await asyncio.gather(*(one() for _ in range(burst)))
            if refused:
                break
        if not refused:
            raise StepFailed("nothing was refused")
        hint = f", try again in {retry:.0f} s" if retry is not None else ""
        step.result(f"{answered} calls answered, then RESOURCE_EXHAUSTED for {refused}{hint}")
        await cast.business.catalog.GetIntegration(request)
        step.result(f"{BUSINESS} was answered at the same moment")


async def trace(cast: Cast, trace_id: str) -> None:
    """Shows the write's trace."""
    with cast.narrator.step(
        "One call, as a trace", "Envoy, the Proxy, its stages, every SQL statement, the vendor attempt: one story."
    ) as step:
        request = traces.GetTraceRequest(name=f"traces/{trace_id}")

        async def whole() -> traces.Trace | None:
            found = await cast.operator.traces.GetTrace(request)
            return found if {"envoy", "proxy"} <= set(found.services) else None

        found = await until(whole, "the trace")
        cast.narrator.show(waterfall(found))
        step.result(f"{found.span_count} spans of {', '.join(sorted(found.services))}")


async def tell(narrator: Narrator, vendor: Vendor, callers: Callers, burst: int) -> Cast:
    """Tells the whole story; raises StepFailed or a CordboardError where it does not go as told."""
    cast = await begin(narrator, vendor, callers)
    await connect(cast)
    trace_id = await use(cast)
    await refuse(cast)
    await kill(cast)
    await break_vendor(cast)
    await exceed(cast, burst)
    await trace(cast, trace_id)
    return cast
