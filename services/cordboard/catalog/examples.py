"""Recorded examples, executed: each input has to make the request that was recorded, and each answer the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from cordboard.catalog.findings import shown
from cordboard.catalog.recording import misreadings
from cordboard.catalog.v1.definition_pb2 import BodyEncoding
from cordboard.core.errors import CordboardError, Violation
from cordboard.core.schema import JsonSchema, SchemaInvalid
from cordboard.core.secrets import Secret
from cordboard.planning import styles
from cordboard.planning.plan import Plan
from cordboard.planning.pointers import pointed
from cordboard.planning.servers import Servers
from cordboard.planning.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cordboard.catalog.v1.definition_pb2 import Action, Definition, Example
    from cordboard.planning.plan import Outbound

FIRST_REDIRECT: Final = 300


def example_problems(definition: Definition) -> Iterator[Violation]:
    """Yields where a recorded example and its action do not say the same; the definition is otherwise sound."""
    if not any(action.examples for action in definition.actions):
        return
    shared = orjson.loads(definition.schemas_json or b"{}")
    caller = _Caller(definition)
    told: set[str] = set()
    for index, action in enumerate(definition.actions):
        for position, example in enumerate(action.examples):
            path = f"actions[{index}].examples[{position}]"
            if example.HasField("request"):
                for field, text in _differences(caller, action, example):
                    yield Violation(f"{path}.request{field}", text)
            if example.HasField("response") and action.HasField("paging") and example.response.body_json:
                items = pointed(orjson.loads(example.response.body_json), action.paging.items_pointer)
                if example.response.status < FIRST_REDIRECT and not isinstance(items, list):
                    yield Violation(f"{path}.response.body", "has no list where `paging.items_pointer` leads")
            if example.output_json:
                misfits = [*_misfits(action, shared, example.output_json, f"{path}.output")]
                told.update(one.field for one in misfits)
                yield from misfits
    yield from (one for one in misreadings(definition) if one.field not in told)


class _Caller:
    """Makes the requests of a definition's actions, as the Proxy does."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._servers = Servers(definition)
        self._variables = Variables(definition)

    def request(self, action: Action, example: Example) -> Outbound:
        """Returns the request that the action makes of the example; raises what the Proxy would raise."""
        told = orjson.loads(example.config_json or b"{}")
        configuration = {name: styles.text(value) for name, value in told.items()}
        values = self._variables.values(configuration, Secret(configuration))
        server_id = self._servers.choice(action.request.server_variable, values)
        place = self._servers.place(configuration, action.request.server_url, server_id)
        plan = Plan(self._definition, action, _encoded(action))
        return plan.outbound(orjson.loads(example.input_json or b"{}"), place.base, place.template, values)


def _differences(caller: _Caller, action: Action, example: Example) -> Iterator[tuple[str, str]]:
    """Yields what the request that the action makes of the example's input has otherwise than the recorded one."""
    wanted = example.request
    try:
        made = caller.request(action, example)
    except CordboardError as error:
        yield "", f"cannot be made of the input: {error.text}"
        return
    headers = {name.lower(): value for name, value in made.headers.items()}
    if made.method != wanted.method:
        yield ".method", f"is {shown(wanted.method)}, and the action makes {shown(made.method)}"
    if made.url != wanted.url:
        yield ".url", f"is {shown(wanted.url)}, and the action makes {shown(made.url)}"
    for name in sorted(wanted.headers):
        given = headers.get(name.lower())
        if given != wanted.headers[name]:
            yield f".headers.{name}", f"is {shown(wanted.headers[name])}, and the action makes {shown(given or '')}"
    body = (made.body or b"").decode("utf-8", "replace")
    if wanted.body_json and _json(body) != orjson.loads(wanted.body_json):
        yield ".body", f"is otherwise than what the action makes: {shown(body)}"
    elif not wanted.body_json and body != wanted.body_text and not _has_parts(action):
        yield ".body_text", f"is otherwise than what the action makes: {shown(body)}"


def _has_parts(action: Action) -> bool:
    """Tells whether a body is of parts, between which stands another boundary each time."""
    return action.request.body.encoding == BodyEncoding.BODY_ENCODING_MULTIPART


def _encoded(action: Action) -> frozenset[str]:
    """Returns the properties of the input that hold base64."""
    properties = orjson.loads(action.input_schema_json or b"{}").get("properties", {})
    return frozenset(
        name
        for name, schema in properties.items()
        if isinstance(schema, dict) and schema.get("contentEncoding") == "base64"
    )


def _json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _misfits(action: Action, shared: object, output: str, path: str) -> Iterator[Violation]:
    schema = orjson.loads(action.output_schema_json or b"{}")
    try:
        compiled = JsonSchema.compile({**schema, "$defs": shared})
    except SchemaInvalid:
        return  # Told where the schema stands.
    for violation in compiled.violations(orjson.loads(output), "output"):
        yield Violation(path, f"{violation.field} {violation.description}")
