"""What never reaches the store: secrets by the name of their attribute, and secrets by the look of their text."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import MutableSequence

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

REDACTED: Final = "[redacted]"
MAX_TEXT: Final = 4096
"""Characters of one text value that are kept; a value is there to be read by a person."""
MAX_ATTRIBUTES: Final = 128
"""Attributes of one span, event, link or resource that are kept (the OpenTelemetry SDKs' own default)."""

_REMEMBERED: Final = 4096
_REMEMBERED_LENGTH: Final = 128
_SECRET_KEY: Final = re.compile(
    r"authorization|cookie|api[-_.]?key|token|passw(?:or)?d|passphrase|secret|credential|private[-_.]?key", re.I
)
# The status text that Envoy copies: it is for the caller, and names what the caller sent.
_CALLERS_TEXT: Final = "grpc.message"
_QUERY_KEYS: Final = frozenset({"url.query", "url.fragment"})
_PATH_KEYS: Final = frozenset({"url.path", "http.target", "http.path", ":path", "http.route"})

# Every pattern starts at a fixed word or at a border, so that none takes more than linear time on hostile text.
_SUSPECT: Final = re.compile(r"://|eyJ|bearer|basic|key|token|passw|passphrase|secret|authorization|cookie", re.I)
_WORD: Final = re.compile(r"[^\s\"'<>]+")
_SCHEME_TOKEN: Final = re.compile(r"\b(bearer\s+[\w.~+/=-]{6,}|basic\s+[\w+/=-]{12,})", re.I)
_JWT: Final = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
_ASSIGNMENT: Final = re.compile(
    r"(authorization|cookie|api[-_.]?key|token|password|passwd|passphrase|secret)([\"']?\s{0,4}[=:]\s{0,4}[\"']?)"
    r"[^\s\"',;&]+",
    re.I,
)

# The names that current semantic conventions give to what older senders, Envoy among them, still say.
CURRENT_NAMES: Final = {
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.url": "url.full",
    "http.target": "url.path",
    "user_agent": "user_agent.original",
    "http.user_agent": "user_agent.original",
    "peer.address": "network.peer.address",
    "grpc.status_code": "rpc.response.status_code",
    "deployment.environment": "deployment.environment.name",
}


def is_secret(key: str) -> bool:
    """Tells whether an attribute of this name is taken to hold a secret, whatever its case."""
    return key.lower() == _CALLERS_TEXT or _SECRET_KEY.search(key) is not None


def clean_text(text: str) -> str:
    """Returns the text without credentials, URL queries, URL users and NUL characters, cut to MAX_TEXT."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    if "\0" in text:
        # PostgreSQL keeps no NUL in text or jsonb.
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if not _SUSPECT.search(text):
        return text
    if "://" in text:
        text = _WORD.sub(_without_query, text)
    text = _SCHEME_TOKEN.sub(REDACTED, text)
    text = _JWT.sub(REDACTED, text)
    return _ASSIGNMENT.sub(rf"\1\2{REDACTED}", text)


@dataclass(frozen=True)
class _Key:
    name: str
    is_hidden: bool
    is_query: bool
    is_path: bool


class Redaction:
    """Cleans OTLP attributes in place. It remembers which names mean what, and which short texts were clean already.

    Traces say the same few texts over and over: looking at each once makes the intake three times as fast. A text in
    which something was found is never remembered.
    """

    def __init__(self) -> None:
        """Begins with nothing remembered."""
        self._keys: dict[str, _Key] = {}
        self._clean: set[str] = set()

    def attributes(self, attributes: MutableSequence[KeyValue]) -> tuple[dict[str, str], int]:
        """Redacts attributes and gives them their current names.

        Returns them as texts, of two with one name the last, and how many were dropped for their number.
        """
        dropped = max(0, len(attributes) - MAX_ATTRIBUTES)
        if dropped:
            del attributes[MAX_ATTRIBUTES:]
        texts = {}
        for attribute in attributes:
            given = attribute.key
            key = self._keys.get(given) or self._key(given)
            if key.name != given:
                attribute.key = key.name
            value = attribute.value
            if key.is_query:
                value.string_value = REDACTED
            elif key.is_path and value.HasField("string_value"):
                value.string_value = value.string_value.partition("?")[0]
            texts[key.name] = self._value(value, key.is_hidden)
        return texts, dropped

    def value(self, value: AnyValue) -> str:
        """Redacts a value that has no name, and returns it as text."""
        return self._value(value, is_hidden=False)[: MAX_TEXT + 1]

    def text(self, text: str) -> str:
        """Returns what `clean_text` returns; the same object when there was nothing to find."""
        if text in self._clean:
            return text
        cleaned = clean_text(text)
        if cleaned == text:
            if len(text) <= _REMEMBERED_LENGTH:
                if len(self._clean) >= _REMEMBERED:
                    self._clean.clear()
                self._clean.add(text)
            return text
        return cleaned

    def _key(self, given: str) -> _Key:
        name = clean_text(CURRENT_NAMES.get(given, given)[:255])
        key = _Key(name, is_secret(name), name in _QUERY_KEYS, name in _PATH_KEYS)
        if len(given) <= _REMEMBERED_LENGTH:
            if len(self._keys) >= _REMEMBERED:
                self._keys.clear()
            self._keys[given] = key
        return key

    def _value(self, value: AnyValue, is_hidden: bool) -> str:
        match value.WhichOneof("value"):
            case "string_value":
                text = value.string_value
                cleaned = REDACTED if is_hidden else self.text(text)
                if cleaned is not text:
                    value.string_value = cleaned
                return cleaned
            case "bytes_value":
                value.bytes_value = REDACTED.encode() if is_hidden else value.bytes_value[:MAX_TEXT]
            case "array_value":
                self._array(value.array_value, is_hidden)
            case "kvlist_value":
                self._pairs(value.kvlist_value, is_hidden)
            case _:
                # Figures stay even under a suspicious name: counts of tokens and generations of keys are no secrets.
                pass
        return as_text(value)

    def _array(self, array: ArrayValue, is_hidden: bool) -> None:
        del array.values[MAX_ATTRIBUTES:]
        for item in array.values:
            self._value(item, is_hidden)

    def _pairs(self, pairs: KeyValueList, is_hidden: bool) -> None:
        del pairs.values[MAX_ATTRIBUTES:]
        for pair in pairs.values:
            key = self._key(pair.key)
            pair.key = key.name
            self._value(pair.value, is_hidden or key.is_hidden)


def as_text(value: AnyValue) -> str:
    """Returns a value as text: numbers and truth values as JSON has them, bytes in base64, the rest as JSON."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return repr(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "array_value" | "kvlist_value":
            return orjson.dumps(_plain(value)).decode()
        case _:
            return ""


def _plain(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case _:
            return as_text(value)


def _without_query(match: re.Match[str]) -> str:
    scheme, separator, rest = match[0].partition("://")
    if not separator:
        return scheme
    rest = rest.partition("#")[0].partition("?")[0]
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
