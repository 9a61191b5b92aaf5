"""What workspaces choose themselves, over the real server: made, refused, seen, kept through what operators do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import FlagSyncServiceStub

from cordboard.catalog.__main__ import start as start_catalog
from cordboard.catalog.settings import CatalogSettings
from cordboard.core.flagging import FlagSet
from cordboard.core.structs import to_struct, to_value
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import choice_service_pb2 as pb
from cordboard.flags.v1 import flag_service_pb2 as flag_pb
from cordboard.flags.v1 import history_service_pb2 as history_pb
from cordboard.flags.v1 import proposal_service_pb2 as proposal_pb
from cordboard.flags.v1 import replica_service_pb2 as replica_pb
from cordboard.flags.v1 import rollout_service_pb2 as rollout_pb
from cordboard.flags.v1.choice_service_pb2_grpc import ChoiceServiceStub
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.history_service_pb2_grpc import FlagHistoryServiceStub
from cordboard.flags.v1.proposal_service_pb2_grpc import ProposalServiceStub
from cordboard.flags.v1.replica_service_pb2_grpc import FlagReplicaServiceStub
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.fixtures.edges import bootstrap_of
from tests.fixtures.hubs import Hub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

BOUND = 40.0
SLUG = "desk"
FLAG = f"flags/integration.{SLUG}"
BALLOT = f"flags/choice.integration.{SLUG}"


class Flags:
    """Flags, as operators and as administrators of workspaces."""

    def __init__(self, served: Served) -> None:
        self._served = served
        channel = served.as_role("operator")
        self.flags: Any = FlagServiceStub(channel)
        self.history: Any = FlagHistoryServiceStub(channel)
        self.rollouts: Any = RolloutServiceStub(channel)
        self.proposals: Any = ProposalServiceStub(channel)
        self.choices: Any = ChoiceServiceStub(channel)
        self.catalog: Any = FlagReplicaServiceStub(served.channel("catalog"))

    def admin(self, workspace: str = "acme", role: str = "workspace-admin", **claims: Any) -> Any:
        """Returns the choices as somebody of a workspace."""
        return ChoiceServiceStub(self._served.as_role(role, workspace=workspace, **claims))

    def member(self, workspace: str) -> grpc.aio.Channel:
        """Returns a channel of a workspace's member."""
        return self._served.as_role("member", workspace=workspace)

    async def choose(self, choice: pb.Choice.ValueType, workspace: str = "acme", **said: Any) -> pb.IntegrationChoice:
        """Chooses as the workspace's own administrator."""
        slug = said.pop("slug", SLUG)
        request = pb.SetIntegrationChoiceRequest(name=name(workspace, slug), choice=choice, **said)
        done: pb.IntegrationChoice = await self.admin(workspace).SetIntegrationChoice(request)
        return done

    async def put(self, *rules: flag_pb.Rule, slug: str = SLUG, killed: bool = False) -> flag_pb.Flag:
        """Puts the flag of an integration."""
        flag = flag_pb.Flag(
            name=f"flags/integration.{slug}", variants={"on": to_value(True), "off": to_value(False)},
            default_variant="off", off_variant="off", rules=rules,
        )  # fmt: skip
        done: flag_pb.Flag = await self.flags.PutFlag(flag_pb.PutFlagRequest(flag=flag))
        if killed:
            await self.flags.KillFlag(flag_pb.KillFlagRequest(name=flag.name, reason="fire"))
        return done

    async def on(self, workspace: str = "acme", environment: str = "production") -> bool:
        """Tells whether the integration is on for a workspace."""
        known = to_struct({"workspace": workspace, "environment": environment, "tier": "business"})
        found = await self.flags.EvaluateFlag(flag_pb.EvaluateFlagRequest(name=FLAG, context=known))
        return bool(found.value.bool_value)


@pytest.fixture
async def flags(serving: Serving, database: Databases) -> AsyncIterator[Flags]:
    async with serving("flags", FlagsSettings, start, database_url=database("flags").url) as served:
        found = Flags(served)
        async with asyncio.timeout(BOUND):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await found.put(EVERYBODY)
                    break
                await asyncio.sleep(0.01)
        yield found


EVERYBODY = flag_pb.Rule(variant="on")
BY_CHOICE = flag_pb.Rule(tiers=["business"], variant="on", opt_in=True)


