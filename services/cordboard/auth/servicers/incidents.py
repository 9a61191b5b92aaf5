"""IncidentService: messages in, one domain call, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.auth.v1 import incident_service_pb2 as pb
from cordboard.auth.v1.incident_service_pb2_grpc import IncidentServiceServicer
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.auth.incidents import Incidents
    from cordboard.auth.store.incidents import AlertRow, CutOffRow


class IncidentServicer(IncidentServiceServicer):
    """Answers IncidentService."""

    def __init__(self, incidents: Incidents) -> None:
        """Takes what cuts off and restores."""
        self._incidents = incidents

    async def CutOffAccess(self, request: pb.CutOffAccessRequest, _: Any) -> pb.CutOff:
        done = await self._incidents.cut_off(
            workspace=_id(request.workspace, "workspaces/*", "workspace"),
            integration=_id(request.integration, "integrations/*", "integration"),
            everything=request.everything,
            reason=request.reason,
            revoke=request.revoke,
        )
        return _cut_off(done.row, done.connections, done.revocations)

    async def RestoreAccess(self, request: pb.RestoreAccessRequest, _: Any) -> pb.CutOff:
        (cut_off,) = parse(request.name, "cutOffs/*")
        done = await self._incidents.restore(cut_off)
        return _cut_off(done.row, done.connections)

    async def ListCutOffs(self, request: pb.ListCutOffsRequest, _: Any) -> pb.ListCutOffsResponse:
        page = Paging.of(request)
        found = await self._incidents.cut_offs(before=page.after, limit=page.size + 1)
        response = pb.ListCutOffsResponse(cut_offs=[_cut_off(row) for row in found[: page.size]])
        if len(found) > page.size:
            response.next_page_token = page.token(found[page.size - 1].id)
        return response

    async def ListReadAlerts(self, request: pb.ListReadAlertsRequest, _: Any) -> pb.ListReadAlertsResponse:
        page = Paging.of(request)
        found = await self._incidents.alerts(before=page.after, limit=page.size + 1)
        response = pb.ListReadAlertsResponse(read_alerts=[_alert(row) for row in found[: page.size]])
        if len(found) > page.size:
            response.next_page_token = page.token(found[page.size - 1].id)
        return response


def _id(name: str, pattern: str, field: str) -> str:
    return parse(name, pattern, field=field)[0] if name else ""


def _cut_off(row: CutOffRow, connections: int = 0, revocations: int = 0) -> pb.CutOff:
    message = pb.CutOff(
        name=f"cutOffs/{row.id}",
        workspace=f"workspaces/{row.workspace}" if row.workspace else "",
        integration=f"integrations/{row.integration}" if row.integration else "",
        reason=row.reason,
        revoke=row.revoke,
        connection_count=connections,
        revocation_count=revocations,
        create_time=to_timestamp(row.create_time),
    )
    if row.restore_time is not None:
        message.restore_time.CopyFrom(to_timestamp(row.restore_time))
    return message


def _alert(row: AlertRow) -> pb.ReadAlert:
    return pb.ReadAlert(
        name=f"readAlerts/{row.id}",
        workspace=f"workspaces/{row.workspace}" if row.workspace else "",
        caller=row.caller,
        connection_count=row.connections,
        seconds=row.seconds,
        create_time=to_timestamp(row.create_time),
    )
