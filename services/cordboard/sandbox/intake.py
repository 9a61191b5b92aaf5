"""Turns HTTP requests into calls of an operation, or refuses them: credential, scopes, query, body, idempotency key."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, NoReturn

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from cordboard.sandbox.access import KEY_PARAMETER, Caller
from cordboard.sandbox.answers import Answer
from cordboard.sandbox.api import Act, Call, Upload
from cordboard.sandbox.document import Operation
from cordboard.sandbox.refusals import Forbidden, Invalid, Malformed, Refusal, TooLarge, Violation, WrongMediaType
from cordboard.sandbox.schema import Schema
from cordboard.sandbox.vendor import Vendor

MAX_FILE_BYTES = 5 * 1024 * 1024
# Room for the file, the other fields, and what multipart puts around them.
MAX_BODY_BYTES = MAX_FILE_BYTES + 1024 * 1024

_MAX_JSON_BYTES = 1024 * 1024
_MAX_TEXT_BYTES = 64 * 1024

# Who is calling, or why nobody is.
CALLER: web.RequestKey[Caller | Refusal] = web.RequestKey("caller")


class Intake:
    """Takes the requests of one operation."""

    def __init__(self, vendor: Vendor, operation: Operation, act: Act) -> None:
        self._vendor = vendor
        self._operation = operation
        self._act = act

    async def take(self, request: web.Request) -> web.Response:
        """Answers the request; raises Refusal."""
        operation = self._operation
        caller = request[CALLER]
        if isinstance(caller, Refusal):
            raise caller
        self._admit(caller)
        query = operation.query({name: request.query.getall(name) for name in request.query if name != KEY_PARAMETER})
        body = None if operation.body is None else await self._body(request, operation.body)
        call = Call(caller, request.match_info, query, body)
        key = request.headers.get("Idempotency-Key")
        if key is None or operation.method != "POST":
            return response(self._act(call))
        fingerprint = _fingerprint(request.path, body)
        return response(self._vendor.ledger.answer(caller.id, key, fingerprint, lambda: self._act(call)))

    def _admit(self, caller: Caller) -> None:
        missing = [scope for scope in self._operation.scopes if scope not in caller.scopes]
        if missing:
            needed = " ".join(missing)
            challenge = f'Bearer realm="Acme Desk", error="insufficient_scope", scope="{needed}"'
            raise Forbidden(f"the credential lacks the scope {needed}", headers={"WWW-Authenticate": challenge})

    async def _body(self, request: web.Request, schema: Schema) -> Any:
        expected = self._operation.media_type or ""
        if request.content_type != expected or "Content-Type" not in request.headers:
            raise WrongMediaType(f"the body must be {expected}")
        if expected == "multipart/form-data":
            return await _multipart(request, schema)
        value = await _json(request)
        schema.check(value, "")
        return value


def response(answer: Answer) -> web.Response:
    """Returns the HTTP response that carries `answer`."""
    return web.Response(
        status=answer.status, body=answer.body or None, content_type=answer.content_type, headers=answer.headers
    )


async def json_body(request: web.Request, schema: Schema) -> Any:
    """Returns the JSON body of the request, checked; raises Malformed, TooLarge or Invalid."""
    value = await _json(request)
    schema.check(value, "")
    return value


async def _json(request: web.Request) -> Any:
    raw = await request.read()
    if len(raw) > _MAX_JSON_BYTES:
        raise TooLarge(f"the body must have at most {_MAX_JSON_BYTES} bytes")
    try:
        return json.loads(
            raw.decode("utf-8"), parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON (RFC 8259) with each name once") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


async def _multipart(request: web.Request, schema: Schema) -> dict[str, Any]:
    try:
        reader = await request.multipart()
        fields: dict[str, Any] = {}
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or not part.name:
                raise Malformed("each part must be a field with a name")
            if part.name in fields:
                raise Invalid(Violation(part.name, "must be given once only"))
            fields[part.name] = await _part(part)
    except (ValueError, AssertionError, HttpProcessingError):
        # What aiohttp raises on a body that breaks off, or has another boundary than it says, or none.
        raise Malformed("the body is not multipart/form-data (RFC 7578)") from None
    file = fields.get("file")
    if file is not None and not isinstance(file, Upload):
        raise Invalid(Violation("file", "must be a file, with a file name"))
    wrong = [Violation(name, "must not be a file") for name, value in fields.items() if _misplaced(name, value)]
    texts = {name: value for name, value in fields.items() if not isinstance(value, Upload)}
    # The schema knows a file as a string, and only its presence matters to it.
    wrong.extend(schema.violations({**texts, **({} if file is None else {"file": ""})}))
    if wrong:
        raise Invalid(*wrong)
    return fields


def _misplaced(name: str, value: str | Upload) -> bool:
    return isinstance(value, Upload) and name != "file"


async def _part(part: BodyPartReader) -> str | Upload:
    most = _MAX_TEXT_BYTES if part.filename is None else MAX_FILE_BYTES
    content = bytearray()
    while chunk := await part.read_chunk(65536):
        content += chunk
        if len(content) > most:
            raise TooLarge(f"{part.name} must have at most {most} bytes")
    if part.filename is None:
        return content.decode("utf-8")
    return Upload(part.filename, part.headers.get("Content-Type", "application/octet-stream"), bytes(content))


def _fingerprint(path: str, body: Any) -> bytes:
    """Returns what is the same for the same request, however its body was written down."""
    told = json.dumps(body, sort_keys=True, default=_digest)
    return hashlib.sha256(f"{path}\n{told}".encode()).digest()


def _digest(upload: Upload) -> list[str]:
    return [upload.filename, upload.content_type, hashlib.sha256(upload.content).hexdigest()]
