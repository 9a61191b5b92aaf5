"""Responses: what an action's output looks like, and what the headers beside it say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.schemas import Direction
from cordboard.catalog.openapi.source import Unresolved, join, mapping, text
from cordboard.catalog.syntax import is_token
from cordboard.catalog.v1.definition_pb2 import RateLimitHeaders

if TYPE_CHECKING:
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.schemas import Schemas
    from cordboard.catalog.openapi.source import Source
    from cordboard.catalog.schemas import Schema

_RATE_LIMITS: Final = {
    "limit": ("x-ratelimit-limit", "ratelimit-limit", "x-rate-limit-limit", "rate-limit-limit", "x-rate-limit"),
    "remaining": ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining", "rate-limit-remaining"),
    "reset": ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset", "rate-limit-reset"),
}


@dataclass
class Answer:
    """What an operation answers when all went well."""

    schema: Schema | None = None
    """The output's schema; None when the document does not say."""
    raw: Any = None
    """The same as the document has it, for rules that look for members."""
    pointer: str = ""
    headers: set[str] = field(default_factory=set)
    """The names of the headers that come with it, in lower case."""


class Responses:
    """Reads the responses of one document's operations."""

    def __init__(self, source: Source, schemas: Schemas, report: Report) -> None:
        """Takes the document, its schemas, and where findings go."""
        self._source = source
        self._schemas = schemas
        self._report = report
        self._rate_limits: dict[str, Counter[str]] = {kind: Counter() for kind in _RATE_LIMITS}

    def answer(self, declared: Any, pointer: str) -> Answer:
        """Returns the answer of the first 2xx response, JSON before anything else."""
        answer = Answer()
        responses = mapping(declared)
        codes = sorted(str(code) for code in responses if str(code)[:1] == "2")
        codes = [code for code in codes if code.isdigit()] + [code for code in codes if not code.isdigit()]
        other: tuple[str, str] | None = None
        for code in codes or [code for code in ("default",) if code in responses]:
            here = join(pointer, code)
            try:
                found, at = self._source.follow(responses.get(code), here)
            except Unresolved as problem:
                self._report.repair(here, f"the response {problem}; the output is unknown")
                continue
            response = mapping(found)
            self._headers(mapping(response.get("headers")), answer)
            content = mapping(response.get("content"))
            if answer.raw is None:
                self._json(content, join(at, "content"), answer)
            if other is None and content:
                other = (str(next(iter(content))), at)
        if answer.raw is None and other is not None:
            self._bytes(*other, answer)
        return answer

    def rate_limit_headers(self) -> RateLimitHeaders | None:
        """Returns the rate-limit headers that most responses name, or None when none does."""
        chosen = {kind: seen.most_common(1)[0][0] for kind, seen in self._rate_limits.items() if seen}
        if "remaining" not in chosen and "reset" not in chosen:
            return None
        named = ", ".join(chosen.values())
        self._report.note("/paths", f"responses name the headers {named}: they say how much may still be called")
        return RateLimitHeaders(
            limit=chosen.get("limit", ""), remaining=chosen.get("remaining", ""), reset=chosen.get("reset", "")
        )

    def _json(self, content: dict[str, Any], pointer: str, answer: Answer) -> None:
        for media_type, value in content.items():
            bare = media_type.partition(";")[0].strip().lower()
            schema = mapping(value).get("schema")
            if schema is None or not ("json" in bare or bare in ("*/*", "")):
                continue
            answer.pointer = join(pointer, media_type, "schema")
            answer.raw = schema
            converted = self._schemas.convert(schema, answer.pointer, Direction.RESPONSE)
            answer.schema = None if isinstance(converted, bool) else converted
            return

    def _bytes(self, media_type: str, pointer: str, answer: Answer) -> None:
        bare = media_type.partition(";")[0].strip().lower()
        if "json" in bare or bare in ("*/*", ""):
            return
        if bare.startswith("text/") or "xml" in bare:
            answer.schema = {"type": "string"}
            return
        self._report.note(pointer, f"the answer is {bare[:80]}: it is given in base64")
        answer.schema = {"type": "string", "contentEncoding": "base64", "contentMediaType": bare}

    def _headers(self, declared: dict[str, Any], answer: Answer) -> None:
        for name in declared:
            lowered = text(name).lower()
            answer.headers.add(lowered)
            for kind, known in _RATE_LIMITS.items():
                if lowered in known and is_token(name):
                    self._rate_limits[kind][name] += 1
