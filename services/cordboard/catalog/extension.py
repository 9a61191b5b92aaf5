"""Definitions that extend another: one deep, explicit merge, done before anything else looks at them.

A plain value that is set replaces the base's. Messages are merged field by field. Lists whose members all have an id, a
property or a name of their own are merged member by member, in the base's order with new members at the end; every
other list replaces the base's.
JSON texts that hold objects are merged as objects, a list or a plain value inside replacing the base's. What stands in
`extends.remove` is not taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.document import document_name, holds_object, is_duration, is_map
from cordboard.catalog.findings import shown
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.errors import InvalidFields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Lookup = Callable[[str, str], Awaitable[Definition | None]]

# What names a member of a list among its neighbours, the first that its message has.
KEYS: Final = ("id", "property", "name")
# What is the definition's own, whatever its base says.
OWN: Final = frozenset({"slug", "version", "extends"})
MAX_REMOVED: Final = 1000


async def resolved(definition: Definition, lookup: Lookup) -> Definition:
    """Returns what a definition says together with its base; `lookup` gives a published version, whole, or None.

    What comes back extends nothing: a published definition stands by itself, and a base that extends another has been
    resolved when it was published. Raises InvalidFields.
    """
    if not definition.HasField("extends"):
        return definition
    extends = definition.extends
    if extends.integration == definition.slug:
        raise InvalidFields.one("extends.integration", "is this integration itself")
    if not extends.integration or not extends.version:
        raise InvalidFields.one("extends", "must name an integration and one of its versions")
    base = await lookup(extends.integration, extends.version)
    if base is None:
        name = f"{extends.integration} {extends.version}"
        raise InvalidFields.one("extends.version", f"{shown(name)} is not published")
    return merged(base, definition)


def merged(base: Definition, definition: Definition) -> Definition:
    """Returns a base with a definition on top of it; raises InvalidFields where `extends.remove` names nothing."""
    result = Definition()
    result.CopyFrom(base)
    for name in OWN:
        result.ClearField(name)  # type: ignore[arg-type]
    if len(definition.extends.remove) > MAX_REMOVED:
        raise InvalidFields.one("extends.remove", f"are more than {MAX_REMOVED}")
    for index, path in enumerate(definition.extends.remove):
        if not _remove(result, path):
            raise InvalidFields.one(f"extends.remove[{index}]", f"{shown(path)} is nothing that the base has")
    _merge(result, definition)
    result.ClearField("extends")
    return result


def _merge(into: Any, message: Any) -> None:
    for field, value in message.ListFields():
        name = field.name
        if name in OWN and field.containing_type is Definition.DESCRIPTOR:
            if name != "extends":
                setattr(into, name, value)
        elif is_map(field):
            getattr(into, name).update(value)
        elif field.is_repeated:
            _merge_list(getattr(into, name), field, value)
        elif field.message_type is not None and not is_duration(field.message_type):
            getattr(into, name).SetInParent()
            _merge(getattr(into, name), value)
        elif field.message_type is not None:
            getattr(into, name).CopyFrom(value)
        elif document_name(field) != name and holds_object(field) and getattr(into, name):
            objects = _merged_objects(orjson.loads(getattr(into, name)), orjson.loads(value))
            setattr(into, name, orjson.dumps(objects).decode())
        else:
            setattr(into, name, value)


def _merge_list(into: Any, field: Any, value: Any) -> None:
    key = _key_of(field)
    known = None if key is None else _named(into, key)
    if key is None or known is None or _named(value, key) is None:
        del into[:]
        into.extend(value)
        return
    for member in value:
        mine = known.get(getattr(member, key))
        if mine is None:
            into.add().CopyFrom(member)
        else:
            _merge(mine, member)


def _named(members: Any, key: str) -> dict[str, Any] | None:
    """Returns members by what names them, or None where they do not all have a name of their own."""
    found = {getattr(member, key): member for member in members}
    return None if "" in found or len(found) != len(members) else found


def _key_of(field: Any) -> str | None:
    if field.message_type is None:
        return None
    return next((key for key in KEYS if key in field.message_type.fields_by_name), None)


def _merged_objects(base: Any, value: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(value, dict):
        return value
    return {**base, **{key: _merged_objects(base[key], each) if key in base else each for key, each in value.items()}}


def _remove(message: Any, path: str) -> bool:
    """Takes out what a path leads to: a field, or a member of a list or of a map by its name."""
    name, _, rest = path.partition(".")
    field = next((one for one in message.DESCRIPTOR.fields if document_name(one) == name), None)
    if field is None or (name in OWN and not rest):
        return False
    value = getattr(message, field.name)
    if not rest:
        present = bool(value) if field.is_repeated or not field.has_presence else message.HasField(field.name)
        message.ClearField(field.name)
        return present
    if is_map(field):
        there = rest in value
        if there:
            del value[rest]
        return there
    if field.is_repeated:
        return _remove_member(field, value, rest)
    if document_name(field) != field.name and holds_object(field):
        return _remove_schema(message, field, rest)
    if field.message_type is not None and message.HasField(field.name):
        return _remove(value, rest)
    return False


def _remove_schema(message: Any, field: Any, name: str) -> bool:
    schemas = orjson.loads(getattr(message, field.name) or "{}")
    if name not in schemas:
        return False
    del schemas[name]
    setattr(message, field.name, orjson.dumps(schemas).decode())
    return True


def _remove_member(field: Any, members: Any, rest: str) -> bool:
    key = _key_of(field)
    if key is None:
        return False
    # An id may have dots in it: the longest that fits is meant.
    names = [(getattr(member, key), index) for index, member in enumerate(members)]
    fitting = [one for one in names if rest == one[0] or rest.startswith(f"{one[0]}.")]
    if not fitting:
        return False
    name, index = max(fitting, key=lambda one: len(one[0]))
    if rest != name:
        return _remove(members[index], rest[len(name) + 1 :])
    del members[index]
    return True
