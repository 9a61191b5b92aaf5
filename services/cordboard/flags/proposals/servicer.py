"""ProposalService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.caller import current_caller
from cordboard.core.paging import Paging
from cordboard.core.structs import from_struct
from cordboard.flags.flags import Cause
from cordboard.flags.proposals.messages import number_of, proposal_message
from cordboard.flags.v1 import proposal_service_pb2 as pb
from cordboard.flags.v1.proposal_service_pb2_grpc import ProposalServiceServicer

if TYPE_CHECKING:
    from cordboard.flags.proposals.proposals import Proposals
    from cordboard.flags.proposals.store import ProposalRecord


class ProposalServicer(ProposalServiceServicer):
    """Serves proposals."""

    def __init__(self, proposals: Proposals) -> None:
        """Takes the proposals."""
        self._proposals = proposals

    async def ProposeChange(self, request: pb.ProposeChangeRequest, _context: Any) -> pb.Proposal:
        contexts = [from_struct(each, f"contexts[{index}]") for index, each in enumerate(request.contexts)]
        return self._message(await self._proposals.propose(request, contexts, current_caller().actor))

    async def GetProposal(self, request: pb.GetProposalRequest, _context: Any) -> pb.Proposal:
        return self._message(await self._proposals.proposal(number_of(request.name)))

    async def ListProposals(self, request: pb.ListProposalsRequest, _context: Any) -> pb.ListProposalsResponse:
        paging = Paging.of(request)
        below, pending = paging.after_number, request.pending_only
        found = await self._proposals.proposals(below=below, limit=paging.size + 1, pending=pending)
        page = found[: paging.size]
        token = paging.token(str(page[-1].id)) if len(found) > len(page) else ""
        return pb.ListProposalsResponse(proposals=map(self._message, page), next_page_token=token)

    async def ApproveProposal(self, request: pb.ApproveProposalRequest, _context: Any) -> pb.Proposal:
        return self._message(await self._proposals.approve(number_of(request.name), _cause(request.reason)))

    async def RejectProposal(self, request: pb.RejectProposalRequest, _context: Any) -> pb.Proposal:
        return self._message(await self._proposals.reject(number_of(request.name), _cause(request.reason)))

    def _message(self, record: ProposalRecord) -> pb.Proposal:
        return proposal_message(record, expired=self._proposals.is_expired(record))


def _cause(why: str) -> Cause:
    return Cause(current_caller().actor, why)
