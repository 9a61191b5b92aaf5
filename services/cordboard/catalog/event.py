"""What event types, webhooks and polling triggers of a definition must mean."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.findings import shown
from cordboard.catalog.reference import is_safe
from cordboard.catalog.schemas import wording_problem
from cordboard.catalog.v1 import definition_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.catalog.findings import Findings

MAX_EVENT_TYPES: Final = 500
MAX_CHALLENGES: Final = 5

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_NAMES: Final = frozenset({"body", "timestamp", "id"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HMAC: Final = frozenset(
    {pb.WEBHOOK_ALGORITHM_HMAC_SHA256, pb.WEBHOOK_ALGORITHM_HMAC_SHA1, pb.WEBHOOK_ALGORITHM_HMAC_SHA512}
)
_MOMENTS: Final = frozenset(
    {
        pb.HEADER_FORMAT_UNSPECIFIED,
        pb.HEADER_FORMAT_UNIX_SECONDS,
        pb.HEADER_FORMAT_UNIX_MILLISECONDS,
        pb.HEADER_FORMAT_HTTP_DATE,
        pb.HEADER_FORMAT_TIMESTAMP,
    }
)


def check_events(definition: pb.Definition, shared: Mapping[str, Any], found: Findings) -> dict[str, Any]:
    """Notes everything that is wrong with what a definition says of events.

    Returns the payloads' schemas that are worth compiling, by the path of their field.
    """
    if len(definition.event_types) > MAX_EVENT_TYPES:
        found.add("event_types", f"are more than {MAX_EVENT_TYPES}")
        return {}
    schemas: dict[str, Any] = {}
    actions = {action.id: action for action in definition.actions}
    ids: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for index, kind in enumerate(definition.event_types):
        below = found.below("event_types", index)
        held = _ID.fullmatch(kind.id) is not None
        below.require(held, "id", "must be 1 to 128 letters, digits, underscores, dots and hyphens, no dot first")
        ids[kind.id] += 1
        below.require(ids[kind.id] == 1, "id", f"{shown(kind.id)} stands there already")
        for position, name in enumerate(kind.vendor_types or [kind.id]):
            named[name] += 1
            field = f"vendor_types[{position}]" if kind.vendor_types else "id"
            if named[name] > 1 and ids[kind.id] == 1:
                below.add(field, f"{shown(name)} is the vendor's name of another event type too")
        schema = _object(kind.payload_schema_json)
        problem = "" if schema is None else wording_problem(schema, shared)
        if problem:
            below.add("payload_schema", problem)
        elif schema is not None:
            schemas[f"event_types[{index}].payload_schema"] = schema
        if kind.HasField("polling"):
            _check_polling(kind.polling, actions, below.below("polling"))
        elif not definition.HasField("webhook"):
            below.add("", "can never be told: it has no `polling`, and the definition no `webhook`")
    if definition.HasField("webhook"):
        below = found.below("webhook")
        below.require(bool(definition.event_types), "", "needs `event_types` to tell")
        _check_webhook(definition, definition.webhook, below)
    return schemas


def _check_webhook(definition: pb.Definition, webhook: pb.Webhook, found: Findings) -> None:
    variable = next((one for one in definition.config_variables if one.name == webhook.secret_variable), None)
    if variable is None:
        found.add("secret_variable", f"{shown(webhook.secret_variable)} is not one of the config variables")
    elif not variable.secret and webhook.signature.algorithm != pb.WEBHOOK_ALGORITHM_ED25519:
        found.add("secret_variable", f"{shown(webhook.secret_variable)} has to be a secret one")
    _check_signature(webhook, webhook.signature, found.below("signature"))
    for name in ("id", "type"):
        if getattr(webhook, f"{name}_pointer") and getattr(webhook, f"{name}_header"):
            found.add(f"{name}_header", f"cannot stand beside `{name}_pointer`")
    if not webhook.type_pointer and not webhook.type_header and len(definition.event_types) > 1:
        found.add("type_pointer", "is required where there are several event types")
    if len(webhook.challenges) > MAX_CHALLENGES:
        found.add("challenges", f"are more than {MAX_CHALLENGES}")
    for index, challenge in enumerate(webhook.challenges):
        _check_challenge(webhook, challenge, found.below("challenges", index))


def _check_signature(webhook: pb.Webhook, signature: pb.WebhookSignature, found: Findings) -> None:
    names = set(_PLACEHOLDER.findall(signature.signed_content))
    stray = set(_PLACEHOLDER.sub("", signature.signed_content)) & set("{}")
    if names - _NAMES or stray:
        found.add("signed_content", "may have {body}, {timestamp} and {id} in it, and no other braces")
    if signature.signed_content and "body" not in names:
        found.add("signed_content", "has no {body}: whoever sees one signature could send anything")
    timed = bool(signature.timestamp_header or signature.timestamp_prefix)
    if "timestamp" in names and not timed:
        found.add("signed_content", "has {timestamp}, and neither `timestamp_header` nor `timestamp_prefix` says where")
    if timed and "timestamp" not in names:
        found.add("signed_content", "has no {timestamp}: a time that is not signed proves nothing")
    if signature.timestamp_header and signature.timestamp_prefix:
        found.add("timestamp_prefix", "cannot stand beside `timestamp_header`")
    if signature.timestamp_prefix and not signature.separator:
        found.add("separator", "is required beside `timestamp_prefix`")
    if "id" in names and not webhook.id_header:
        found.add("signed_content", "has {id}, and the webhook no `id_header`")
    found.require(signature.timestamp_format in _MOMENTS, "timestamp_format", "must be one of a moment")
    if signature.algorithm == pb.WEBHOOK_ALGORITHM_SHARED_SECRET:
        for field in ("signed_content", "timestamp_header", "timestamp_prefix", "encoding", "key_encoding"):
            found.require(not getattr(signature, field), field, "means nothing beside a shared secret")
    if signature.encoding == pb.BYTES_ENCODING_TEXT:
        found.add("encoding", "must be hex or base64")
    if signature.algorithm == pb.WEBHOOK_ALGORITHM_ED25519 and signature.key_encoding == pb.BYTES_ENCODING_TEXT:
        found.add("key_encoding", "must be hex or base64")


def _check_challenge(webhook: pb.Webhook, challenge: pb.WebhookChallenge, found: Findings) -> None:
    if bool(challenge.pointer) == bool(challenge.query_parameter):
        found.add("", "needs either `pointer` or `query_parameter`")
    if challenge.condition_equals and not (challenge.condition_pointer and challenge.pointer):
        found.add("condition_equals", "needs `condition_pointer`, and a question in a body")
    if challenge.condition_pointer and not challenge.condition_equals:
        found.add("condition_equals", "is required beside `condition_pointer`")
    if challenge.hmac_member and not challenge.answer_member:
        found.add("hmac_member", "needs `answer_member`")
    if challenge.hmac_member and webhook.signature.algorithm not in _HMAC:
        found.add("hmac_member", "needs a signature with a secret")
    if challenge.query_parameter and challenge.unsigned:
        found.add("unsigned", "is so in a GET anyway")


def _check_polling(polling: pb.PollingTrigger, actions: Mapping[str, pb.Action], found: Findings) -> None:
    action = actions.get(polling.action)
    if bool(polling.cursor_pointer) != bool(polling.cursor_property):
        found.add("cursor_property", "is required beside `cursor_pointer`, and means nothing without it")
    if action is None:
        found.add("action", f"{shown(polling.action)} is not one of the actions")
        return
    found.require(
        is_safe(action), "action", f"{shown(polling.action)} changes something, and is called again and again"
    )
    if action.HasField("async_job") or action.streaming:
        found.add("action", f"{shown(polling.action)} gives no list at once")
    if action.HasField("paging") and polling.items_pointer:
        found.add("items_pointer", "cannot be there: the paging of the action says where the list is")
    described = _object(action.input_schema_json) or {}
    properties = described.get("properties")
    known = set(properties) if isinstance(properties, dict) else set()
    known |= {parameter.property for parameter in action.request.parameters}
    given = set(_object(polling.input_json) or {})
    for name in sorted(given | ({polling.cursor_property} - {""})):
        field = "cursor_property" if name == polling.cursor_property else "input"
        found.require(name in known, field, f"{shown(name)} is not a property of {shown(polling.action)}'s input")
    required = described.get("required", [])
    for name in required if isinstance(required, list) else []:
        found.require(name in given, "input", f"has no {shown(str(name))}, which {shown(polling.action)} requires")


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
