"""A vendor's webhooks by the data of its definition: told from forgeries, and read as events. Pure."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.times import to_seconds
from cordboard.planning.pointers import pointed

TOLERANCE: Final = 300.0
MAX_EVENTS: Final = 1000
MAX_NAME: Final = 255
MAX_CHALLENGE: Final = 1024
# A header with more signatures than any vendor sends is not looked at to its end.
_CANDIDATES: Final = 16
# While a secret is replaced by another one, both are good.
_SECRETS: Final = 2
_UNIX_MILLISECONDS: Final = 100_000_000_000
_PLACEHOLDER: Final = re.compile(r"\{(body|timestamp|id)\}")
_HASHES: Final = {
    pb.WEBHOOK_ALGORITHM_HMAC_SHA256: "sha256",
    pb.WEBHOOK_ALGORITHM_HMAC_SHA1: "sha1",
    pb.WEBHOOK_ALGORITHM_HMAC_SHA512: "sha512",
}
_FORM: Final = "application/x-www-form-urlencoded"


class Forged(Exception):
    """Nothing proves that the vendor sent it, or that it sent it now. It does not say what is missing."""


class TooMany(Exception):
    """One request tells more events than anybody sends."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came."""

    method: str
    headers: Mapping[str, Sequence[str]]
    """By name in lower case."""
    query: Mapping[str, str]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Returns the one value of a header, or an empty text: of two, nobody knows which one was meant."""
        values = self.headers.get(name.lower(), ())
        return values[0] if name and len(values) == 1 else ""


@dataclass(frozen=True, slots=True)
class Told:
    """One event as the vendor tells it."""

    event_type: str
    """The definition's id of it; empty: the definition does not know it."""
    vendor_type: str
    vendor_id: str
    """What a repeated delivery has too."""
    key: str
    """Of the order; empty: the connection's."""
    time: datetime | None
    data: Any = field(repr=False)


