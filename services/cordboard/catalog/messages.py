"""Records of the store as the messages that callers get."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.definition_pb2 import Action, Definition, Idempotency
from cordboard.catalog.v1.lifecycle_pb2 import Pin
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.catalog.store import IntegrationRecord, PinRecord, VersionRecord

_BY_METHOD: Final = {
    "GET": Idempotency.IDEMPOTENCY_SAFE,
    "HEAD": Idempotency.IDEMPOTENCY_SAFE,
    "OPTIONS": Idempotency.IDEMPOTENCY_SAFE,
    "PUT": Idempotency.IDEMPOTENCY_IDEMPOTENT,
    "DELETE": Idempotency.IDEMPOTENCY_IDEMPOTENT,
}


def integration_message(record: IntegrationRecord) -> pb.Integration:
    """Returns an integration as it is answered."""
    return pb.Integration(
        name=record.name,
        title=record.title,
        description=record.description,
        category=record.category,  # type: ignore[arg-type]
        owner=record.owner,
        criticality=record.criticality,  # type: ignore[arg-type]
        active_version=record.active_version,
        action_count=record.action_count,
        auth_schemes=record.auth_schemes,
        tags=record.tags,
        create_time=to_timestamp(record.create_time),
        update_time=to_timestamp(record.update_time),
        state=record.state,  # type: ignore[arg-type]
        workspace=record.workspace_id,
    )


def version_message(
    record: VersionRecord, *, active: bool, definition: Definition | None = None
) -> pb.DefinitionVersion:
    """Returns a definition version as it is answered."""
    return pb.DefinitionVersion(
        name=record.name,
        content_hash=record.content_hash,
        definition=definition,
        active=active,
        create_time=to_timestamp(record.create_time),
        creator=record.creator,
        state=record.state,  # type: ignore[arg-type]
        etag=etag_of(record),
        sunset_time=None if record.sunset_time is None else to_timestamp(record.sunset_time),
        successor=record.successor,
        workspace=record.workspace_id,
        update_time=to_timestamp(record.update_time),
        reason=record.reason,
    )


def pin_message(record: PinRecord, state: int = 0) -> Pin:
    """Returns a pin as it is answered, with the state of its version."""
    return Pin(
        name=record.name,
        version=record.version,
        reason=record.reason,
        etag=etag_of(record),
        update_time=to_timestamp(record.update_time),
        creator=record.creator,
        state=state,  # type: ignore[arg-type]
        from_hub=record.from_hub,
        hub_version=record.hub_version,
    )


def etag_of(record: VersionRecord | PinRecord) -> str:
    """Returns the tag of a record's revision."""
    return hashlib.sha256(f"{record.name}/{record.revision}".encode()).hexdigest()[:16]


def listing_of(definition: Definition) -> bytes:
    """Returns what lists say of a definition's actions, serialised."""
    return pb.ListActionsResponse(actions=action_summaries(definition)).SerializeToString(deterministic=True)


def action_summaries(definition: Definition) -> list[pb.ActionSummary]:
    """Returns what a list says of each action, in order of id."""
    return [_summary(action) for action in sorted(definition.actions, key=lambda one: one.id)]


def _summary(action: Action) -> pb.ActionSummary:
    by_method = _BY_METHOD.get(action.request.method, Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT)
    return pb.ActionSummary(
        id=action.id,
        title=action.title,
        description=action.description,
        method=action.request.method,
        path=action.request.path,
        paged=action.HasField("paging"),
        idempotency=action.idempotency or by_method,
        deprecated=action.deprecated,
        tags=action.tags,
    )
