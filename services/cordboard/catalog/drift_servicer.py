"""DriftService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.drift import is_sign, is_text
from cordboard.catalog.drift_store import Look, Sign
from cordboard.catalog.governance_servicer import time_of
from cordboard.catalog.servicer import INTEGRATION
from cordboard.catalog.v1 import drift_service_pb2 as pb
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceServicer
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import parse
from cordboard.core.ownership import owner_of
from cordboard.core.paging import Paging

if TYPE_CHECKING:
    from cordboard.catalog.drift import Drift
    from cordboard.catalog.drift_store import Place

EVERY: Final = "integrations/-"
MAX_LOOKS: Final = 1_000
MAX_SIGNS: Final = 50
_KINDS: Final = tuple(map(str, pb.DriftKind.values()))
_BEGINNING: Final[Place] = ("", "", "", 0, "", "", "")


class DriftServicer(DriftServiceServicer):
    """Serves what is known of drift."""

    def __init__(self, drift: Drift) -> None:
        """Takes the domain."""
        self._drift = drift

    async def ListDrifts(self, request: pb.ListDriftsRequest, _context: Any) -> pb.ListDriftsResponse:
        slug = "" if request.parent == EVERY else parse(request.parent, INTEGRATION, field="parent")[0]
        paging = Paging.of(request)
        found = await self._drift.drifts(
            slug, owner=request.owner, kind=request.kind, after=_place(paging.after), limit=paging.size + 1
        )
        page = found[: paging.size]
        token = paging.token("\n".join(map(str, page[-1][0]))) if len(found) > len(page) else ""
        return pb.ListDriftsResponse(drifts=[drift for _, drift in page], next_page_token=token)

    async def ReportDrift(self, request: pb.ReportDriftRequest, _context: Any) -> pb.ReportDriftResponse:
        await self._drift.add(*_told(request))
        return pb.ReportDriftResponse()


def _place(after: str) -> Place:
    if not after:
        return _BEGINNING
    parts = after.split("\n")
    if (
        len(parts) != len(_BEGINNING)
        or parts[3] not in _KINDS
        or not all(not one or one.isprintable() for one in parts)
    ):
        raise InvalidFields.one("page_token", "is not a token of this list")
    slug, version, action, kind, place, rule, edge = parts
    return slug, version, action, int(kind), place, rule, edge


def _told(request: pb.ReportDriftRequest) -> tuple[list[Look], list[Sign]]:
    if len(request.looks) > MAX_LOOKS:
        raise InvalidFields.one("looks", f"must be at most {MAX_LOOKS}")
    looks: dict[tuple[str, str, str], Look] = {}
    signs: dict[Place, Sign] = {}
    wrong = []
    for index, one in enumerate(request.looks):
        key, at = (one.integration, one.version, one.action), f"looks[{index}]"
        if not all(map(is_text, key)) or not 0 < one.answers < 2**40 or key in looks:
            wrong.append(Violation(at, "must name an action of a version, once, and how many answers"))
            continue
        when, workspace = time_of(one.last_time, f"{at}.last_time"), owner_of(one.integration)
        looks[key] = Look(workspace, *key, one.answers, when)
        for number, each in enumerate(one.signs):
            sign = Sign(workspace, *key, each.kind, each.place, each.rule, each.answers, when, when, each.trace_id)
            if number >= MAX_SIGNS or not is_sign(each) or each.answers > one.answers or sign.key in signs:
                wrong.append(Violation(f"{at}.signs[{number}]", "must have a kind, and be there once, in some answers"))
            signs[sign.key] = sign
    if wrong:
        raise InvalidFields(wrong[:100])
    return list(looks.values()), list(signs.values())
