"""What each field of a definition must be on its own, whatever stands beside it.

`RULES` has the fields that the noun modules (`action`, `auth_scheme`, `paging`, ...) do not look at themselves.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import orjson
from google.api import field_behavior_pb2

from cordboard.catalog.document import document_name, holds_object, is_duration, is_map
from cordboard.catalog.findings import shown
from cordboard.catalog.syntax import (
    RESERVED_HEADERS,
    is_line,
    is_media_type,
    is_name,
    is_pointer,
    is_prose,
    is_scope,
    is_token,
    url_problem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from cordboard.catalog.findings import Findings

Rule = Callable[[Any], str]
"""Takes a value that is set; returns what is wrong with it, or an empty text."""

MAX_LINE: Final = 200
MAX_TEXT: Final = 4096
MAX_VALUE: Final = 65536
MAX_DAYS: Final = 3650
MAX_PAGES: Final = 100_000
MAX_WEIGHT: Final = 10_000
MAX_ATTEMPTS: Final = 20
YEAR: Final = 366 * 86400
# A language, then what makes it special (RFC 5646 section 2.1).
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_FILE_KIND: Final = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/(?:\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126})|\.[A-Za-z0-9][A-Za-z0-9.]{0,19}"
)
# More of one thing than any vendor has; bounds what one definition can make the mesh do.
MAX_ELEMENTS: Final = 200


def line(limit: int = MAX_LINE) -> Rule:
    """Returns the rule of one line of text."""
    return lambda value: (
        "" if len(value) <= limit and is_line(value) else f"must be one line of at most {limit} characters"
    )


def span(least: float, most: float) -> Rule:
    """Returns the rule of a time span, in seconds."""

    def rule(value: Any) -> str:
        held = least <= value.seconds + value.nanos / 1e9 <= most
        return "" if held else f"must be from {least:g} s to {most:g} s"

    return rule


def number(least: int, most: int) -> Rule:
    """Returns the rule of a whole number."""
    return lambda value: "" if least <= value <= most else f"must be from {least} to {most}"


def prose(value: str) -> str:
    """The rule of text of several lines."""
    held = len(value) <= MAX_TEXT and is_prose(value)
    return "" if held else f"must be text of at most {MAX_TEXT} characters, without control characters"


def value_text(value: str) -> str:
    """The rule of a value that goes over the wire as it is."""
    return "" if len(value) <= MAX_TEXT and is_line(value) else f"must be one line of at most {MAX_TEXT} characters"


def body_text(value: str) -> str:
    """The rule of a recorded body."""
    return "" if len(value) <= MAX_VALUE and is_prose(value) else f"must be text of at most {MAX_VALUE} characters"


def pointer(value: str) -> str:
    """The rule of a JSON Pointer that may lead to the whole."""
    return "" if len(value) <= 1024 and is_pointer(value) else "is not a JSON Pointer"


def member(value: str) -> str:
    """The rule of a JSON Pointer to something inside."""
    return "" if value and not pointer(value) else "is not a JSON Pointer to a member"


def file_kind(value: str) -> str:
    """The rule of a kind of file: a media type, all of a kind, or an ending."""
    held = _FILE_KIND.fullmatch(value) is not None
    return "" if held else "must be a media type such as image/png, image/*, or an ending such as .pdf"


def header(value: str) -> str:
    """The rule of a header's name."""
    return "" if is_token(value) else "is not a header's name"


def own_header(value: str) -> str:
    """The rule of a header that a definition may set."""
    if not is_token(value):
        return "is not a header's name"
    return "is set by the mesh itself" if value.lower() in RESERVED_HEADERS else ""


def name(value: str) -> str:
    """The rule of a name that `{name}` can stand for."""
    held = is_name(value)
    return "" if held else "must be letters, digits and underscores, not begin with a digit, and be at most 64"


def url(value: str) -> str:
    """The rule of a URL without variables."""
    return url_problem(value, base=False)


def https(value: str) -> str:
    """The rule of a URL that a browser loads."""
    return "" if value.startswith("https://") and not url(value) else "must be an https URL"


def template_url(value: str) -> str:
    """The rule of a URL in which `{name}` stands for a value."""
    return url_problem(value, placeholders_allowed=True, base=False)


def scope(value: str) -> str:
    """The rule of an OAuth scope."""
    return "" if is_scope(value) else "is not an OAuth scope"


def separator(value: str) -> str:
    """The rule of what stands between scopes."""
    return "" if value in (" ", ",", ", ", "+", ";", "|") else "must be a space, a comma, '+', ';' or '|'"


