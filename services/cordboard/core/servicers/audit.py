"""The RPCs of a service's audit journal: messages in, one call, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson

from cordboard.common.v1 import audit_service_pb2 as pb
from cordboard.common.v1.audit_service_pb2_grpc import AuditServiceServicer
from cordboard.core import ocsf
from cordboard.core.audit import Entry
from cordboard.core.audit_chains import Chains, Head, Written
from cordboard.core.errors import InvalidFields
from cordboard.core.paging import Paging
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.core.audit import Journal

MOST_ANCHORS = 100_000
LONGEST = 200


class AuditServicer(AuditServiceServicer):
    """Answers AuditService."""

    def __init__(self, service: str, chains: Chains, journal: Journal) -> None:
        """Takes the service whose journal it is; to read the journal is written into it as well."""
        self._service = service
        self._chains = chains
        self._journal = journal

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, _: Any) -> pb.ListAuditEntriesResponse:
        page = Paging.of(request)
        _check(chain=request.chain, action_prefix=request.action_prefix)
        found = await self._chains.entries(
            request.chain, after=page.after_number or 0, limit=page.size + 1, prefix=request.action_prefix
        )
        response = pb.ListAuditEntriesResponse(entries=[_message(entry) for entry in found[: page.size]])
        if len(found) > page.size:
            response.next_page_token = page.token(str(found[page.size - 1].sequence))
        return response

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, _: Any) -> pb.VerifyAuditResponse:
        found = await self._chains.verify(_anchors(request))
        await self._told("verify", {"entries": found.entries, "breaks": len(found.breaks)})
        return pb.VerifyAuditResponse(
            chain_count=len(found.heads),
            entry_count=found.entries,
            breaks=[pb.AuditBreak(**vars(each)) for each in found.breaks],
            heads=[pb.AuditAnchor(chain=head.chain, sequence=head.sequence, hash=head.hash) for head in found.heads],
            anchor_count=found.anchors,
        )

    async def ExportAudit(self, request: pb.ExportAuditRequest, _: Any) -> AsyncIterator[pb.ExportAuditResponse]:
        _check(chain=request.chain)
        await self._told("export", {"chain": request.chain if request.one_chain else "*"})
        chain = request.chain if request.one_chain else None
        async for entry in self._chains.stream(chain, request.after_sequence):
            yield pb.ExportAuditResponse(
                chain=entry.chain, sequence=entry.sequence, line=self._line(entry, request.format)
            )

    async def _told(self, verb: str, details: dict[str, Any]) -> None:
        await self._journal.append_batched(Entry(f"{self._service}.audit.{verb}", "audit", details=details))

    def _line(self, entry: Written, form: int) -> str:
        if form == pb.ExportAuditRequest.FORMAT_OCSF:
            return orjson.dumps(ocsf.event(entry, self._service)).decode()
        return orjson.dumps(
            {
                "service": self._service,
                "chain": entry.chain,
                "sequence": entry.sequence,
                "time": entry.time.isoformat(),
                "hash": entry.hash.hex(),
                "body": entry.body,
            }
        ).decode()


def _check(**texts: str) -> None:
    for field, value in texts.items():
        if "\0" in value or len(value) > LONGEST:
            raise InvalidFields.one(field, f"must have at most {LONGEST} characters, none of them NUL")


def _anchors(request: pb.VerifyAuditRequest) -> dict[str, list[Head]]:
    if len(request.anchors) > MOST_ANCHORS:
        raise InvalidFields.one("anchors", f"must not be more than {MOST_ANCHORS}")
    found: dict[str, list[Head]] = {}
    for index, anchor in enumerate(request.anchors):
        if anchor.sequence < 1 or len(anchor.hash) != 32:
            raise InvalidFields.one(f"anchors[{index}]", "must have a sequence above 0 and a hash of 32 bytes")
        _check(**{f"anchors[{index}].chain": anchor.chain})
        found.setdefault(anchor.chain, []).append(Head(anchor.chain, anchor.sequence, anchor.hash))
    return found


def _message(entry: Written) -> pb.AuditEntry:
    said = entry.values()
    return pb.AuditEntry(
        chain=entry.chain,
        sequence=entry.sequence,
        time=to_timestamp(entry.time),
        action=str(said.get("action", "")),
        resource=str(said.get("resource", "")),
        actor=str(said.get("actor", "")),
        outcome=str(said.get("outcome", "")),
        body=entry.body,
        hash=entry.hash,
    )
