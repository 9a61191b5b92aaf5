"""The console, used in Chromium: Envoy, every service, PostgreSQL and the sandbox vendor as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.auth.v1 import api_key_service_pb2 as keys
from cordboard.auth.v1 import login_service_pb2 as login
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.catalog.document import write
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import definition_pb2
from cordboard.catalog.v1 import drift_service_pb2 as drift
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import sync_service_pb2 as sync
from cordboard.client import Client, CordboardError, Unauthenticated
from cordboard.common.v1 import options_pb2
from cordboard.flags.v1 import choice_service_pb2 as choices
from cordboard.flags.v1 import experiment_service_pb2 as experiments
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from cordboard.flags.v1 import tracking_service_pb2 as tracking
from cordboard.proxy.v1 import job_service_pb2 as jobs
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.proxy.v1 import quota_service_pb2 as quotas
from tests.e2e.test_command import as_json
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, Tenant, a_desk
from tests.fixtures.mesh import Backstage, RunningMesh, a_mesh, until
from tests.fixtures.trouble import EDGE, ROLLOUT, TICKET, WORKSPACE, trouble

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

# All that the page is made of, as it travels.
LIGHT = 150_000
# A job on a busy machine takes its time.
BOUND = 120.0


class Operator:
    """Somebody at the console."""

    def __init__(self, desk: Desk, browser: Browser) -> None:
        self._desk = desk
        self._browser = browser

    async def come(self, *acts: list[str], dark: bool = False) -> dict[str, Any]:
        """Opens the console by an invitation, and does things there."""
        async with self._desk.mesh.operator() as operator:
            made = await operator.login.InviteBrowser(login.InviteBrowserRequest())
        url = f"{self._desk.mesh.mesh.public_url}/console#code={made.code}"
        return await self._play({"url": url, "acts": acts, "dark": dark})

    async def at(self, url: str, *acts: list[str]) -> dict[str, Any]:
        """Opens an address in a new browser, and does things there."""
        return await self._play({"url": url, "acts": acts})

    async def go_on(self, *acts: list[str]) -> dict[str, Any]:
        """Does more things in the same browser."""
        return await self._play({"acts": acts})

    async def _play(self, request: dict[str, Any]) -> dict[str, Any]:
        [found] = await asyncio.to_thread(self._browser, request)
        assert found["wrong"] == [], found
        return found


@pytest.fixture(scope="module")
def running_mesh(backstage: Backstage, trust: None) -> Iterator[RunningMesh]:
    """A mesh of its own: on a shared one what is wrong here would stand among what others have broken."""
    with a_mesh(backstage) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def desk(running_mesh: RunningMesh, backstage: Backstage) -> Iterator[Desk]:
    """Acme Desk on that mesh."""
    with a_desk(running_mesh, backstage) as desk:
        yield desk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def troubled(desk: Desk) -> Tenant:
    """A workspace with things to see."""
    return await trouble(desk)


@pytest.fixture
def ada(desk: Desk, troubled: Tenant, console_browser: Browser) -> Operator:
    """An operator, on a mesh where not everything is well."""
    return Operator(desk, console_browser)


async def test_an_operator_sees_what_is_wrong_and_finds_why(ada: Operator) -> None:
    seen = await ada.come(["see", "dead letters"], ["see", "calls fail"], ["judge"])
    assert WORKSPACE in seen["said"]
    assert 10_000 < sum(seen["sizes"].values()) < LIGHT, seen["sizes"]
    # The session is a cookie that no script can read; nothing else is kept, and the code is not in the address.
    [cookie] = [each for each in seen["cookies"] if each["name"] == "__Host-cordboard-session"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert json.loads(seen["kept"]) == [{}, {}]
    assert "code" not in seen["address"]
    why = await ada.go_on(["follow", "Slowest one"], ["see", "its time went into"], ["judge"])
    # What is shown first is the span that failed first: the vendor's own answer.
    assert "http.response.status_code\n500" in why["said"]
    assert "acme-desk" in why["said"]


async def test_the_command_gives_an_address_that_lets_a_browser_in_once(ada: Operator, desk: Desk) -> None:
    url = (await as_json(desk, "console"))["url"]
    await ada.at(url, ["see", "Newest failures"])
    await ada.at(url, ["see", "Operators sign in"])


async def test_a_session_lasts_past_the_page_and_ends_when_the_operator_signs_out(ada: Operator) -> None:
    await ada.come(["see", "Attention"], ["reload"], ["see", "Newest failures"])
    gone = await ada.go_on(["click", "Sign out"], ["see", "Operators sign in"], ["judge"])
    assert "Newest failures" not in gone["said"]
    back = await ada.go_on(
        ["reload"], ["see", "Operators sign in"], ["click", "Sign in"], ["see", "no sign-in provider"]
    )
    assert "cordboard console" in back["said"]


async def test_traces_are_searched_and_the_search_is_in_the_address(ada: Operator, operator: Client) -> None:
    found = await ada.come(
        ["see", "Attention"],
        ["go", f"#/traces?workspace={WORKSPACE}"],
        ["see", "Through"],
        ["fill", "Integration", "acme-desk"],
        ["address", "integration=acme-desk"],
        ["see", "Through"],
        ["judge"],
        dark=True,
    )
    assert f"workspace={WORKSPACE}" in found["address"]
    none = await ada.go_on(["fill", "Service", "nobody"], ["see", "No trace has a span that fits"])
    assert "Through" not in none["said"]
    graph = await ada.go_on(["go", "#/traces?view=graph"], ["see", "integrations/acme-desk"], ["judge"])
    assert "envoy" in graph["said"]


async def test_lines_are_searched_and_lead_to_their_trace_which_shows_its_own(ada: Operator) -> None:
    seen = await ada.come(
        ["see", "Attention"],
        ["go", "#/logs?text=call%20ended&since=86400"],
        ["see", "workspace="],
        ["select", "Severity", "3"],
        ["address", "severity=3"],
        ["see", "call ended"],
        ["judge"],
    )
    assert "proxy" in seen["said"]
    shown = await ada.go_on(["open", "Log lines"], ["see", "What was logged"], ["see", "its time went into"], ["judge"])
    assert "call ended" in shown["said"]
    await ada.go_on(["go", "#/logs?text=nobody%20says%20this"], ["see", "No line fits"], ["judge"])


async def test_an_integration_shows_its_health_its_forms_and_its_reviews(ada: Operator, operator: Client) -> None:
    seen = await ada.come(
        ["see", "Attention"],
        ["go", "#/integrations"],
        ["see", "Versions in use"],
        ["judge"],
        ["follow", "Acme Desk"],
        ["see", "Health of the last hour"],
        ["see", "VENDOR_ERROR"],
        ["see", "How far it is rolled out"],
        ["see", "wait for somebody"],
        ["follow", "Form of create_ticket"],
        ["see", "Subject"],
        ["judge"],
        ["ask", "Record a review"],
        ["fill", "Why", "looked at its health"],
        ["judge"],
        ["confirm", "Record a review"],
        ["see", "Record a review: done"],
    )
    assert "oauth2" in seen["said"]
    found = await operator.governance.ListReviews(governance.ListReviewsRequest())
    assert "looked at its health" in [each.note for each in found.reviews]


async def test_a_definition_that_fell_behind_is_seen(
    ada: Operator, operator: Client, troubled: Tenant, desk: Desk
) -> None:
    async with desk.mesh.client(troubled.token) as member:
        with desk.broken(status=410), pytest.raises(CordboardError):
            await member.execute(troubled.connection, "get_me")

    async def told() -> bool:
        found = await operator.drifts.ListDrifts(drift.ListDriftsRequest(parent="integrations/acme-desk"))
        return "get_me" in {each.action for each in found.drifts}

    await until(told, "the drift to be told")
    seen = await ada.come(["see", "definition is behind"], ["judge"])
    assert "get_me: status 410" in seen["said"]
    shown = await ada.go_on(
        ["follow", "Drift"], ["see", "Where the vendor is not as the definition says"], ["see", "status"], ["judge"]
    )
    assert "endpoint" in shown["said"]


async def test_a_rollout_is_moved_and_frozen(ada: Operator, operator: Client, troubled: Tenant) -> None:
    await ada.come(
        ["see", "Attention"],
        ["go", f"#/flags?rollout={ROLLOUT}"],
        ["see", "Freeze"],
        ["fill", "Stage", "2"],
        ["ask", "Move"],
        ["confirm", "Move"],
        ["see", "Move: done"],
        ["ask", "Freeze"],
        ["fill", "Why", "to look at it first"],
        ["confirm", "Freeze"],
        ["see", "frozen"],
        ["judge"],
    )
    found = await operator.rollouts.GetRollout(rollouts.GetRolloutRequest(name=f"rollouts/{ROLLOUT}"))
    assert (found.stage, found.freeze_reason) == (2, "to look at it first")


async def test_breakers_and_edges_do_as_they_are_told(ada: Operator, operator: Client, troubled: Tenant) -> None:
    await ada.come(
        ["see", "Attention"],
        ["go", "#/breakers?q=acme-desk"],
        ["see", "Tries again"],
        ["judge"],
        ["ask", "Let through"],
        ["fill", "Why", "a drill"],
        ["confirm", "Let through"],
        ["see", "Let through: done"],
        ["see", "Let it judge"],
    )
    listed = await operator.proxy.ListBreakers(proxy.ListBreakersRequest(integration="integrations/acme-desk"))
    assert proxy.Breaker.OVERRIDE_CLOSED in [each.override for each in listed.breakers]
    await ada.go_on(["ask", "Let it judge"], ["confirm", "Let it judge"], ["see", "Let it judge: done"])
    await ada.go_on(
        ["go", "#/edges"],
        ["see", "never connected"],
        ["judge"],
        ["ask", "Revoke"],
        ["fill", "to confirm", EDGE],
        ["confirm", "Revoke"],
        ["see", "revoked"],
    )
    edge = await operator.sync.GetEdge(sync.GetEdgeRequest(name=f"edges/{EDGE}"))
    assert edge.HasField("revoke_time")


async def test_a_dead_letter_is_corrected_and_replayed(ada: Operator, troubled: Tenant, desk: Desk) -> None:
    subject = f"It smells of smoke {uuid4().hex[:8]}"
    await ada.come(
        ["see", "Attention"],
        ["go", f"#/jobs?workspace={troubled.workspace}"],
        ["see", "VENDOR_ERROR"],
        ["judge"],
        ["follow", "01"],
        ["see", "Input"],
        ["fill", "Input", json.dumps(TICKET | {"subject": subject})],
        ["click", "Keep the change"],
        ["see", "input changed"],
        ["ask", "Replay"],
        ["judge"],
        ["confirm", "Replay"],
        ["see", "replayed as"],
    )

    async def arrived() -> bool:
        return desk.tickets().get(subject) == 1

    await until(arrived, "the ticket to be made", patience=BOUND)
    await ada.go_on(["go", f"#/jobs?workspace={troubled.workspace}&show=jobs"], ["see", "succeeded"], ["judge"])

    async def replayed() -> list[jobs.Job]:
        async with desk.mesh.client(troubled.token) as member:
            found = await member.jobs.ListJobs(jobs.ListJobsRequest(parent=f"workspaces/{troubled.workspace}"))
        return [job for job in found.jobs if job.state == jobs.Job.STATE_SUCCEEDED]

    job = max(await until(replayed, "the job to have ended"), key=lambda job: job.end_time.ToNanoseconds())
    assert len({job.trace_id, job.submit_trace_id}) == 2
    # From its execution back to who submitted it, and from there on to what became of it.
    story = await ada.go_on(
        ["go", f"#/traces/{job.trace_id}"],
        ["see", "Other traces of this story"],
        ["see", "replayed by"],
        ["see", "tried before in"],
        ["judge"],
        ["follow", job.submit_trace_id[:8]],
        ["see", "ran later in"],
        ["judge"],
    )
    assert job.trace_id[:8] in story["said"]


async def test_a_flag_is_killed_only_by_its_name_and_taken_back_from_its_history(
    ada: Operator, operator: Client, troubled: Tenant
) -> None:
    key = f"console-{uuid4().hex[:8]}"
    flag = flags.Flag(name=f"flags/{key}", variants={"on": Value(bool_value=True)}, default_variant="on")
    await operator.flags.PutFlag(flags.PutFlagRequest(flag=flag))

    async def killed() -> bool:
        return bool((await operator.flags.GetFlag(flags.GetFlagRequest(name=flag.name))).killed)

    asked = await ada.come(
        ["see", "Attention"],
        ["go", f"#/flags?flag={key}&q={key}"],
        ["see", "as it is"],
        ["ask", "Kill"],
        ["fill", "to confirm", "another"],
        ["fill", "Why", "a drill"],
        ["off", "Kill"],
        ["judge"],
    )
    assert "at once" in asked["said"]
    assert not await killed()
    await ada.go_on(["fill", "to confirm", key], ["confirm", "Kill"], ["see", "Kill: done"], ["see", "Restore"])
    assert await killed()
    await ada.go_on(["ask", "Restore"], ["confirm", "Restore"], ["see", "Restore: done"])
    assert not await killed()
    await ada.go_on(["ask", "Go back"], ["confirm", "Go back"], ["see", "Go back: done"])
    written = await ada.go_on(["go", "#/audit?service=flags"], ["see", "flags.flag.kill"], ["judge"])
    assert f"flags/{key}" in written["said"]
    await ada.go_on(["click", "Verify"], ["see", "whole:"])


async def test_what_workspaces_have_chosen_stands_at_the_flag_and_is_changed_by_nobody(
    ada: Operator, operator: Client, troubled: Tenant
) -> None:
    slug, why = f"chosen-{uuid4().hex[:8]}", f"the audit {uuid4().hex[:8]}"
    flag = flags.Flag(name=f"flags/integration.{slug}", default_variant="on", off_variant="off")
    flag.variants["on"].bool_value, flag.variants["off"].bool_value = True, False
    flag.rules.add(variant="on", tiers=["business"], opt_in=True)
    await operator.flags.PutFlag(flags.PutFlagRequest(flag=flag))
    shown = await ada.come(
        ["see", "Attention"],
        ["go", f"#/flags?flag=integration.{slug}&q=integration.{slug}"],
        ["see", "What workspaces have chosen themselves"],
        ["see", "Nothing."],
        ["judge"],
    )
    assert "tier business; by their own choice" in shown["said"]
    name = f"workspaces/{troubled.workspace}/integrations/{slug}/choice"
    off = choices.SetIntegrationChoiceRequest(
        name=name, choice=choices.CHOICE_OFF, environment="production", reason=why
    )
    for choice in (choices.CHOICE_ON, choices.CHOICE_OFF):
        off.choice = choice
        await operator.choices.SetIntegrationChoice(off)
    shown = await ada.go_on(["see", why], ["judge"])
    assert troubled.workspace in shown["said"]
    # The flag that says so can be looked at, and neither killed nor taken back.
    shown = await ada.go_on(
        ["go", f"#/flags?flag=choice.integration.{slug}&q=choice.integration.{slug}"], ["see", "as it is"], ["judge"]
    )
    assert not [word for word in ("Kill", "Go back") if word in shown["said"].split("History")[-1]]


async def test_two_traces_are_compared_step_by_step(ada: Operator, operator: Client, troubled: Tenant) -> None:
    seen = await ada.come(
        ["see", "Attention"],
        ["go", f"#/traces?workspace={troubled.workspace}&errors=1"],
        ["see", "Through"],
        ["open", "Traces"],
        ["see", "its time went into"],
        ["follow", "Compare"],
        ["see", "Compare two traces"],
        ["open", "Traces to choose from"],
        ["see", "of the other"],
        ["judge"],
    )
    assert "One: " in seen["said"]
    assert "proxy.send" in seen["said"]
    assert "first=" in seen["address"]


async def test_limits_show_what_is_used_and_by_whom(
    ada: Operator, operator: Client, troubled: Tenant, desk: Desk
) -> None:
    request = catalog.GetDefinitionVersionRequest(name="integrations/acme-desk/versions/active")
    definition = (await operator.catalog.GetDefinitionVersion(request)).definition
    major, minor, _ = definition.version.split(".")
    definition.version = f"{major}.{int(minor) + 1}.0"
    definition.rate_limits.append(
        definition_pb2.RateLimit(
            calls=5000, window=Duration(seconds=3600), scope=definition_pb2.RATE_LIMIT_SCOPE_WORKSPACE
        )
    )
    await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=write(definition)))

    async with desk.mesh.client(troubled.token) as member:

        async def counted() -> bool:
            await member.execute(troubled.connection, "get_me")
            parent = f"workspaces/{troubled.workspace}"
            found = (await operator.quotas.ListQuotas(quotas.ListQuotasRequest(parent=parent))).quotas
            return any(each.limit == 5000 and each.own_used for each in found)

        await until(counted, "a call to be counted")
    seen = await ada.come(
        ["see", "Attention"],
        ["go", f"#/limits?workspace={troubled.workspace}"],
        ["see", "5,000 in"],
        ["judge"],
    )
    assert "By this workspace" in seen["said"]


async def test_an_experiment_is_shown_with_its_intervals_and_stopped(
    ada: Operator, operator: Client, desk: Desk
) -> None:
    key = f"desk-{uuid4().hex[:8]}"
    rule = flags.Rule(split=[flags.WeightedVariant(variant=each, weight=1) for each in ("on", "off")])
    variants = {"on": Value(bool_value=True), "off": Value(bool_value=False)}
    flag = flags.Flag(name=f"flags/{key}", variants=variants, rules=[rule], default_variant="off")
    await operator.flags.PutFlag(flags.PutFlagRequest(flag=flag))
    metric = experiments.Metric(kind=experiments.METRIC_KIND_TOTAL, event="order")
    await operator.experiments.StartExperiment(
        experiments.StartExperimentRequest(
            experiment=experiments.Experiment(
                name=f"experiments/{key}", flag=flag.name, hypothesis="more is sold", primary_metric=metric
            )
        )
    )
    # Of fewer than thirty workspaces nothing is said; and not all of them at the same moment.
    for _ in range(10):
        await asyncio.gather(*(an_order(desk, operator, flag.name, number) for number in range(10)))

    seen = await ada.come(
        ["see", "Attention"],
        ["go", "#/experiments"],
        ["see", "more is sold"],
        ["judge"],
        ["follow", key],
        ["see", "not known yet"],
        ["judge"],
    )
    assert "order, added up, which decides" in seen["said"]
    found = (
        await operator.experiments.GetExperiment(experiments.GetExperimentRequest(name=f"experiments/{key}"))
    ).results
    [arm] = [each for each in found.metrics[0].arms if each.variant == "on"]
    assert f"{arm.always_valid.lower:+.3g}" in seen["said"]
    assert f"{arm.always_valid.upper:+.3g}" in seen["said"]
    await ada.go_on(
        ["ask", "Stop"],
        ["fill", "to confirm", key],
        ["fill", "Why", "enough"],
        ["confirm", "Stop"],
        ["see", "Stop: done"],
    )
    stopped = await operator.experiments.GetExperiment(experiments.GetExperimentRequest(name=f"experiments/{key}"))
    assert (stopped.state, stopped.stop_reason) == (experiments.EXPERIMENT_STATE_STOPPED, "enough")


async def an_order(desk: Desk, operator: Client, flag: str, number: int) -> None:
    """Has a new workspace meet a flag and order something."""
    workspace = f"shop-{uuid4().hex[:8]}"
    made = workspaces.Workspace(customer=workspace, tier="starter", region="eu")
    await operator.workspaces.CreateWorkspace(workspaces.CreateWorkspaceRequest(workspace_id=workspace, workspace=made))
    async with desk.mesh.client(await desk.mesh.token("member", workspace=workspace)) as member:
        await member.tracking.ExposeFlags(tracking.ExposeFlagsRequest(names=[flag]))
        event = tracking.TrackedEvent(event="order", value=10.0 + number % 7)
        await member.tracking.TrackEvents(tracking.TrackEventsRequest(events=[event]))


async def test_an_api_key_is_ended_where_its_calls_are_seen(
    ada: Operator, operator: Client, troubled: Tenant, desk: Desk
) -> None:
    made = await operator.api_keys.CreateApiKey(
        keys.CreateApiKeyRequest(
            parent=f"workspaces/{troubled.workspace}",
            display_name="the billing script",
            environment="production",
            roles=[options_pb2.ROLE_MEMBER],
        )
    )
    async with desk.mesh.client(made.secret) as thief:
        await thief.execute(troubled.connection, "get_me")
        key = made.api_key.name.rpartition("/")[2]
        await ada.come(
            ["see", "new API key is in use"],
            ["row", "the billing script", "Its calls"],
            ["see", "1 of the newest"],
            ["see", "get_me"],
            ["judge"],
            ["ask", "Revoke"],
            ["fill", "to confirm", key],
            ["fill", "Why", "it leaked"],
            ["confirm", "Revoke"],
            ["see", "Revoke: done"],
            ["see", "revoked"],
        )

        async def refused() -> bool:
            try:
                await thief.execute(troubled.connection, "get_me")
            except Unauthenticated:
                return True
            return False

        await until(refused, "the key to be refused")


@pytest.mark.parametrize("service", ["auth", "catalog", "flags", "telemetry", "uqi"])
async def test_a_service_that_is_named_says_itself_what_it_misses(desk: Desk, service: str) -> None:
    trust = await asyncio.to_thread(desk.mesh.mesh.ca_file.read_bytes)
    credentials = grpc.ssl_channel_credentials(trust)
    async with grpc.aio.secure_channel(desk.mesh.mesh.public_address, credentials) as channel:
        # The package's types do not know its newest method yet.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthListRequest()  # type: ignore[attr-defined]
        named = await stub.List(request, metadata=(("health-service", service),), timeout=30)
        anybody = await stub.List(request, timeout=30)
    own = [name for name in named.statuses if name.startswith(f"cordboard.{service}.")]
    assert own, list(named.statuses)
    assert named.statuses["database"].status == health_pb2.HealthCheckResponse.SERVING
    # The control: without a name it is the Proxy that answers.
    assert not [name for name in anybody.statuses if name.startswith(f"cordboard.{service}.")]
    assert "cordboard.proxy.v1.ProxyService" in anybody.statuses
