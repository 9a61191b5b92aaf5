"""Records of the store as the messages that callers get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.definition_pb2 import Action, Definition, Idempotency
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.catalog.store import IntegrationRecord, VersionRecord

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
    )


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