def media_type(value: str) -> str:
    """The rule of a media type."""
    return "" if is_media_type(value) else "is not a media type"


def header_word(value: str) -> str:
    """The rule of what stands before or between values in a header."""
    held = len(value) <= 32 and value.isascii() and value.isprintable()
    return "" if held else "must be at most 32 printable ASCII characters"


def date(value: str) -> str:
    """The rule of a day."""
    try:
        held = datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        held = False
    return "" if held else "must be a day such as 2027-03-31"


def language(value: str) -> str:
    """The rule of a language tag (BCP 47)."""
    held = len(value) <= 35 and _LANGUAGE.fullmatch(value)
    return "" if held else "is not a language tag such as 'de' or 'pt-BR'"


def _word(value: str) -> str:
    held = 0 < len(value) <= 64 and all(each.isascii() and (each.isalnum() or each in "_.-") for each in value)
    return "" if held else "must be letters, digits, hyphens, dots and underscores, at most 64"


_status: Final = number(100, 599)
_element: Final = line(128)

# By message and field. A rule of a list holds for each element, that of a map for each value; see `KEYS` for its keys.
RULES: Final[Mapping[str, Rule]] = {
    "Definition.data_classes": _word,
    "Definition.icon_uris": https,
    "Definition.required_capabilities": _word,
    "Definition.language": language,
    "Definition.review_interval_days": number(0, MAX_DAYS),
    "Definition.error_message_pointers": pointer,
    "Server.id": _word,
    "ServerVariable.description": prose,
    "ConfigVariable.name": name,
    "ConfigVariable.title": line(),
    "ConfigVariable.description": prose,
    "Extends.integration": line(63),
    "Extends.version": line(64),
    "Extends.remove": line(400),
    "Deprecation.sunset_date": date,
    "Deprecation.successor": line(),
    "Deprecation.description": prose,
    "AuthField.name": name,
    "AuthField.title": line(),
    "AuthField.description": prose,
    "TokenResponse.access_token_pointer": member,
    "TokenResponse.refresh_token_pointer": member,
    "TokenResponse.expires_in_pointer": member,
    "TokenResponse.scope_pointer": member,
    "TokenResponse.token_type_pointer": member,
    "TokenResponse.token_types": line(64),
    "TokenResponse.config_variables": member,
    "TokenResponse.default_lifetime": span(1, YEAR),
    "TokenGrant.token_url": template_url,
    "TokenGrant.revocation_url": template_url,
    "TokenGrant.scopes": scope,
    "TokenGrant.token_parameters": value_text,
    "TokenGrant.scope_separator": separator,
    "ClientCredentials.client_id_title": line(),
    "ClientCredentials.client_secret_title": line(),
    "DeviceAuthorization.device_authorization_url": template_url,
    "JwtAssertion.key_field": name,
    "JwtAssertion.key_id": value_text,
    "JwtAssertion.issuer": value_text,
    "JwtAssertion.subject": value_text,
    "JwtAssertion.audience": value_text,
    "JwtAssertion.lifetime": span(1, 86400),
    "JwtAssertion.claims": value_text,
    "Digest.username_title": line(),
    "Digest.password_title": line(),
    "OAuth1.request_token_url": template_url,
    "OAuth1.authorization_url": template_url,
    "OAuth1.access_token_url": template_url,
    "OAuth1.realm": line(),
    "AwsSigV4.service": line(64),
    "AwsSigV4.region": line(64),
    "AssumeRole.role_arn": value_text,
    "AssumeRole.endpoint": url,
    "AssumeRole.lifetime": span(900, 43200),
    "SessionLogin.method": lambda value: "" if value in ("GET", "POST", "PUT") else "must be GET, POST or PUT",
    "SessionLogin.url": template_url,
    "SessionLogin.headers": value_text,
    "SessionLogin.body": value_text,
    "SessionLogin.token_pointer": member,
    "SessionLogin.token_header": header,
    "SessionLogin.token_cookie": header,
    "SessionLogin.expires_in_pointer": member,
    "SessionLogin.lifetime": span(1, YEAR),
    "OAuth2.authorization_parameters": value_text,
    "OAuth2.token_parameters": value_text,
    "OAuth2.scope_separator": separator,
    "OAuth2.refresh_url": template_url,
    "OAuth2.refresh_token_idle_lifetime": span(1, 5 * YEAR),
    "OAuth2.refresh_grace": span(0, 86400),
    "OAuth2Scope.description": prose,
    "Basic.username_title": line(),
    "Basic.password_title": line(),
    "Basic.username": value_text,
    "Basic.password": value_text,
    "Bearer.token_title": line(),
    "Bearer.prefix": lambda value: "" if value.isascii() and is_token(value) else "must be one word",
    "Action.quota_weight": number(0, MAX_WEIGHT),
    "Action.required_capabilities": _word,
    "AsyncJob.job_pointer": member,
    "AsyncJob.state_pointer": member,
    "AsyncJob.done_states": _element,
    "AsyncJob.failed_states": _element,
    "AsyncJob.interval": span(0.1, 3600),
    "AsyncJob.result_pointer": pointer,
    "Response.success_statuses": _status,
    "Response.output_pointer": pointer,
    "Response.error_message_pointers": pointer,
    "OutputMember.name": line(128),
    "OutputMember.pointer": pointer,
    "OutputMember.header": header,
    "RetryPolicy.max_attempts": number(0, MAX_ATTEMPTS),
    "RetryPolicy.base_delay": span(0.001, 3600),
    "RetryPolicy.max_delay": span(0.001, 3600),
    "RetryPolicy.retry_statuses": _status,
    "WaitHeader.name": header,
    "WaitHeader.minimum": span(0, 86400),
    "WaitHeader.maximum": span(0, 86400),
    "ErrorRule.statuses": _status,
    "ErrorRule.pointer": member,
    "ErrorRule.equals": _element,
    "ErrorRule.contains": line(),
    "ErrorRule.header": header,
    "ErrorRule.message": line(500),
    "RateLimit.calls": number(1, 2**31 - 1),
    "RateLimit.window": span(0.001, 31 * 86400),
    "Example.name": line(128),
    "ExampleRequest.method": line(16),
    "ExampleRequest.url": url,
    "ExampleRequest.headers": value_text,
    "ExampleRequest.body_text": body_text,
    "ExampleResponse.status": _status,
    "ExampleResponse.headers": value_text,
    "ExampleResponse.body_text": body_text,
    "FormHint.property": line(),
    "FormHint.label": line(),
    "FormHint.placeholder": line(),
    "FormHint.help": prose,
    "FormHint.group": line(),
    "FormHint.choices": line(),
    "FormHint.tab": line(),
    "FormHint.columns": number(0, 4),
    "FormHint.accept": file_kind,
    "FormHint.max_bytes": number(0, 2**31 - 1),
    "FormHintTranslation.tab": line(),
    "FormHintTranslation.language": language,
    "FormHintTranslation.label": line(),
    "FormHintTranslation.placeholder": line(),
    "FormHintTranslation.help": prose,
    "FormHintTranslation.group": line(),
    "FormHintTranslation.choices": line(),
    "TextTranslation.language": language,
    "TextTranslation.title": line(),
    "TextTranslation.description": prose,
    "FormHint.order": number(-10_000, 10_000),
    "OptionSource.value_pointer": pointer,
    "OptionSource.label_pointer": pointer,
    "Constant.name": line(256),
    "Body.xml_root": line(256),
    "Paging.max_pages": number(0, MAX_PAGES),
    "Paging.more_pointer": member,
    "CursorPaging.next_header": header,
    "LastItemPaging.item_pointer": member,
    "PagePaging.page_count_pointer": member,
    "OffsetPaging.total_pointer": member,
    "EventType.title": line(),
    "EventType.description": prose,
    "EventType.vendor_types": _element,
    "Webhook.secret_variable": name,
    "Webhook.events_pointer": member,
    "Webhook.id_pointer": member,
    "Webhook.id_header": header,
    "Webhook.type_pointer": member,
    "Webhook.type_header": header,
    "Webhook.type_suffix_pointer": member,
    "Webhook.time_pointer": member,
    "Webhook.ordering_key_pointer": member,
    "Webhook.data_pointer": member,
    "WebhookSignature.header": header,
    "WebhookSignature.prefix": header_word,
    "WebhookSignature.separator": header_word,
    "WebhookSignature.signed_content": line(64),
    "WebhookSignature.timestamp_header": header,
    "WebhookSignature.timestamp_prefix": header_word,
    "WebhookSignature.tolerance": span(1, 3600),
    "WebhookSignature.key_prefix": header_word,
    "WebhookChallenge.pointer": member,
    "WebhookChallenge.query_parameter": _word,
    "WebhookChallenge.condition_pointer": member,
    "WebhookChallenge.condition_equals": _element,
    "WebhookChallenge.answer_member": _element,
    "WebhookChallenge.hmac_member": _element,
    "PollingTrigger.interval": span(1, 31 * 86400),
    "PollingTrigger.items_pointer": member,
    "PollingTrigger.id_pointer": member,
    "PollingTrigger.cursor_pointer": member,
    "PollingTrigger.cursor_property": line(256),
    "PollingTrigger.time_pointer": member,
    "PollingTrigger.ordering_key_pointer": member,
    "RateLimitHeaders.limit": header,
    "RateLimitHeaders.remaining": header,
    "RateLimitHeaders.reset": header,
}

