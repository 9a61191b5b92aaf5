"""Definition versions as the Proxy uses them: actions prepared when they are first called, then kept."""

from __future__ import annotations

from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import InvalidFields, NotFound, StateConflict, Violation
from cordboard.core.json_pointers import unescape
from cordboard.core.schema import JsonSchema, SchemaInvalid
from cordboard.core.times import to_seconds
from cordboard.planning.interpretation import Interpretation, retry_of
from cordboard.planning.plan import Plan
from cordboard.planning.servers import Servers
from cordboard.planning.statements import Statement
from cordboard.planning.variables import Variables
from cordboard.planning.webhooks import WebhookPlan
from cordboard.proxy.quotas.bucket import limits_of

DEFAULT_TIMEOUT: Final = 30.0

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_IDEMPOTENT_METHODS: Final = frozenset({"PUT", "DELETE"})


class Action:
    """One action, ready to be called."""

    def __init__(self, definition: pb.Definition, action: pb.Action, shared: dict[str, Any]) -> None:
        """Takes the action and the definition's shared schemas; raises StateConflict where they cannot be used."""
        self.id = action.id
        self.name = f"integrations/{definition.slug}/actions/{action.id}"
        input_schema = _InputSchema(definition, action, shared)
        self.plan = Plan(definition, action, input_schema.encoded)
        self.statement = _statement(action) if action.HasField("statement") else None
        self.server_url = action.request.server_url
        self.server_variable = action.request.server_variable
        self.takes_key = self.plan.takes_key
        self.timeout = to_seconds(action.timeout) if action.HasField("timeout") else DEFAULT_TIMEOUT
        self.auth_schemes = frozenset(action.auth_schemes)
        self.paging = action.paging if action.HasField("paging") else None
        self.job = action.async_job if action.HasField("async_job") else None
        self.interpretation = Interpretation(definition, action)
        self.retry = retry_of(definition, action)
        self.limits = (*limits_of(definition.rate_limits), *limits_of(action.rate_limits, action.id))
        self.weight = action.quota_weight or 1
        declared = action.idempotency
        method = self.plan.method
        self.safe = declared == pb.IDEMPOTENCY_SAFE or (not declared and method in _SAFE_METHODS)
        self.repeatable = (
            self.safe or declared == pb.IDEMPOTENCY_IDEMPOTENT or (not declared and method in _IDEMPOTENT_METHODS)
        )
        self._output_schema_json = action.output_schema_json
        self._shared = shared
        self._output: JsonSchema | None = None
        self._schema = input_schema.compiled
        self._known = self.plan.properties | input_schema.described

    def check(self, given: dict[str, Any]) -> None:
        """Raises InvalidFields with every way in which the input does not fit."""
        problems = [
            Violation(f"input.{name}", "is not an input of this action", "UNKNOWN")
            for name in given
            if name not in self._known
        ]
        if self._schema is not None and not self._schema.accepts(given):
            problems += self._schema.violations(given)
        if problems:
            raise InvalidFields(problems)

    @property
    def describes_output(self) -> bool:
        """Tells whether it is known what an output looks like, and that an answer is one."""
        return bool(self._output_schema_json) and self.job is None

    def drift(self, output: Any) -> list[tuple[str, str]]:
        """Returns where an output is not as its schema says, and the keyword there; values are not in them."""
        if self._output is None and self._output_schema_json:
            self._output = _lenient(self._output_schema_json, self._shared)
        return [] if self._output is None else self._output.broken(output)


def _lenient(text: str, shared: dict[str, Any]) -> JsonSchema:
    """Returns what a definition says of what comes from a vendor; what cannot be compiled takes everything."""
    try:
        schema = orjson.loads(text)
        if isinstance(schema, dict) and shared:
            schema = {**schema, "$defs": {**_reachable(schema, shared), **schema.get("$defs", {})}}
        return JsonSchema.compile(schema)
    except (orjson.JSONDecodeError, SchemaInvalid):
        # The Catalog compiled it; where this version cannot, answers are taken as they come.
        return JsonSchema.compile(True)


def _statement(action: pb.Action) -> Statement:
    return Statement(action.statement.text, {one.name: one.property for one in action.request.parameters})


class _InputSchema:
    """The schema of an action's input, compiled, and what the Proxy reads out of it."""

    def __init__(self, definition: pb.Definition, action: pb.Action, shared: dict[str, Any]) -> None:
        self.compiled: JsonSchema | None = None
        self.described: frozenset[str] = frozenset()
        self.encoded: frozenset[str] = frozenset()
        if not action.input_schema_json:
            return
        try:
            schema = orjson.loads(action.input_schema_json)
            properties = schema.get("properties") if isinstance(schema, dict) else None
            if isinstance(properties, dict):
                self.described = frozenset(properties)
                self.encoded = frozenset(name for name, about in properties.items() if _is_base64(about))
            if isinstance(schema, dict) and shared:
                # The whole set of a large API takes seconds to compile: an action gets what it reaches.
                schema = {**schema, "$defs": {**_reachable(schema, shared), **schema.get("$defs", {})}}
            self.compiled = JsonSchema.compile(schema)
        except (orjson.JSONDecodeError, SchemaInvalid):
            raise StateConflict(
                f"integrations/{definition.slug}/versions/{definition.version}",
                "unusable",
                f"the action {action.id!r} cannot be run: its input schema cannot be used",
            ) from None


