"""What lists and the inventory say of a definition, without the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.catalog.messages import listing_of
from cordboard.catalog.store import Described, IntegrationRecord
from cordboard.catalog.syntax import host_of
from cordboard.catalog.v1.definition_pb2 import Category, Criticality, Interaction, Volume

if TYPE_CHECKING:
    from cordboard.catalog.store import VersionRecord
    from cordboard.catalog.v1.definition_pb2 import Action, Definition


def facts(definition: Definition) -> dict[str, Any]:
    """Returns what the inventory says of a definition, as JSON values."""
    hosts = list(definition.allowed_hosts) or [host_of(server.url) for server in definition.servers]
    needs = [definition.required_capabilities, *(action.required_capabilities for action in definition.actions)]
    return {
        "hosts": sorted({host for host in hosts if host}),
        "data_classes": sorted(definition.data_classes),
        "required_capabilities": sorted({each for group in needs for each in group}),
        "traits": sorted({trait for action in definition.actions for trait in _traits(action)}),
        "review_interval_days": definition.review_interval_days,
    }


def _traits(action: Action) -> tuple[str, str]:
    later = action.interaction == Interaction.INTERACTION_ASYNCHRONOUS or (
        not action.interaction and action.HasField("async_job")
    )
    volume = action.volume or (Volume.VOLUME_STREAM if action.streaming else Volume.VOLUME_SINGLE)
    return "async" if later else "sync", Volume.Name(volume).removeprefix("VOLUME_").lower()


def described(definition: Definition) -> Described:
    """Returns what is kept beside a version."""
    return Described(definition.slug, definition.version, listing_of(definition), facts(definition))


def describe(definition: Definition, record: VersionRecord) -> IntegrationRecord:
    """Returns the integration that a version describes, in the version's own state."""
    return IntegrationRecord(
        slug=definition.slug,
        title=definition.title,
        description=definition.description,
        category=definition.category or Category.CATEGORY_API,
        owner=definition.owner,
        criticality=definition.criticality or Criticality.CRITICALITY_MEDIUM,
        active_version=record.version,
        action_count=len(definition.actions),
        auth_schemes=tuple(scheme.id for scheme in definition.auth_schemes),
        tags=tuple(definition.tags),
        sequence=record.sequence,
        create_time=record.create_time,
        update_time=record.update_time,
        state=record.state,
        workspace_id=record.workspace_id,
    )
