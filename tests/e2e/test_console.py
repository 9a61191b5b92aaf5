"""The console, used in Chromium: Envoy, every service, PostgreSQL and the sandbox vendor as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Value

from cordboard.auth.v1 import login_service_pb2 as login
from cordboard.catalog.v1 import drift_service_pb2 as drift
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import sync_service_pb2 as sync
from cordboard.client import Client, CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
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


async def test_an_integration_shows_its_health_its_forms_and_its_reviews(ada: Operator, operator: Client) -> None:
    seen = await ada.come(
        ["see", "Attention"],
        ["go", "#/integrations"],
        ["see", "Versions in use"],
        ["judge"],
        ["follow", "Acme Desk"],
        ["see", "Health of the last hour"],
        ["see", "VENDOR_ERROR"],
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
