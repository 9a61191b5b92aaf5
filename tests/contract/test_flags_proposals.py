"""Two-person approval over the real server and database: what waits, who may agree, and what never waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import asyncpg
import pytest

from cordboard.core.structs import to_struct, to_value
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.flags.v1 import proposal_service_pb2 as pb
from cordboard.flags.v1 import rollout_service_pb2 as rollouts_pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.proposal_service_pb2_grpc import ProposalServiceStub
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.contract.test_flags_service import ready, refused
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

NAME, KEY = "flags/pay.desk", "pay.desk"
HELD: Final[tuple[str, str, list[str]]] = ("FAILED_PRECONDITION", "STATE_CONFLICT", [])


@pytest.fixture
def own(database: Databases) -> ServiceDatabase:
    return database("flags")


@pytest.fixture
async def served(serving: Serving, own: ServiceDatabase) -> AsyncIterator[Served]:
    rules = ("production/pay.*", "*/version.desk", "*/integration.*")
    async with serving("flags", FlagsSettings, start, database_url=own.url, approvals=rules) as running:
        await ready(running)
        yield running


class Person:
    """An operator, by name."""

    def __init__(self, served: Served, name: str) -> None:
        channel = served.as_role("operator", sub=name)
        self.flags: Any = FlagServiceStub(channel)
        self.rollouts: Any = RolloutServiceStub(channel)
        self.proposals: Any = ProposalServiceStub(channel)

    async def propose(self, *workspaces: str, **change: Any) -> pb.Proposal:
        contexts = [to_struct({"workspace": each, "environment": "production"}) for each in workspaces]
        made: pb.Proposal = await self.proposals.ProposeChange(pb.ProposeChangeRequest(**change, contexts=contexts))
        return made

    async def approve(self, proposal: pb.Proposal, reason: str = "") -> pb.Proposal:
        done: pb.Proposal = await self.proposals.ApproveProposal(
            pb.ApproveProposalRequest(name=proposal.name, reason=reason)
        )
        return done

    async def reject(self, proposal: pb.Proposal, reason: str = "no") -> pb.Proposal:
        done: pb.Proposal = await self.proposals.RejectProposal(
            pb.RejectProposalRequest(name=proposal.name, reason=reason)
        )
        return done


@pytest.fixture
def ann(served: Served) -> Person:
    return Person(served, "ann")


@pytest.fixture
def bob(served: Served) -> Person:
    return Person(served, "bob")


def put(*rules: flags_pb.Rule, name: str = NAME, reason: str = "", **changes: Any) -> flags_pb.PutFlagRequest:
    variants = {"on": to_value(True), "off": to_value(False)}
    fields: dict[str, Any] = {"default_variant": "off", "off_variant": "off", **changes}
    flag = flags_pb.Flag(name=name, variants=variants, rules=rules, **fields)
    return flags_pb.PutFlagRequest(flag=flag, reason=reason)


def here(*workspaces: str, environment: str = "production") -> flags_pb.Rule:
    return flags_pb.Rule(environments=[environment], workspaces=workspaces, variant="on")


async def current(person: Person, name: str = NAME) -> flags_pb.Flag:
    found: flags_pb.Flag = await person.flags.GetFlag(flags_pb.GetFlagRequest(name=name))
    return found


async def test_a_change_waits_for_a_second_person(ann: Person, bob: Person) -> None:
    assert await refused(ann.flags.PutFlag(put())) == HELD
    first = await ann.propose(put_flag=put(reason="begin"))
    assert (first.state, first.act, first.proposer, first.HasField("before")) == (
        pb.PROPOSAL_STATE_PENDING, "put_flag", "ann", False,
    )  # fmt: skip
    assert (await refused(current(ann)))[1] == "RESOURCE_NOT_FOUND"
    # One's own is for somebody else.
    assert await refused(ann.approve(first)) == HELD
    done = await bob.approve(first, "looks right")
    assert (done.state, done.decider, done.decision_reason) == (pb.PROPOSAL_STATE_APPROVED, "bob", "looks right")
    assert await refused(bob.approve(first)) == HELD
    second = await ann.propose("w-1", "w-2", "w-3", put_flag=put(here("w-1", "w-2"), reason="for two"))
    assert (second.contexts, second.moved_contexts) == (3, 2)
    assert [(each.workspace, each.environment, each.before, each.after) for each in second.moves] == [
        (each, "production", "off", "on") for each in ("w-1", "w-2")
    ]
    assert (second.before.revision, len(second.before.rules), len(second.after.rules)) == (1, 0, 1)
    await bob.approve(second)
    found = await current(ann)
    assert (found.revision, list(found.rules[0].workspaces)) == (2, ["w-1", "w-2"])
    request = flags_pb.ListFlagRevisionsRequest(parent=NAME)
    newest = (await ann.flags.ListFlagRevisions(request)).flag_revisions[0]
    assert (newest.creator, newest.reason) == ("ann", "put: for two (approved by bob)")


async def test_only_what_an_environment_feels_waits(ann: Person, bob: Person) -> None:
    await bob.approve(await ann.propose(put_flag=put(here("w-1"))))
    # Elsewhere, and in words alone.
    await ann.flags.PutFlag(put(here("w-1"), here("w-9", environment="staging"), description="for staging"))
    assert await refused(ann.flags.PutFlag(put(here("w-1"), here("w-2")))) == HELD
    assert await refused(ann.flags.PutFlag(put(here("w-1"), flags_pb.Rule(tiers=["free"], variant="on")))) == HELD
    assert await refused(ann.flags.PutFlag(put(here("w-1"), default_variant="on"))) == HELD
    back = flags_pb.RollbackFlagRequest(name=f"{NAME}/revisions/1")
    assert (await ann.flags.RollbackFlag(back)).revision == 3
    # Another flag is nobody's business.
    await ann.flags.PutFlag(put(here("w-1"), name="flags/other"))


async def test_a_flag_that_one_of_these_needs_waits_as_well(ann: Person, bob: Person) -> None:
    segment, between = "flags/segment.vip", "flags/between"
    await ann.flags.PutFlag(put(here("w-1"), name=segment))
    vip = flags_pb.Rule(segments=["vip"], variant="on")
    await ann.flags.PutFlag(put(vip, name=between))
    needs = [flags_pb.Prerequisite(flag=between, variants=["on"])]
    # So far nobody needs them who is to be asked.
    await ann.flags.PutFlag(put(here("w-1"), name=segment))
    await bob.approve(await ann.propose(put_flag=put(vip, prerequisites=needs)))
    for name in (segment, between):
        code, reason, _ = await refused(ann.flags.PutFlag(put(here("w-1", "w-2"), name=name)))
        assert (code, reason) == HELD[:2], name
    # Where it is not felt, nobody waits, nor where it burns.
    elsewhere = here("w-9", environment="staging")
    await ann.flags.PutFlag(put(here("w-1"), elsewhere, name=segment))
    await ann.flags.KillFlag(flags_pb.KillFlagRequest(name=segment, reason="fire"))
    assert await refused(ann.flags.RestoreFlag(flags_pb.RestoreFlagRequest(name=segment))) == HELD
    await bob.approve(await ann.propose(put_flag=put(here("w-1", "w-2"), name=segment)))
    assert list((await current(ann, segment)).rules[0].workspaces) == ["w-1", "w-2"]


async def test_a_kill_never_waits_and_its_end_does(ann: Person, bob: Person) -> None:
    await bob.approve(await ann.propose(put_flag=put(here("w-1"))))
    killed = await ann.flags.KillFlag(flags_pb.KillFlagRequest(name=NAME, reason="fire"))
    assert killed.killed
    restore = flags_pb.RestoreFlagRequest(name=NAME, reason="it is out")
    assert await refused(ann.flags.RestoreFlag(restore)) == HELD
    proposed = await ann.propose("w-1", "w-2", restore_flag=restore)
    assert [(each.workspace, each.before, each.after) for each in proposed.moves] == [("w-1", "off", "on")]
    await bob.approve(proposed)
    assert not (await current(ann)).killed


async def test_a_flag_that_has_changed_since_is_proposed_again(ann: Person, bob: Person) -> None:
    await bob.approve(await ann.propose(put_flag=put()))
    stale = await ann.propose(put_flag=put(here("w-1")))
    other = await bob.propose(put_flag=put(here("w-2")))
    await ann.approve(other)
    assert await refused(bob.approve(stale)) == HELD
    assert (await current(ann)).rules[0].workspaces == ["w-2"]
    assert (await ann.reject(stale, "made in another way")).state == pb.PROPOSAL_STATE_REJECTED
    assert await refused(bob.approve(stale)) == HELD
    pending = await ann.proposals.ListProposals(pb.ListProposalsRequest(pending_only=True))
    assert list(pending.proposals) == []
    everything: list[str] = []
    request = pb.ListProposalsRequest(page_size=2)
    while True:
        page = await ann.proposals.ListProposals(request)
        everything += [each.name for each in page.proposals]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert everything == [other.name, stale.name, "proposals/1"]


async def test_a_proposal_expires(ann: Person, bob: Person, own: ServiceDatabase) -> None:
    proposed = await ann.propose(put_flag=put())
    lives = proposed.expire_time.ToDatetime() - proposed.create_time.ToDatetime()
    assert lives == timedelta(days=7)
    connection = await asyncpg.connect(own.superuser_url.replace("+asyncpg", ""))
    try:
        await connection.execute("UPDATE flags.proposal SET expire_time = now() - interval '1 second'")
    finally:
        await connection.close()
    found = await bob.proposals.GetProposal(pb.GetProposalRequest(name=proposed.name))
    assert found.state == pb.PROPOSAL_STATE_EXPIRED
    assert await refused(bob.approve(proposed)) == HELD
    assert list((await ann.proposals.ListProposals(pb.ListProposalsRequest(pending_only=True))).proposals) == []


async def test_the_plan_of_a_rollout_waits_with_all_that_it_will_do(ann: Person, bob: Person) -> None:
    def plan(*percents: int) -> rollouts_pb.PutRolloutRequest:
        stages = [
            rollouts_pb.Stage(reaches=[rollouts_pb.Reach(environment="production", percent=each)]) for each in percents
        ]
        rollout = rollouts_pb.Rollout(name="rollouts/version.desk", version="2.0.0", stages=stages)
        return rollouts_pb.PutRolloutRequest(rollout=rollout, reason="slowly")

    assert await refused(ann.rollouts.PutRollout(plan(1, 50))) == HELD
    await bob.approve(await ann.propose(put_rollout=plan(1, 50)))
    # The flag stays as it is now, and would not later.
    assert await refused(ann.rollouts.PutRollout(plan(1, 100))) == HELD
    move = rollouts_pb.MoveRolloutRequest(name="rollouts/version.desk", stage=2)
    assert await refused(ann.rollouts.MoveRollout(move)) == HELD
    proposed = await ann.propose(*(f"w-{number}" for number in range(40)), move_rollout=move)
    assert 5 < proposed.moved_contexts < 35
    await bob.approve(proposed)
    found = await ann.rollouts.GetRollout(rollouts_pb.GetRolloutRequest(name="rollouts/version.desk"))
    assert found.stage == 2
    killed = await ann.flags.KillFlag(flags_pb.KillFlagRequest(name="flags/version.desk", reason="fire"))
    assert killed.killed


async def test_what_cannot_be_made_cannot_be_proposed(ann: Person, bob: Person) -> None:
    for change in ({}, {"restore_flag": flags_pb.RestoreFlagRequest(name=NAME)}):
        assert (await refused(ann.propose(**change)))[1] in ("INVALID_FIELDS", "RESOURCE_NOT_FOUND")
    assert (await refused(ann.propose(put_flag=put(default_variant="none"))))[2] == ["flag.default_variant"]
    proposed = await ann.propose(put_flag=put())
    assert (await refused(bob.reject(proposed, " ")))[2] == ["reason"]
    for name in ("proposals/99", "proposals/x"):
        found = bob.proposals.GetProposal(pb.GetProposalRequest(name=name))
        assert (await refused(found))[1] in ("RESOURCE_NOT_FOUND", "INVALID_FIELDS")