def _is_base64(about: Any) -> bool:
    if not isinstance(about, dict):
        return False
    return about.get("contentEncoding") == "base64" or _is_base64(about.get("items"))


def _reachable(schema: Any, shared: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            for keyword in ("$ref", "$dynamicRef"):
                reference = node.get(keyword)
                if isinstance(reference, str) and reference.startswith("#/$defs/"):
                    name = unescape(reference.removeprefix("#/$defs/").split("/")[0])
                    name = name.replace("%25", "%")
                    if name in shared and name not in found:
                        found[name] = shared[name]
                        waiting.append(shared[name])
    return found


class EventTypes:
    """What one definition says of events, ready to be used."""

    def __init__(self, definition: pb.Definition, shared: dict[str, Any]) -> None:
        """Takes the definition and its shared schemas."""
        self.webhook = WebhookPlan(definition) if definition.HasField("webhook") else None
        self._kinds = {kind.id: kind for kind in definition.event_types}
        self._shared = shared
        self._schemas: dict[str, JsonSchema | None] = {}

    @property
    def ids(self) -> frozenset[str]:
        """Returns the event types' ids."""
        return frozenset(self._kinds)

    def polling(self, event_type: str) -> pb.PollingTrigger | None:
        """Returns how an event type is found out, or None where it is not, or there is no such type."""
        kind = self._kinds.get(event_type)
        return kind.polling if kind is not None and kind.HasField("polling") else None

    def drift(self, event_type: str, data: Any) -> tuple[str, ...]:
        """Returns the places of an event's data that are not as its schema says; values are not in them."""
        schema = self._schema(event_type)
        if schema is None or schema.accepts(data):
            return ()
        return tuple(dict.fromkeys(violation.field or "data" for violation in schema.violations(data, "data")))

    def _schema(self, event_type: str) -> JsonSchema | None:
        if event_type not in self._schemas:
            kind = self._kinds.get(event_type)
            compiled = None
            if kind is not None and kind.payload_schema_json:
                try:
                    schema = orjson.loads(kind.payload_schema_json)
                    if isinstance(schema, dict) and self._shared:
                        schema = {**schema, "$defs": _reachable(schema, self._shared)}
                    compiled = JsonSchema.compile(schema)
                except (orjson.JSONDecodeError, SchemaInvalid):
                    # The Catalog compiled it; where this version cannot, its events are taken as they come.
                    compiled = None
            self._schemas[event_type] = compiled
        return self._schemas[event_type]


class Definition:
    """One definition version. Nothing in it changes after it was made."""

    def __init__(self, message: pb.Definition) -> None:
        """Takes the definition as the Catalog sent it."""
        self.slug = message.slug
        self.version = message.version
        self.servers = Servers(message)
        self.variables = Variables(message)
        self.schemes = {scheme.id: scheme for scheme in message.auth_schemes}
        self.limits = limits_of(message.rate_limits)
        self.gateway = message.gateway if message.HasField("gateway") else None
        self.database = message.database if message.HasField("database") else None
        self._message = message
        self._described = {action.id: action for action in message.actions}
        self._actions: dict[str, Action] = {}
        self._shared: dict[str, Any] | None = None
        self._events: EventTypes | None = None

    @property
    def events(self) -> EventTypes:
        """Returns what it says of events; raises StateConflict where its shared schemas cannot be read."""
        if self._events is None:
            if self._shared is None:
                self._shared = _shared_schemas(self._message)
            self._events = EventTypes(self._message, self._shared)
        return self._events

    def action(self, action_id: str) -> Action:
        """Returns the action; raises NotFound, or StateConflict where the definition describes it in no usable way."""
        found = self._actions.get(action_id)
        if found is None:
            described = self._described.get(action_id)
            if described is None:
                raise NotFound(f"integrations/{self.slug}/actions/{action_id}")
            if self._shared is None:
                self._shared = _shared_schemas(self._message)
            found = self._actions[action_id] = Action(self._message, described, self._shared)
        return found


def _shared_schemas(message: pb.Definition) -> dict[str, Any]:
    if not message.schemas_json:
        return {}
    try:
        shared = orjson.loads(message.schemas_json)
    except orjson.JSONDecodeError:
        shared = None
    if not isinstance(shared, dict):
        raise StateConflict(
            f"integrations/{message.slug}/versions/{message.version}", "unusable", "its shared schemas cannot be read"
        )
    return shared