def name(workspace: str = "acme", slug: str = SLUG) -> str:
    return f"workspaces/{workspace}/integrations/{slug}/choice"


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Returns the code, and what was wrong: a state, or fields."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = status_pb2.Status.FromString(dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return raised.value.code(), info.metadata.get("state", "") or ",".join(each.field for each in bad.field_violations)


async def test_an_administrator_switches_it_off_and_on_again(flags: Flags) -> None:
    done = await flags.choose(pb.CHOICE_OFF, reason="the audit is on")
    assert (done.name, done.environment, done.choice) == (name(), "production", pb.CHOICE_OFF)
    assert (done.on, done.offered, done.choosable) == (False, True, True)
    assert (done.creator, done.reason) == ("workspaces/acme", "the audit is on")
    assert [await flags.on(), await flags.on("other"), await flags.on(environment="staging")] == [False, True, True]
    back = await flags.choose(pb.CHOICE_UNSPECIFIED)
    assert (back.choice, back.on, back.creator, back.HasField("update_time")) == (0, True, "", False)
    assert await flags.on()


async def test_what_operators_do_undoes_no_choice(flags: Flags) -> None:
    await flags.choose(pb.CHOICE_OFF)
    await flags.put(flag_pb.Rule(workspaces=["acme"], variant="on"), EVERYBODY)
    assert not await flags.on()
    await flags.flags.RollbackFlag(flag_pb.RollbackFlagRequest(name=f"{FLAG}/revisions/1"))
    assert not await flags.on()
    await flags.flags.KillFlag(flag_pb.KillFlagRequest(name=FLAG, reason="fire"))
    await flags.flags.RestoreFlag(flag_pb.RestoreFlagRequest(name=FLAG))
    assert [await flags.on(), await flags.on("other")] == [False, True]


async def test_on_is_for_those_whom_it_is_offered_to(flags: Flags) -> None:
    await flags.put(BY_CHOICE)
    assert not await flags.on()
    done = await flags.choose(pb.CHOICE_ON)
    assert (done.on, done.offered, done.choosable) == (True, False, True)
    assert [await flags.on(), await flags.on("other")] == [True, False]
    free = pb.SetIntegrationChoiceRequest(name=name("small"), choice=pb.CHOICE_ON)
    conflict = grpc.StatusCode.FAILED_PRECONDITION
    answer = await refused(flags.admin("small", tier="free").SetIntegrationChoice(free))
    assert answer == (conflict, "not-offered")
    await flags.put(BY_CHOICE, killed=True)
    assert not await flags.on()
    assert await refused(flags.choose(pb.CHOICE_ON, "other")) == (conflict, "killed")
    # Off is always there, even where nothing is on.
    assert (await flags.choose(pb.CHOICE_OFF, "other")).choice == pb.CHOICE_OFF


async def test_a_frozen_rollout_lets_workspaces_off_and_nobody_on(flags: Flags) -> None:
    rollout = rollout_pb.Rollout(
        name=f"rollouts/integration.{SLUG}",
        stages=[rollout_pb.Stage(reaches=[rollout_pb.Reach(percent=100)])],
        opt_in=rollout_pb.OPT_IN_REACHED,
    )
    made = await flags.rollouts.PutRollout(rollout_pb.PutRolloutRequest(rollout=rollout))
    assert made.opt_in == rollout_pb.OPT_IN_REACHED
    assert [(await flags.choose(pb.CHOICE_ON, each)).on for each in ("acme", "other")] == [True, True]
    freeze = rollout_pb.FreezeRolloutRequest(name=rollout.name, reason="the end of the quarter")
    await flags.rollouts.FreezeRollout(freeze)
    assert not (await flags.choose(pb.CHOICE_OFF)).on
    for choice in (pb.CHOICE_ON, pb.CHOICE_UNSPECIFIED):
        assert await refused(flags.choose(choice)) == (grpc.StatusCode.FAILED_PRECONDITION, "frozen")
    assert [await flags.on(), await flags.on("other")] == [False, True]
    await flags.rollouts.ThawRollout(rollout_pb.ThawRolloutRequest(name=rollout.name))
    assert (await flags.choose(pb.CHOICE_ON)).on