# The keys of maps.
KEYS: Final[Mapping[str, Rule]] = {
    "TokenResponse.config_variables": name,
    "TokenGrant.token_parameters": line(128),
    "JwtAssertion.claims": line(128),
    "SessionLogin.headers": lambda value: (
        "" if is_token(value) and value.lower() != "host" else "is not a header's name"
    ),
    "SessionLogin.body": line(128),
    "OAuth2.authorization_parameters": line(128),
    "OAuth2.token_parameters": line(128),
    "ExampleRequest.headers": header,
    "ExampleResponse.headers": header,
    "OptionSource.input_fields": line(256),
    "FormHint.choices": line(1024),
    "FormHintTranslation.choices": line(1024),
}

# Their own modules say what is wrong when these are missing.
_ASKED_ELSEWHERE: Final = frozenset(
    {"Definition", "Server", "ServerVariable", "Action", "RequestPlan", "Parameter", "Body", "BodyField", "AuthScheme"}
)
# Parts that may be long, and are bounded where they are checked.
_LONG: Final = frozenset(
    {"Definition.actions", "RequestPlan.parameters", "Body.fields", "ServerVariable.allowed_values"}
)


def check_shape(message: Message, found: Findings) -> None:
    """Notes every field of a message, and of the messages below, that breaks a rule of its own."""
    descriptor: Any = message.DESCRIPTOR
    kind = descriptor.name
    if kind not in _ASKED_ELSEWHERE:
        for field in descriptor.fields:
            if _is_required(field) and _is_empty(message, field):
                found.add(field.name, "is required")
    for field, value in message.ListFields():
        full = f"{kind}.{field.name}"
        if is_map(field):
            _check_map(full, field.name, value, found)
        elif field.is_repeated:
            if full not in _LONG and len(value) > MAX_ELEMENTS * 10:
                found.add(field.name, f"are more than {MAX_ELEMENTS * 10}")
                continue
            for index, each in enumerate(value):
                _check_value(full, field, each, found, index)
        else:
            _check_value(full, field, value, found, None)


