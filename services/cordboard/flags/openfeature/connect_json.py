"""The JSON codec of the Connect protocol (https://connectrpc.com/docs/protocol), for the services of flagd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format, message_factory

from cordboard.core.errors import MalformedMessage, MethodUnknown
from cordboard.flags.openfeature.ofrep import OK, Answer, encoded

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

STREAM_TYPE: Final = "application/connect+json"
# The HTTP status of each code, as the protocol has it.
STATUSES: Final = {
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
    "unauthenticated": 401,
}
# The flag of an envelope that ends a stream.
_END: Final = 2


def message_of(service: ServiceDescriptor, method: str, body: bytes) -> Message:
    """Returns the request of a method; raises MethodUnknown, and MalformedMessage."""
    found = service.methods_by_name.get(method)
    if found is None or found.server_streaming:
        raise MethodUnknown(f"{service.full_name}/{method}"[:200])
    message: Message = message_factory.GetMessageClass(found.input_type)()
    try:
        # What is not JSON's own number is one to Python, and none to a Struct.
        json_format.Parse(body or b"{}", message, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError):
        raise MalformedMessage from None
    return message


def answered(message: Message) -> Answer:
    """Returns the answer that carries a message."""
    return Answer(OK, encoded(json_format.MessageToDict(message)))


def refused(code: str, text: str) -> Answer:
    """Returns the answer that carries an error, by one of the names in STATUSES."""
    return Answer(STATUSES[code], encoded(_error(code, text)))


def enveloped(message: Message) -> bytes:
    """Returns a message of a stream."""
    return _envelope(0, json_format.MessageToDict(message))


def ended(code: str, text: str) -> bytes:
    """Returns what ends a stream that failed."""
    return _envelope(_END, {"error": _error(code, text)})


def _error(code: str, text: str) -> dict[str, str]:
    return {"code": code, "message": text}


def _envelope(flag: int, content: Any) -> bytes:
    data = encoded(content)
    return bytes((flag,)) + len(data).to_bytes(4, "big") + data