async def test_who_may_choose_for_whom(flags: Flags) -> None:
    off = pb.SetIntegrationChoiceRequest(name=name(), choice=pb.CHOICE_OFF)
    assert (await refused(flags.admin("other").SetIntegrationChoice(off)))[0] == grpc.StatusCode.NOT_FOUND
    for role in ("reader", "member", "publisher"):
        denied = await refused(flags.admin(role=role).SetIntegrationChoice(off))
        assert denied[0] == grpc.StatusCode.PERMISSION_DENIED
    seen = await flags.admin(role="member").GetIntegrationChoice(pb.GetIntegrationChoiceRequest(name=name()))
    assert (seen.choice, seen.on) == (pb.CHOICE_UNSPECIFIED, True)
    assert await flags.on()
    # An operator says for which environment, and what comes of it is not known without the workspace's token.
    assert await refused(flags.choices.SetIntegrationChoice(off)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "environment",
    )  # fmt: skip
    off.environment = "staging"
    done = await flags.choices.SetIntegrationChoice(off)
    assert (done.creator, done.environment, done.HasField("on")) == ("somebody", "staging", False)
    assert [await flags.on(), await flags.on(environment="staging")] == [True, False]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "workspaces/acme/integrations/desk"}, "name"),
        ({"name": "workspaces/acme/integrations/de.sk/choice"}, "name"),
        ({"name": "workspaces/acme/integrations/*/choice"}, "name"),
        ({"choice": 7}, "choice"),
        ({"environment": "staging"}, "environment"),
        ({"reason": "x" * 1001}, "reason"),
        ({"reason": "a\0b"}, "reason"),
    ],
)
async def test_what_is_no_choice_is_refused_with_the_field(flags: Flags, said: dict[str, Any], field: str) -> None:
    request = pb.SetIntegrationChoiceRequest(**{"name": name(), "choice": pb.CHOICE_OFF, **said})
    call = flags.admin().SetIntegrationChoice(request)
    assert await refused(call) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert await flags.on()


async def test_integrations_that_are_not_there_are_not_chosen(flags: Flags) -> None:
    await flags.put(EVERYBODY, slug="other--desk")
    for slug in ("none", "other--desk"):
        assert (await refused(flags.choose(pb.CHOICE_OFF, slug=slug)))[0] == grpc.StatusCode.NOT_FOUND
        got = flags.admin().GetIntegrationChoice(pb.GetIntegrationChoiceRequest(name=name(slug=slug)))
        assert (await refused(got))[0] == grpc.StatusCode.NOT_FOUND
    assert (await flags.choose(pb.CHOICE_OFF, "other", slug="other--desk")).choice == pb.CHOICE_OFF


async def test_nobody_changes_choices_as_flags(flags: Flags) -> None:
    await flags.choose(pb.CHOICE_OFF)
    ballot = await flags.flags.GetFlag(flag_pb.GetFlagRequest(name=BALLOT))
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    put = flag_pb.PutFlagRequest(flag=ballot)
    assert await refused(flags.flags.PutFlag(put)) == (invalid, "flag.name")
    assert await refused(flags.proposals.ProposeChange(proposal_pb.ProposeChangeRequest(put_flag=put))) == (
        invalid, "flag.name",
    )  # fmt: skip
    for call in (
        flags.flags.KillFlag(flag_pb.KillFlagRequest(name=BALLOT, reason="fire")),
        flags.flags.RestoreFlag(flag_pb.RestoreFlagRequest(name=BALLOT)),
        flags.flags.RollbackFlag(flag_pb.RollbackFlagRequest(name=f"{BALLOT}/revisions/1")),
    ):
        assert await refused(call) == (invalid, "name")
    assert not await flags.on()


async def test_every_choice_is_a_revision_and_what_is_chosen_already_is_none(flags: Flags) -> None:
    await flags.choose(pb.CHOICE_OFF, reason="the audit is on")
    await flags.choose(pb.CHOICE_OFF, reason="again")
    await flags.choose(pb.CHOICE_ON, reason="the audit is over")
    found = await flags.flags.ListFlagRevisions(flag_pb.ListFlagRevisionsRequest(parent=BALLOT))
    assert [(each.creator, each.reason) for each in found.flag_revisions] == [
        ("workspaces/acme", "choice of workspaces/acme in production, on: the audit is over"),
        ("workspaces/acme", "choice of workspaces/acme in production, off: the audit is on"),
    ]
    # As of a time the choices of then hold.
    before = history_pb.EvaluateFlagAsOfRequest(name=FLAG, context=to_struct({"workspace": "acme", **PRODUCTION}))
    before.time.FromNanoseconds(found.flag_revisions[0].create_time.ToNanoseconds() - 1000)
    assert (await flags.history.EvaluateFlagAsOf(before)).variant == "off"
    before.time.FromNanoseconds(found.flag_revisions[1].create_time.ToNanoseconds() - 1000)
    assert (await flags.history.EvaluateFlagAsOf(before)).variant == "on"


