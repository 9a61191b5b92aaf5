"""What a runtime has to be able to do for a definition: named by what the definition uses, and by what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.auth_scheme import templates
from cordboard.catalog.document import enum_names
from cordboard.catalog.v1 import definition_pb2 as pb

if TYPE_CHECKING:
    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import Action, AuthScheme, Definition

_KINDS: Final = tuple(field.name for field in pb.AuthScheme.DESCRIPTOR.oneofs_by_name["kind"].fields)
_PAGINGS: Final = tuple(field.name for field in pb.Paging.DESCRIPTOR.oneofs_by_name["kind"].fields)
_URLS: Final = ("authorization_url", "token_url", "revocation_url", "refresh_url", "request_token_url",
                "access_token_url", "device_authorization_url")  # fmt: skip


def _named(prefix: str, name: str) -> str:
    return f"{prefix}.{name.replace('_', '-')}"


def _all(prefix: str, enum: Any) -> set[str]:
    return {_named(prefix, name) for name in enum_names(enum.DESCRIPTOR)}


VOCABULARY: Final[frozenset[str]] = frozenset(
    {
        *(_named("auth", kind) for kind in _KINDS),
        *(_named("auth.key", place) for place in enum_names(pb.Placement.DESCRIPTOR)),
        *(_named("paging", kind) for kind in _PAGINGS),
        *_all("body", pb.BodyEncoding),
        *_all("decoder", pb.Decoder),
        *_all("error", pb.ErrorAction),
        *_all("stream", pb.StreamKind),
        "auth.assume-role",
        "auth.fields",
        "auth.private-key-jwt",
        "auth.token-response",
        "auth.url-variables",
        "config-variables",
        "database",
        "database.mysql",
        "events.polling",
        "events.webhook",
        "form-hints",
        "gateway",
        "idempotency-key",
        "job",
        "paging.header",
        "paging.more",
        "rate-limits",
        "request.constants",
        "request.server-variable",
        "response.mapping",
        "retry",
    }
)
"""Every name that the parts of a definition can need."""

RUNTIME: Final[frozenset[str]] = frozenset(
    {
        "auth.all-of",
        "auth.api-key",
        "auth.assume-role",
        "auth.aws-sigv4",
        "auth.basic",
        "auth.bearer",
        "auth.client-credentials",
        "auth.device",
        "auth.digest",
        "auth.fields",
        "auth.jwt-bearer",
        "auth.key.body",
        "auth.key.cookie",
        "auth.key.header",
        "auth.key.path",
        "auth.key.query",
        "auth.mtls",
        "auth.none",
        "auth.oauth1",
        "auth.oauth2",
        "auth.private-key-jwt",
        "auth.session",
        "auth.signed-jwt",
        "auth.token-response",
        "auth.url-variables",
        "body.binary",
        "body.form",
        "body.json",
        "body.multipart",
        "body.text",
        "body.xml",
        "config-variables",
        "decoder.binary",
        "decoder.csv",
        "decoder.json",
        "decoder.json-lines",
        "decoder.text",
        "decoder.xml",
        "error.fail",
        "error.ignore",
        "error.rate-limited",
        "error.refresh-token-then-retry",
        "error.reset-pagination",
        "error.retry",
        "error.success",
        "database",
        "database.mysql",
        "events.polling",
        "events.webhook",
        "form-hints",
        "gateway",
        "idempotency-key",
        "job",
        "paging.cursor",
        "paging.header",
        "paging.last-item",
        "paging.link",
        "paging.more",
        "paging.next-url",
        "paging.offset",
        "paging.page",
        "rate-limits",
        "request.constants",
        "request.server-variable",
        "response.mapping",
        "retry",
        "stream.bytes",
        "stream.json-lines",
        "stream.server-sent-events",
    }
)
"""What this version of Cordboard can do. A part that needs more is refused when it is published, and never ignored."""


def needed(definition: Definition) -> frozenset[str]:
    """Returns the names of everything that a definition uses or asks for."""
    used = set(definition.required_capabilities) | _of_whole(definition)
    for scheme in definition.auth_schemes:
        used |= _of_scheme(scheme)
    for action in definition.actions:
        used |= _of_action(action)
    return frozenset(used)


def check_capabilities(definition: Definition, found: Findings) -> None:
    """Notes each part that asks for a capability, or needs one, that this version does not have."""
    _check(set(definition.required_capabilities) - RUNTIME, "required_capabilities", found)
    _check(_of_whole(definition) - RUNTIME, "", found)
    for index, scheme in enumerate(definition.auth_schemes):
        _check(_of_scheme(scheme) - RUNTIME, f"auth_schemes[{index}]", found)
    for index, action in enumerate(definition.actions):
        _check(_of_action(action) - RUNTIME, f"actions[{index}]", found)


def _check(missing: set[str], field: str, found: Findings) -> None:
    for name in sorted(missing):
        found.add(field, f"needs the capability {name[:80]!r}, which this version of Cordboard does not have")


def _of_whole(definition: Definition) -> set[str]:
    used = _of_answers(definition)
    if definition.config_variables:
        used.add("config-variables")
    if definition.rate_limits:
        used.add("rate-limits")
    if definition.HasField("webhook"):
        used.add("events.webhook")
    if any(kind.HasField("polling") for kind in definition.event_types):
        used.add("events.polling")
    if definition.HasField("database"):
        used.add("database")
        if definition.database.engine == pb.DATABASE_ENGINE_MYSQL:
            used.add("database.mysql")
    if definition.HasField("gateway"):
        used.add("gateway")
    return used


def _of_scheme(scheme: AuthScheme) -> set[str]:
    kind = scheme.WhichOneof("kind")
    if kind is None:
        return set()
    used = {_named("auth", kind)}
    told: Any = getattr(scheme, kind)
    if scheme.fields:
        used.add("auth.fields")
    if _has(told, "assume_role"):
        used.add("auth.assume-role")
    for holder in (told, *(getattr(told, name) for name in ("grant", "placement") if _has(told, name))):
        if _has(holder, "token_response"):
            used.add("auth.token-response")
        if getattr(holder, "client_authentication", None) == pb.CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT:
            used.add("auth.private-key-jwt")
        if holder.DESCRIPTOR.name == "ApiKey":
            used.add(_word("auth.key", pb.Placement.DESCRIPTOR, holder.placement))
    if any("{" in text for path, text in templates(scheme) if path.rpartition(".")[2] in _URLS):
        used.add("auth.url-variables")
    return used - {""}


def _of_action(action: Action) -> set[str]:
    request = action.request
    paging = action.paging.WhichOneof("kind")
    used = {
        *action.required_capabilities,
        _word("body", pb.BodyEncoding.DESCRIPTOR, request.body.encoding),
        _word("stream", pb.StreamKind.DESCRIPTOR, action.streaming),
        _word("decoder", pb.Decoder.DESCRIPTOR, action.response.decoder),
        *_of_answers(action),
    }
    for name, there in (
        ("" if paging is None else _named("paging", paging), paging is not None),
        ("request.constants", bool(request.constants)),
        ("request.server-variable", bool(request.server_variable)),
        ("paging.header", bool(action.paging.cursor.next_header)),
        ("paging.more", bool(action.paging.more_pointer)),
        ("response.mapping", bool(action.response.members or action.response.output_pointer)),
        ("job", action.HasField("async_job")),
        ("form-hints", bool(action.form_hints)),
        ("idempotency-key", action.HasField("idempotency_key")),
        ("rate-limits", bool(action.rate_limits)),
    ):
        if there:
            used.add(name)
    return used - {""}


def _of_answers(holder: Definition | Action) -> set[str]:
    used = {_word("error", pb.ErrorAction.DESCRIPTOR, rule.action) for rule in holder.error_rules}
    if holder.HasField("retry"):
        used.add("retry")
    return used - {""}


def _has(message: Any, field: str) -> bool:
    one = message.DESCRIPTOR.fields_by_name.get(field)
    return one is not None and one.message_type is not None and message.HasField(field)


def _word(prefix: str, enum: Any, number: int) -> str:
    names = {value: name for name, value in enum_names(enum).items()}
    return _named(prefix, names[number]) if number in names else ""