class WebhookPlan:
    """How the webhooks of one definition are read."""

    def __init__(self, definition: pb.Definition) -> None:
        """Takes a definition that has a webhook."""
        self._webhook = definition.webhook
        self._signature = definition.webhook.signature
        self._types = {name: kind.id for kind in definition.event_types for name in kind.vendor_types or [kind.id]}
        self._only = definition.event_types[0].id if len(definition.event_types) == 1 else ""
        self.secret_variable = definition.webhook.secret_variable

    def answer(self, arrived: Arrived, secret: str, now: datetime) -> bytes | None:
        """Returns the answer to a question that the vendor asks before it sends events, or None; raises Forged."""
        document: Any = None
        for challenge in self._webhook.challenges:
            if challenge.query_parameter:
                text = arrived.query.get(challenge.query_parameter, "") if arrived.method == "GET" else ""
            elif arrived.method == "GET":
                continue
            else:
                document = _loaded(arrived.body) if document is None else document
                found = pointed(document, challenge.pointer)
                fits = not challenge.condition_pointer or (
                    _text(pointed(document, challenge.condition_pointer)) == challenge.condition_equals
                )
                text = found if isinstance(found, str) and fits else ""
            if not text or len(text) > MAX_CHALLENGE:
                continue
            if not challenge.query_parameter and not challenge.unsigned:
                self.verify(arrived, secret, now)
            return self._answered(challenge, text, _lines(secret)[0])
        if arrived.method == "GET":
            raise Forged
        return None

    def verify(self, arrived: Arrived, secret: str, now: datetime) -> None:
        """Returns when the vendor signed these bytes, a short time ago where it says when; raises Forged.

        A secret of two lines is two that are good, the newer one first.
        """
        good = _lines(secret)
        for one in good[:-1]:
            with contextlib.suppress(Forged):
                return self._verify(arrived, one, now)
        return self._verify(arrived, good[-1], now)

    def _verify(self, arrived: Arrived, secret: str, now: datetime) -> None:
        signature = self._signature
        given = arrived.header(signature.header)
        pieces = given.split(signature.separator) if signature.separator else [given]
        pieces = [piece.strip() for piece in pieces[:_CANDIDATES]]
        shown = [piece.removeprefix(signature.prefix) for piece in pieces if piece.startswith(signature.prefix)]
        if signature.algorithm == pb.WEBHOOK_ALGORITHM_SHARED_SECRET:
            # With an empty secret an empty header would do.
            if not secret or not any(hmac.compare_digest(one.encode(), secret.encode()) for one in shown):
                raise Forged
            return
        key = self._key(secret)
        timestamp = self._timestamp(arrived, pieces)
        if timestamp:
            sent = moment(timestamp, signature.timestamp_format)
            tolerance = to_seconds(signature.tolerance) if signature.HasField("tolerance") else TOLERANCE
            if sent is None or abs((now - sent).total_seconds()) > tolerance:
                raise Forged
        elif signature.timestamp_header or signature.timestamp_prefix:
            raise Forged
        content = self._content(arrived, timestamp)
        proofs = [proof for one in shown if (proof := _decoded(one, signature.encoding or pb.BYTES_ENCODING_HEX))]
        if not any(self._proves(key, content, proof) for proof in proofs):
            raise Forged

    def events(self, arrived: Arrived) -> list[Told]:
        """Returns what a verified request tells; what cannot be read is one event of its text. Raises TooMany."""
        media_type = arrived.header("content-type").partition(";")[0].strip().lower()
        document = _form(arrived.body) if media_type == _FORM else _loaded(arrived.body)
        listed = pointed(document, self._webhook.events_pointer) if self._webhook.events_pointer else document
        if not isinstance(listed, list):
            listed = [document]
        if len(listed) > MAX_EVENTS:
            raise TooMany
        return [self._told(one, arrived, position, len(listed)) for position, one in enumerate(listed)]

    def _told(self, event: Any, arrived: Arrived, position: int, count: int) -> Told:
        webhook = self._webhook
        named = arrived.header(webhook.type_header) if webhook.type_header else ""
        if webhook.type_pointer:
            named = _text(pointed(event, webhook.type_pointer))
        suffix = _text(pointed(event, webhook.type_suffix_pointer)) if webhook.type_suffix_pointer else ""
        whole = f"{named}.{suffix}" if suffix else named
        known = self._types.get(whole) or self._types.get(named) or ("" if whole else self._only)
        vendor_id = _text(pointed(event, webhook.id_pointer)) if webhook.id_pointer else ""
        if webhook.id_header:
            told = arrived.header(webhook.id_header)
            vendor_id = f"{told}-{position}" if told and count > 1 else told
        if not vendor_id:
            # The same bytes in the same place are the same event.
            digest = hashlib.sha256(whole.encode() + b"\0" + str(position).encode() + b"\0" + arrived.body)
            vendor_id = f"sha256-{digest.hexdigest()}"
        elif len(vendor_id) > MAX_NAME:
            vendor_id = f"sha256-{hashlib.sha256(vendor_id.encode()).hexdigest()}"
        key = _text(pointed(event, webhook.ordering_key_pointer)) if webhook.ordering_key_pointer else ""
        happened = pointed(event, webhook.time_pointer) if webhook.time_pointer else None
        data = pointed(event, webhook.data_pointer) if webhook.data_pointer else event
        return Told(known, whole[:MAX_NAME], vendor_id, key, moment(_text(happened)), data)

    def _timestamp(self, arrived: Arrived, pieces: Sequence[str]) -> str:
        if self._signature.timestamp_header:
            return arrived.header(self._signature.timestamp_header)
        prefix = self._signature.timestamp_prefix
        return next((piece.removeprefix(prefix) for piece in pieces if piece.startswith(prefix)), "") if prefix else ""

    def _content(self, arrived: Arrived, timestamp: str) -> bytes:
        if not self._signature.signed_content:
            return arrived.body
        values = {"timestamp": timestamp.encode(), "id": arrived.header(self._webhook.id_header).encode()}
        parts = _PLACEHOLDER.split(self._signature.signed_content)
        # Names stand between what is between them; the body goes in last, so that it is never looked at.
        filled = [
            part.encode() if at % 2 == 0 else arrived.body if part == "body" else values[part]
            for at, part in enumerate(parts)
        ]
        return b"".join(filled)

    def _key(self, secret: str) -> bytes:
        ed25519 = self._signature.algorithm == pb.WEBHOOK_ALGORITHM_ED25519
        default = pb.BYTES_ENCODING_HEX if ed25519 else pb.BYTES_ENCODING_TEXT
        text = secret.strip().removeprefix(self._signature.key_prefix)
        key = _decoded(text, self._signature.key_encoding or default)
        # An empty key proves nothing: everybody has it.
        if not key:
            raise Forged
        return key

    def _proves(self, key: bytes, content: bytes, proof: bytes) -> bool:
        if self._signature.algorithm == pb.WEBHOOK_ALGORITHM_ED25519:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(proof, content)
            except (InvalidSignature, ValueError):
                return False
            return True
        name = _HASHES.get(self._signature.algorithm)
        return name is not None and hmac.compare_digest(hmac.digest(key, content, name), proof)

    def _answered(self, challenge: pb.WebhookChallenge, text: str, secret: str) -> bytes:
        if not challenge.answer_member:
            return text.encode()
        answer = {challenge.answer_member: text}
        if challenge.hmac_member:
            answer[challenge.hmac_member] = hmac.digest(self._key(secret), text.encode(), "sha256").hex()
        return orjson.dumps(answer)


def _lines(secret: str) -> list[str]:
    return [line for line in secret.split("\n") if line.strip()][:_SECRETS] or [""]


def moment(text: str, form: int = 0) -> datetime | None:
    """Returns the moment that a text is: Unix time, RFC 3339, or an HTTP date; None where it is none of them.

    `form` is a HeaderFormat.
    """
    text = text.strip()
    if not text or len(text) > 64:
        return None
    try:
        number = float(text)
    except ValueError:
        return _dated(text)
    if not math.isfinite(number) or number < 0:
        return None
    milliseconds = form == pb.HEADER_FORMAT_UNIX_MILLISECONDS or (not form and number >= _UNIX_MILLISECONDS)
    try:
        return datetime.fromtimestamp(number / 1000 if milliseconds else number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _dated(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
    return found.replace(tzinfo=found.tzinfo or UTC)


def _decoded(text: str, encoding: int) -> bytes:
    try:
        if encoding == pb.BYTES_ENCODING_HEX:
            return bytes.fromhex(text)
        if encoding == pb.BYTES_ENCODING_BASE64:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""
    return text.encode()


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def _form(body: bytes) -> Any:
    try:
        fields: dict[str, Any] = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000))
    except ValueError:
        return body.decode("utf-8", "replace")
    # One field with the whole event as JSON is what vendors send that offer both media types.
    if len(fields) == 1:
        document = _loaded(next(iter(fields.values())).encode())
        if isinstance(document, dict):
            return document
    return fields


def _text(value: Any) -> str:
    """Returns a text or a number as text; anything else is no name."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