def _check_map(full: str, field: str, value: Mapping[str, str], found: Findings) -> None:
    rule, key_rule = RULES.get(full), KEYS.get(full)
    for key in sorted(value):
        problem = "" if key_rule is None else key_rule(key) or ("" if key else "has no name")
        problem = problem or ("" if rule is None else rule(value[key]))
        if problem:
            found.add(f"{field}.{key}", problem)


def _check_value(full: str, field: FieldDescriptor, value: Any, found: Findings, index: int | None) -> None:
    named = document_name(field)
    place = named if index is None else f"{named}[{index}]"
    if field.message_type is not None and not is_duration(field.message_type):
        check_shape(value, found.below(named, index))
        return
    problem = _json_problem(field, value) if named != field.name else ""
    rule = RULES.get(full)
    if rule is not None and not problem:
        problem = rule(value)
        if not problem and index is not None and value == "":
            problem = "is empty"
    if problem:
        found.add(place, problem)


def _json_problem(field: FieldDescriptor, value: str) -> str:
    try:
        read = orjson.loads(value) if value else {}
    except orjson.JSONDecodeError:
        return "is not JSON"
    return "must be a mapping" if holds_object(field) and not isinstance(read, dict) else ""


def _is_empty(message: Message, field: FieldDescriptor) -> bool:
    if field.is_repeated:
        return not len(getattr(message, field.name))
    if field.has_presence:
        return not message.HasField(field.name)
    return not getattr(message, field.name)


def _is_required(field: FieldDescriptor) -> bool:
    declared: Any = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]  # type: ignore[index]
    return field_behavior_pb2.REQUIRED in declared


def unknown(kind: str, value: str, known: Any) -> str:
    """Returns what is wrong with a reference to something by its id, or an empty text."""
    return "" if value in known else f"{shown(value)} is not one of the {kind}"
