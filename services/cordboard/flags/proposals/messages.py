"""Proposals between their proto messages and the domain."""

from __future__ import annotations

from typing import Final

from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp
from cordboard.flags.messages import flag_message, is_number
from cordboard.flags.proposals.store import APPROVED, PENDING, REJECTED, ProposalRecord
from cordboard.flags.v1 import proposal_service_pb2 as pb

_STATES: Final = {
    PENDING: pb.PROPOSAL_STATE_PENDING,
    APPROVED: pb.PROPOSAL_STATE_APPROVED,
    REJECTED: pb.PROPOSAL_STATE_REJECTED,
}


def number_of(name: str) -> int:
    """Returns the number in `proposals/{number}`; raises InvalidFields."""
    (text,) = parse(name, "proposals/*")
    if not is_number(text):
        raise InvalidFields.one("name", "must end in the number of a proposal", "RESOURCE_NAME")
    return int(text)


def proposal_message(record: ProposalRecord, *, expired: bool) -> pb.Proposal:
    """Returns a proposal as it is."""
    impact = record.impact
    return pb.Proposal(
        name=record.name,
        before=None if record.before is None else flag_message(record.before),
        after=flag_message(record.after),
        act=pb.ProposeChangeRequest.FromString(record.request).WhichOneof("change") or "",
        proposer=record.proposer,
        reason=record.reason,
        state=pb.PROPOSAL_STATE_EXPIRED if expired else _STATES[record.state],
        create_time=to_timestamp(record.create_time),
        expire_time=to_timestamp(record.expire_time),
        decider=record.decider,
        decision_reason=record.decision_reason,
        decide_time=None if record.decide_time is None else to_timestamp(record.decide_time),
        contexts=impact.contexts,
        moved_contexts=impact.moved,
        moves=[
            pb.MovedContext(workspace=workspace, environment=environment, before=before, after=after)
            for workspace, environment, before, after in impact.moves
        ],
    )
