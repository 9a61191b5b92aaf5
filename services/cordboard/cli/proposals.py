"""Changes of flags that wait for a second person: put forward, looked at, decided."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from google.protobuf.struct_pb2 import Struct

from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.cli.flag_difference import difference, show_difference
from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, console, moment, show_fields, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client import Client
from cordboard.client.paging import list_all
from cordboard.flags.v1 import proposal_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Changes of flags that wait for a second person.")
Propose = Annotated[bool, typer.Option("--propose", help="Propose it: it is made when a second person agrees.")]
Number = Annotated[int, typer.Argument(help="The proposal's number.", min=1)]

# Where most calls are, and what a change is asked about.
PLACES: Final = ("production", "staging")
MOST_CONTEXTS: Final = 10_000


@app.command("list")
def list_proposals(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Those that were decided or have expired too.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List what waits for a second person, newest first."""

    async def work() -> None:
        request = pb.ListProposalsRequest(pending_only=not everything)
        async with as_operator(target(context)) as mesh:
            found: list[pb.Proposal] = await list_all(mesh.proposals.ListProposals, request)
        rows = (
            (_bare(each.name), _bare(each.after.name), each.act, each.proposer, each.reason, _state(each), _moved(each))
            for each in found
        )
        show_rows(output, found, ("number", "flag", "act", "by", "why", "state", "moves"), rows)

    run(work)


@app.command("show")
def show(context: typer.Context, number: Number, output: Output = Format.TABLE) -> None:
    """Show a proposal: what differs, and whom it would move."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.proposals.GetProposal(pb.GetProposalRequest(name=f"proposals/{number}")))

    run(work)


@app.command("approve")
def approve(context: typer.Context, number: Number, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Agree to somebody else's proposal, and make the change."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.ApproveProposalRequest(name=f"proposals/{number}", reason=reason)
            _show(output, await mesh.proposals.ApproveProposal(request))

    run(work)


@app.command("reject")
def reject(
    context: typer.Context,
    number: Number,
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    output: Output = Format.TABLE,
) -> None:
    """Reject a proposal, or take one's own back."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.RejectProposalRequest(name=f"proposals/{number}", reason=reason)
            _show(output, await mesh.proposals.RejectProposal(request))

    run(work)


async def put_forward(mesh: Client, output: Format, request: pb.ProposeChangeRequest) -> None:
    """Proposes a change, asks what it does to each workspace, and shows the proposal."""
    known = ((each, place) for each in await all_workspaces(mesh) for place in PLACES)
    request.contexts.extend([context_of(*each) for each in known][:MOST_CONTEXTS])
    _show(output, await mesh.proposals.ProposeChange(request))


def context_of(workspace: workspaces.Workspace, environment: str) -> Struct:
    """Returns what flags know of a workspace in an environment."""
    name = workspace.name.partition("/")[2]
    context = Struct()
    context.update(
        {
            "targetingKey": name,
            "workspace": name,
            "customer": workspace.customer,
            "tier": workspace.tier,
            "region": workspace.region,
            "environment": environment,
        }
    )
    return context


async def all_workspaces(mesh: Client) -> list[workspaces.Workspace]:
    """Returns every workspace of the mesh."""
    return await list_all(mesh.workspaces.ListWorkspaces, workspaces.ListWorkspacesRequest())


def _bare(name: str) -> str:
    return name.partition("/")[2]


def _state(proposal: pb.Proposal) -> str:
    return pb.ProposalState.Name(proposal.state).removeprefix("PROPOSAL_STATE_").lower()


def _moved(proposal: pb.Proposal) -> str:
    return f"{proposal.moved_contexts} of {proposal.contexts}"


def _show(output: Format, proposal: pb.Proposal) -> None:
    decided = f" by {proposal.decider}" if proposal.decider else ""
    why = f": {proposal.decision_reason}" if proposal.decision_reason else ""
    show_fields(
        output,
        proposal,
        {
            "proposal": _bare(proposal.name),
            "flag": _bare(proposal.after.name),
            "act": proposal.act,
            "by": proposal.proposer,
            "why": proposal.reason,
            "state": f"{_state(proposal)}{decided}{why}",
            "until": moment(proposal.expire_time),
            "moves": f"{_moved(proposal)} workspaces, counted in {' and '.join(PLACES)} each",
        },
    )
    if output is Format.JSON:
        return
    before = proposal.before if proposal.HasField("before") else None
    show_difference(difference(before, proposal.after, ("now", "then")))
    for each in proposal.moves[:20]:
        console.print(f"{each.workspace} in {each.environment}: {each.before or 'none'} to {each.after}")