PRODUCTION = {"environment": "production", "tier": "business"}


async def test_choices_are_explained_and_counted_before_a_change(flags: Flags) -> None:
    await flags.choose(pb.CHOICE_OFF)
    request = history_pb.ExplainFlagRequest(name=FLAG, context=to_struct({"workspace": "acme", **PRODUCTION}))
    found = await flags.history.ExplainFlag(request)
    assert (found.choice, found.decision.variant, list(found.rules)) == (pb.CHOICE_OFF, "off", [])
    request.context.CopyFrom(to_struct({"workspace": "other", **PRODUCTION}))
    found = await flags.history.ExplainFlag(request)
    assert (found.choice, found.decision.variant, found.rules[0].matched) == (pb.CHOICE_UNSPECIFIED, "on", True)
    # Whoever switched it off is not moved by a change of the rules.
    contexts = [to_struct({"workspace": each, **PRODUCTION}) for each in ("acme", "other")]
    closed = flag_pb.Flag(
        name=FLAG, variants={"on": to_value(True), "off": to_value(False)}, default_variant="off", off_variant="off"
    )
    changes = (await flags.history.PreviewFlag(history_pb.PreviewFlagRequest(flag=closed, contexts=contexts))).changes
    assert [(each.index, each.before, each.after) for each in changes] == [(1, "on", "off")]


async def test_a_workspace_sees_what_it_has_and_may_choose_and_operators_what_was_chosen(flags: Flags) -> None:
    await flags.put(BY_CHOICE, slug="beta")
    await flags.put(flag_pb.Rule(tiers=["enterprise"], variant="on"), slug="large")
    await flags.put(EVERYBODY, slug="other--desk")
    await flags.choose(pb.CHOICE_OFF)
    await flags.choose(pb.CHOICE_OFF, slug="large")
    await flags.choose(pb.CHOICE_OFF, "other", slug="beta")
    listed, token = [], ""
    while True:
        page = await flags.admin(role="member").ListIntegrationChoices(
            pb.ListIntegrationChoicesRequest(parent="workspaces/acme", page_size=1, page_token=token)
        )
        listed += page.integration_choices
        token = page.next_page_token
        if not token:
            break
    assert [(each.name, each.on, each.offered, each.choosable, each.choice) for each in listed] == [
        (name(slug="beta"), False, False, True, pb.CHOICE_UNSPECIFIED),
        (name(slug="desk"), False, True, True, pb.CHOICE_OFF),
        (name(slug="large"), False, False, False, pb.CHOICE_OFF),
    ]
    found, token = [], ""
    while True:
        every = await flags.choices.SearchIntegrationChoices(
            pb.SearchIntegrationChoicesRequest(page_size=2, page_token=token)
        )
        found += every.integration_choices
        token = every.next_page_token
        if not token:
            break
    assert [each.name for each in found] == [name("other", "beta"), name(), name(slug="large")]
    of_one = pb.SearchIntegrationChoicesRequest(integration="beta")
    assert [each.name for each in (await flags.choices.SearchIntegrationChoices(of_one)).integration_choices] == [
        name("other", "beta")
    ]
    theirs = pb.ListIntegrationChoicesRequest(parent="workspaces/acme", environment="production", page_size=1)
    first = await flags.choices.ListIntegrationChoices(theirs)
    theirs.page_token = first.next_page_token
    second = await flags.choices.ListIntegrationChoices(theirs)
    assert [each.name for each in (*first.integration_choices, *second.integration_choices)] == [
        name(), name(slug="large"),
    ]  # fmt: skip
    assert second.next_page_token == ""


