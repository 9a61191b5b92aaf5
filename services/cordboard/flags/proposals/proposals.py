"""Proposals: a change is checked when it is proposed, and made when somebody else agrees."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound, StateConflict
from cordboard.flags.approvals import Proposed
from cordboard.flags.flags import Cause
from cordboard.flags.proposals.store import APPROVED, PENDING, REJECTED, Impact, ProposalRecord
from cordboard.flags.v1 import proposal_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock
    from cordboard.flags.history import History
    from cordboard.flags.proposals.acts import Acts
    from cordboard.flags.proposals.store import ProposalStore

LIVES: Final = timedelta(days=7)
MAX_MOVES: Final = 1_000


class Proposals:
    """Keeps changes until they are agreed to."""

    def __init__(self, store: ProposalStore, acts: Acts, history: History, journal: Journal, clock: Clock) -> None:
        """Takes where they are kept, what makes them, what tells whom they move, the audit journal and the time."""
        self._store = store
        self._acts = acts
        self._history = history
        self._journal = journal
        self._clock = clock

    async def propose(
        self, request: pb.ProposeChangeRequest, contexts: Sequence[Mapping[str, Any]], actor: str
    ) -> ProposalRecord:
        """Keeps a change; raises what the change itself can be refused with."""
        bare = pb.ProposeChangeRequest()
        bare.CopyFrom(request)
        bare.ClearField("contexts")
        try:
            await self._acts.make(bare, lambda why: Cause(actor, why, proposing=True))
        except Proposed as found:
            proposed = found
        else:
            raise StateConflict("proposals", "no-change", "the flag is like this already: there is nothing to agree to")
        now = self._clock.now()
        record = ProposalRecord(
            id=0,
            request=bare.SerializeToString(),
            before=proposed.before,
            after=proposed.after,
            impact=await self._impact(proposed, contexts),
            proposer=actor,
            reason=getattr(bare, str(bare.WhichOneof("change"))).reason,
            create_time=now,
            expire_time=now + LIVES,
        )
        async with self._store.adding(record) as (connection, added):
            await self._journal.append(connection, _entry("flags.proposal.create", added))
        return added

    async def approve(self, number: int, cause: Cause) -> ProposalRecord:
        """Makes the change; raises NotFound, StateConflict, and what the change itself can be refused with."""
        cause.of("approve")
        async with self._store.deciding(number) as (connection, found):
            record = self._pending(number, found)
            if record.proposer == cause.actor:
                text = "one's own proposal is for somebody else to agree to"
                raise StateConflict(record.name, "own", text)
            request = pb.ProposeChangeRequest.FromString(record.request)
            # The change commits first: if this transaction is lost then, the proposal stays, and is out of date.
            await self._acts.make(
                request, lambda why: Cause(record.proposer, why, approver=cause.actor, base=record.base)
            )
            decided = self._decided(record, APPROVED, cause)
            await self._store.write(connection, decided)
            await self._journal.append(connection, _entry("flags.proposal.approve", decided))
        return decided

    async def reject(self, number: int, cause: Cause) -> ProposalRecord:
        """Rejects a proposal; raises NotFound, InvalidFields without a reason, and StateConflict."""
        if not cause.why.strip():
            raise InvalidFields.one("reason", "must say why", "REQUIRED")
        cause.of("reject")
        async with self._store.deciding(number) as (connection, found):
            decided = self._decided(self._pending(number, found), REJECTED, cause)
            await self._store.write(connection, decided)
            await self._journal.append(connection, _entry("flags.proposal.reject", decided))
        return decided

    async def proposal(self, number: int) -> ProposalRecord:
        """Returns a proposal; raises NotFound."""
        return _existing(number, await self._store.proposal(number))

    async def proposals(self, *, below: int | None, limit: int, pending: bool) -> list[ProposalRecord]:
        """Returns up to `limit` proposals with a number below `below`, newest first; with `pending` those that wait."""
        return await self._store.proposals(below=below, limit=limit, pending=self._clock.now() if pending else None)

    def is_expired(self, record: ProposalRecord) -> bool:
        """Tells whether nobody has decided in time."""
        return record.state == PENDING and record.expire_time <= self._clock.now()

    def _pending(self, number: int, found: ProposalRecord | None) -> ProposalRecord:
        record = _existing(number, found)
        if record.state != PENDING:
            raise StateConflict(record.name, record.state, f"{record.name!r} was {record.state} by {record.decider!r}")
        if self.is_expired(record):
            raise StateConflict(record.name, "expired", f"{record.name!r} has expired: propose the change again")
        return record

    def _decided(self, record: ProposalRecord, state: str, cause: Cause) -> ProposalRecord:
        now: datetime = self._clock.now()
        return replace(record, state=state, decider=cause.actor, decision_reason=cause.why, decide_time=now)

    async def _impact(self, proposed: Proposed, contexts: Sequence[Mapping[str, Any]]) -> Impact:
        if not contexts:
            return Impact()
        after = proposed.after
        previewed = await self._history.preview(after.key, after.content, contexts, killed=after.killed)
        # Who would get another variant of a flag that needs this one is what the preview tells.
        changes = [one for one in previewed if not one.flag]
        moves = (
            (_text(contexts[one.index], "workspace"), _text(contexts[one.index], "environment"), one.before, one.after)
            for one in changes[:MAX_MOVES]
        )
        return Impact(len(contexts), len(changes), tuple(moves))


def _text(context: Mapping[str, Any], name: str) -> str:
    return str(context.get(name, ""))


def _existing(number: int, record: ProposalRecord | None) -> ProposalRecord:
    if record is None:
        raise NotFound(f"proposals/{number}")
    return record


def _entry(action: str, record: ProposalRecord) -> Entry:
    details = {
        "flag": record.after.key,
        "base": record.base,
        "proposer": record.proposer,
        "reason": record.decision_reason or record.reason,
    }
    return Entry(action=action, resource=record.name, workspace="", outcome="ok", details=details)
