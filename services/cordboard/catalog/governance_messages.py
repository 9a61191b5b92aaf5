"""What governance finds, as the messages that callers get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog import difference
from cordboard.catalog.compatibility.definitions import BACKWARD, FORWARD
from cordboard.catalog.v1 import governance_service_pb2 as pb

if TYPE_CHECKING:
    from cordboard.catalog.catalog import Difference, Validation
    from cordboard.catalog.compatibility.definitions import Breakage
    from cordboard.catalog.v1.catalog_service_pb2 import ActionSummary, Integration

_KINDS: Final = {
    difference.ADDED: pb.DefinitionChange.KIND_ADDED,
    difference.REMOVED: pb.DefinitionChange.KIND_REMOVED,
    difference.CHANGED: pb.DefinitionChange.KIND_CHANGED,
}
_DIRECTIONS: Final = {
    BACKWARD: pb.Incompatibility.DIRECTION_BACKWARD,
    FORWARD: pb.Incompatibility.DIRECTION_FORWARD,
}


def difference_message(found: Difference) -> pb.DefinitionDifference:
    """Returns a difference as it is answered."""
    directions = {one.direction for one in found.breakages}
    return pb.DefinitionDifference(
        old_version=found.old,
        new_version=found.new,
        changes=[
            pb.DefinitionChange(kind=_KINDS[one.kind], field=one.field, old_value=one.old, new_value=one.new)
            for one in found.changes
        ],
        backward=BACKWARD not in directions,
        forward=FORWARD not in directions,
        incompatibilities=[breakage_message(one) for one in found.breakages],
    )


def validation_fields(found: Validation) -> dict[str, Any]:
    """Returns what is answered of a definition that was only tried, beside the version itself."""
    return {
        "difference": difference_message(found.difference),
        "compatibility": found.verdict.mode.value,
        "refusals": [breakage_message(one) for one in found.verdict.breakages],
    }


def breakage_message(one: Breakage) -> pb.Incompatibility:
    """Returns a broken promise as it is answered."""
    return pb.Incompatibility(
        direction=_DIRECTIONS[one.direction],
        field=one.field,
        rule=one.rule,
        description=one.description,
        version=one.version,
    )


def found_action(integration: Integration, action: ActionSummary) -> pb.FoundAction:
    """Returns an action with whose it is."""
    return pb.FoundAction(integration=integration.name, integration_title=integration.title, action=action)
