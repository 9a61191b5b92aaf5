"""Checks what the protos say about fields: REQUIRED ones are set (google.api.field_behavior, AIP-203).

And that a message has no more parts than can be looked at without making everybody wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.api import field_behavior_pb2

from cordboard.core.errors import InvalidFields, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

MAX_NODES: Final = 10_000
# Entries of lists and maps in one message, all together, the inner ones too. A message of 4 MiB could have a million,
# and whoever looks at each of them in turn answers nobody else for seconds.
MAX_PARTS: Final = 50_000


class Requirements:
    """Which fields of which messages must be set, worked out once per message type."""

    def __init__(self) -> None:
        """Begins with nothing known."""
        self._plans: dict[str, tuple[tuple[str, bool, bool, bool], ...]] = {}

    def check(self, message: Message) -> None:
        """Raises InvalidFields with every REQUIRED field that is not set, nested ones too."""
        missing = [Violation(path, "is required", "REQUIRED") for path in self._missing(message, "")]
        if missing:
            raise InvalidFields(missing)

    def _missing(self, message: Message, path: str) -> Iterator[str]:
        descriptor = message.DESCRIPTOR
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            plan = self._plan(descriptor)
        for name, required, nested, many in plan:
            value: Any = getattr(message, name)
            if many:
                if required and not value:
                    yield path + name
                elif nested:
                    for index, item in enumerate(value[:MAX_NODES]):
                        yield from self._missing(item, f"{path}{name}[{index}].")
            elif nested:
                if message.HasField(name):
                    yield from self._missing(value, f"{path}{name}.")
                elif required:
                    yield path + name
            elif required and not value:
                yield path + name

    def _plan(self, descriptor: Any) -> tuple[tuple[str, bool, bool, bool], ...]:
        steps = []
        for field in descriptor.fields:
            required = field_behavior_pb2.REQUIRED in _behaviors(field)
            is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            # Only where something below is required: a walk through all that OTLP nests would cost more than taking it.
            nested = field.message_type is not None and not is_map and (required or _requires(field.message_type))
            if required or nested:
                steps.append((field.name, required, nested, field.is_repeated))
        plan = tuple(steps)
        self._plans[descriptor.full_name] = plan
        return plan


def ensure_few_parts(message: Message) -> None:
    """Raises InvalidFields, naming the field of the request, when lists and maps have too many entries in all."""
    left = MAX_PARTS
    todo: list[tuple[str, Any]] = [("", message)]
    while todo:
        top, each = todo.pop()
        for field, value in each.ListFields():
            name = top or field.name
            inner = field.message_type
            if not field.is_repeated:
                if inner is not None:
                    todo.append((name, value))
                continue
            left -= len(value)
            if left < 0:
                raise InvalidFields.one(
                    name, f"a request has at most {MAX_PARTS} entries in its lists and maps", "TOO_MANY"
                )
            if inner is None:
                continue
            if not inner.GetOptions().map_entry:
                todo.extend((name, item) for item in value)
            elif inner.fields_by_name["value"].message_type is not None:
                todo.extend((name, item) for item in value.values())


def _requires(descriptor: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Tells whether a message of this type has a REQUIRED field at any depth."""
    if descriptor.full_name in seen:
        return False
    inside = seen | {descriptor.full_name}
    return any(
        field_behavior_pb2.REQUIRED in _behaviors(field)
        or (field.message_type is not None and _requires(field.message_type, inside))
        for field in descriptor.fields
    )


def _behaviors(field: Any) -> Any:
    return field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