async def test_choices_travel_with_the_flags(flags: Flags) -> None:
    await flags.choose(pb.CHOICE_OFF)
    watch = flags.catalog.WatchFlagRecords(replica_pb.WatchFlagRecordsRequest())
    records = await anext(aiter(watch))
    watch.cancel()
    assert {BALLOT, FLAG} <= {flag.name for flag in records.flags}
    # What a hub says of choices is taken over, as by nobody else.
    for flag in records.flags:
        del flag.rules[:]
    await flags.catalog.ApplyFlagRecords(replica_pb.ApplyFlagRecordsRequest(records=records))
    ballot = await flags.flags.GetFlag(flag_pb.GetFlagRequest(name=BALLOT))
    assert (ballot.revision, list(ballot.rules)) == (2, [])


async def test_what_one_workspace_chooses_is_news_to_no_other(flags: Flags) -> None:
    # So that it is not the first choice, with which there is a flag for them.
    await flags.choose(pb.CHOICE_OFF, "first")
    events: dict[str, Any] = {}
    sets: dict[str, Any] = {}
    for workspace in ("acme", "other"):
        channel = flags.member(workspace)
        events[workspace] = ServiceStub(channel).EventStream(v2.EventStreamRequest())
        sets[workspace] = FlagSyncServiceStub(channel).SyncFlags(sync_pb2.SyncFlagsRequest())
        async with asyncio.timeout(BOUND):
            assert (await events[workspace].read()).type == "provider_ready"
            assert "first" not in (await sets[workspace].read()).flag_configuration
    await flags.choose(pb.CHOICE_OFF)
    # The control: what operators change is news to everybody.
    await flags.put(EVERYBODY, slug="later")
    async with asyncio.timeout(BOUND):
        mine = MessageToDict((await events["acme"].read()).data)["flags"]
        theirs = MessageToDict((await events["other"].read()).data)["flags"]
        ours, others = [(await sets[each].read()).flag_configuration for each in ("acme", "other")]
    assert mine == {BALLOT.partition("/")[2]: {"type": "update"}, FLAG.partition("/")[2]: {"type": "update"}}
    assert theirs == {"integration.later": {"type": "write"}}
    key = FLAG.partition("/")[2]
    assert FlagSet.parse(ours).evaluate(key, {}).value is False
    assert FlagSet.parse(others).evaluate(key, {}).value is True
    for stream in (*events.values(), *sets.values()):
        stream.cancel()


async def test_a_choice_waits_for_no_second_person(serving: Serving, database: Databases) -> None:
    settings = {"database_url": database("flags").url, "approvals": ["*/integration.*", "*/choice.*"]}
    async with serving("flags", FlagsSettings, start, **settings) as served:
        flags = Flags(served)
        async with asyncio.timeout(BOUND):
            while (state := (await refused(flags.put(EVERYBODY)))[1]) != "needs-approval":
                assert state == ""
                await asyncio.sleep(0.01)
        # As from a hub, where somebody has agreed.
        put = flag_pb.Flag(name=FLAG, default_variant="on", off_variant="off")
        put.variants["on"].bool_value, put.variants["off"].bool_value = True, False
        records = replica_pb.FlagRecords(sequence=1, flags=[put])
        await flags.catalog.ApplyFlagRecords(replica_pb.ApplyFlagRecordsRequest(records=records))
        assert not (await flags.choose(pb.CHOICE_OFF)).on


async def test_an_edge_has_what_was_chosen_at_its_hub_and_takes_no_choices(
    hub: Hub, serving: Serving, database: Databases, tmp_path: Path
) -> None:
    registered = await hub.register("shop", "acme")
    bootstrap = tmp_path / "shop.json"
    bootstrap.write_bytes(bootstrap_of(registered).to_json())
    async with contextlib.AsyncExitStack() as stack:

        async def a_mesh(**settings: Any) -> Flags:
            url = database("catalog").url
            beside = await stack.enter_async_context(
                serving("catalog", CatalogSettings, start_catalog, database_url=url, **settings)
            )
            url, address = database("flags").url, beside.address
            served = await stack.enter_async_context(
                serving("flags", FlagsSettings, start, database_url=url, catalog_address=address)
            )
            found = Flags(served)
            async with asyncio.timeout(BOUND):
                while True:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await found.put(EVERYBODY)
                        return found
                    await asyncio.sleep(0.01)

        edge = await a_mesh(edge_bootstrap_file=bootstrap)
        assert await refused(edge.choose(pb.CHOICE_OFF)) == (grpc.StatusCode.FAILED_PRECONDITION, "edge")
        assert await edge.on()
        # The control: a mesh that follows nobody.
        alone = await a_mesh()
        assert not (await alone.choose(pb.CHOICE_OFF)).on
