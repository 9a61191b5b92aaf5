"""What in a new definition breaks what an old one promised to those who use it.

Users call actions by id with inputs, read outputs and events, hold connections of an auth scheme with a configuration,
and fill in forms; forms are made of inputs and auth schemes. How a request is built is no promise: it may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.compatibility.subsumption import Problem, Subsumption
from cordboard.catalog.v1.definition_pb2 import Idempotency, Interaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cordboard.catalog.compatibility.shape import Schema
    from cordboard.catalog.v1.definition_pb2 import Action, AuthScheme, Definition

BACKWARD: Final = "backward"
FORWARD: Final = "forward"

_SAFETY: Final = {
    Idempotency.IDEMPOTENCY_SAFE: 3,
    Idempotency.IDEMPOTENCY_IDEMPOTENT: 2,
    Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT: 1,
}
_PROPERTIES: Final = frozenset({"properties", "additionalProperties"})
_BY_METHOD: Final = {"GET": 3, "HEAD": 3, "OPTIONS": 3, "PUT": 2, "DELETE": 2}


@dataclass(frozen=True)
class Breakage:
    """One promise that is broken."""

    direction: str
    """`backward`: for users of the old version; `forward`: for users of the new one who go back."""
    field: str
    rule: str
    description: str
    version: str
    """The older version."""


def breakages(old: Definition, new: Definition, *, backward: bool, forward: bool) -> list[Breakage]:
    """Returns what in `new` breaks what `old` promised, in the directions that are asked for."""
    found = []
    if backward:
        found += [Breakage(BACKWARD, *each, old.version) for each in _broken(old, new)]
    if forward:
        found += [Breakage(FORWARD, *each, old.version) for each in _broken(new, old)]
    return found


Found = tuple[str, str, str]


def _broken(used: Definition, given: Definition) -> Iterator[Found]:
    """Yields what users of one definition lose when they are given the other."""
    yield from _schemes(used, given)
    yield from _configuration(used, given)
    known, shared = _shared(used), _shared(given)
    inputs, outputs = Subsumption(known, shared), Subsumption(shared, known)
    same = used.schemas_json == given.schemas_json
    actions = {action.id: action for action in given.actions}
    for action in used.actions:
        path = f"actions[{action.id}]"
        other = actions.get(action.id)
        if other is None:
            yield path, "ACTION_REMOVED", "is gone"
            continue
        if same and action == other and used.auth_schemes == given.auth_schemes:
            continue
        yield from _action(used, action, given, other)
        for problem in inputs.problems(_input(action), _input(other)):
            yield _schema_path(f"{path}.input_schema", problem), problem.rule, problem.description
        for problem in outputs.problems(_schema(other.output_schema_json), _schema(action.output_schema_json)):
            yield _schema_path(f"{path}.output_schema", problem), problem.rule, problem.description
    yield from _events(used, given, outputs)


def _events(used: Definition, given: Definition, outputs: Subsumption) -> Iterator[Found]:
    """Yields what those lose who take events: a payload is read as an output is."""
    kinds = {kind.id: kind for kind in given.event_types}
    for kind in used.event_types:
        path = f"event_types[{kind.id}]"
        other = kinds.get(kind.id)
        if other is None:
            yield path, "EVENT_TYPE_REMOVED", "is gone, and there may be subscriptions to it"
            continue
        if kind.HasField("polling") and not other.HasField("polling") and not given.HasField("webhook"):
            yield f"{path}.polling", "EVENT_SOURCE_REMOVED", "is told by nothing any more"
        for problem in outputs.problems(_schema(other.payload_schema_json), _schema(kind.payload_schema_json)):
            yield _schema_path(f"{path}.payload_schema", problem), problem.rule, problem.description
    if used.HasField("webhook") and not given.HasField("webhook"):
        yield "webhook", "EVENT_SOURCE_REMOVED", "is gone, and addresses of it are known to the vendor"


def _schemes(used: Definition, given: Definition) -> Iterator[Found]:
    schemes = {scheme.id: scheme for scheme in given.auth_schemes}
    for scheme in used.auth_schemes:
        path = f"auth_schemes[{scheme.id}]"
        other = schemes.get(scheme.id)
        if other is None:
            yield path, "AUTH_SCHEME_REMOVED", "is gone, and connections use it"
            continue
        kinds = scheme.WhichOneof("kind"), other.WhichOneof("kind")
        if kinds[0] != kinds[1]:
            yield path, "AUTH_KIND_CHANGED", f"was of the kind {kinds[0]}, and is {kinds[1]}"
            continue
        yield from _asked(path, scheme, other)


def _asked(path: str, scheme: AuthScheme, other: AuthScheme) -> Iterator[Found]:
    kind = scheme.WhichOneof("kind") or "none"
    before, after = getattr(scheme, kind), getattr(other, kind)
    for scope in _added(_scopes(before), _scopes(after)):
        yield f"{path}.{kind}", "SCOPE_ADDED", f"asks for the scope {scope!r}, which connections do not have"
    fields = {field.name: field for field in scheme.fields}
    for field in other.fields:
        known = fields.get(field.name)
        if not field.optional and (known is None or known.optional):
            yield (
                f"{path}.fields[{field.name}]",
                "CREDENTIAL_FIELD_REQUIRED",
                "is required, and connections need not have it",
            )
    if kind == "basic":
        for name in ("username", "password"):
            if getattr(before, name) and not getattr(after, name):
                yield (
                    f"{path}.basic.{name}",
                    "CREDENTIAL_FIELD_REQUIRED",
                    "is asked for, and connections do not have it",
                )
    if kind == "all_of":
        for name in _added(before.auth_schemes, after.auth_schemes):
            yield f"{path}.all_of", "CREDENTIAL_FIELD_REQUIRED", f"needs {name!r} too, which connections do not have"


def _scopes(kind: Any) -> list[str]:
    found = list(getattr(kind, "default_scopes", ()))
    grant = getattr(kind, "grant", None)
    return found if grant is None else [*found, *grant.scopes]


def _configuration(used: Definition, given: Definition) -> Iterator[Found]:
    yield from _server_variables(used, given)
    known = {variable.name: variable for variable in used.config_variables}
    shared, others = _shared(used), _shared(given)
    for variable in given.config_variables:
        path = f"config_variables[{variable.name}]"
        before = known.get(variable.name)
        if variable.required and not variable.default_value_json and (before is None or not before.required):
            yield path, "CONFIGURATION_REQUIRED", "must be set, and need not have been"
        if before is not None:
            schemas = _config_schema(before.schema_json), _config_schema(variable.schema_json)
            for problem in Subsumption(shared, others).problems(*schemas):
                yield _schema_path(f"{path}.schema", problem), problem.rule, problem.description


def _config_schema(text: str) -> Schema:
    return _schema(text) if text else {"type": "string"}


def _server_variables(used: Definition, given: Definition) -> Iterator[Found]:
    known = {variable.name: variable for server in used.servers for variable in server.variables}
    if not given.servers:
        return
    # A connection uses the first server unless its configuration chooses another.
    for variable in given.servers[0].variables:
        path = f"servers.variables[{variable.name}]"
        before = known.get(variable.name)
        if not variable.default_value and (before is None or before.default_value):
            yield path, "CONFIGURATION_REQUIRED", "must be given, and connections need not have it"
        gone = [] if before is None or not variable.allowed_values else _gone(before, variable)
        if gone:
            yield path, "CONFIGURATION_NARROWED", f"does not allow {', '.join(gone[:5])} any more"


def _gone(before: Any, after: Any) -> list[str]:
    if not before.allowed_values:
        return ["every value"]
    return [value for value in before.allowed_values if value not in after.allowed_values]


def _action(used: Definition, action: Action, given: Definition, other: Action) -> Iterator[Found]:
    path = f"actions[{action.id}]"
    usable = set(other.auth_schemes) or {scheme.id for scheme in given.auth_schemes}
    present = {scheme.id for scheme in given.auth_schemes}
    for scheme in list(action.auth_schemes) or [scheme.id for scheme in used.auth_schemes]:
        if scheme in present and scheme not in usable:
            yield f"{path}.auth_schemes", "AUTH_SCHEME_NOT_ACCEPTED", f"does not take connections of {scheme!r}"
    for scope in _added(action.scopes, other.scopes):
        yield f"{path}.scopes", "SCOPE_ADDED", f"needs the scope {scope!r}, which connections may not have"
    if action.HasField("paging") and not other.HasField("paging"):
        yield f"{path}.paging", "PAGING_REMOVED", "gives one page only"
    if _safety(other) < _safety(action):
        yield f"{path}.idempotency", "IDEMPOTENCY_WEAKENED", "may not be sent twice any more"
    if _takes_key(action) and not _takes_key(other) and _safety(other) < 2:
        yield f"{path}.idempotency_key", "IDEMPOTENCY_WEAKENED", "takes no idempotency key any more"
    if action.streaming != other.streaming:
        yield f"{path}.streaming", "STREAMING_CHANGED", "streams its answer in another way"
    if _later(action) != _later(other):
        yield f"{path}.interaction", "INTERACTION_CHANGED", "gives its result at another time: at once, or later"


def _takes_key(action: Action) -> bool:
    return bool(action.idempotency_key_header) or action.HasField("idempotency_key")


def _later(action: Action) -> bool:
    return action.interaction == Interaction.INTERACTION_ASYNCHRONOUS


def _safety(action: Action) -> int:
    return _SAFETY.get(action.idempotency) or _BY_METHOD.get(action.request.method, 1)


def _added(before: Iterable[str], after: Iterable[str]) -> list[str]:
    known = set(before)
    return [each for each in after if each not in known]


def _shared(definition: Definition) -> dict[str, Schema]:
    return _schema_mapping(definition.schemas_json)


def _schema_mapping(text: str) -> dict[str, Schema]:
    found = orjson.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _schema(text: str) -> Schema:
    return _schema_mapping(text) if text else True


def _input(action: Action) -> Schema:
    """Returns the schema of what the Proxy lets through: an object that has known properties alone."""
    described = _schema_mapping(action.input_schema_json)
    properties = described.get("properties")
    known: dict[str, Any] = dict(properties) if isinstance(properties, dict) else {}
    for name in _bound(action):
        known.setdefault(name, described.get("additionalProperties", True))
    own: dict[str, Any] = {"type": "object", "properties": known, "additionalProperties": False}
    rest = {keyword: value for keyword, value in described.items() if keyword not in _PROPERTIES}
    return {**own, "allOf": [rest]} if rest.keys() - {"type"} else own


def _bound(action: Action) -> Iterator[str]:
    for parameter in action.request.parameters:
        yield parameter.property
    if action.request.HasField("body"):
        if action.request.body.property:
            yield action.request.body.property
        for field in action.request.body.fields:
            yield field.property


def _schema_path(root: str, problem: Problem) -> str:
    return ".".join((root, *problem.path))
