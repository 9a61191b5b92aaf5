"""Requests judged by openapi-core: does the vendor's own description accept them, and what does it read in them?"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest
from openapi_core.unmarshalling.request.datatypes import RequestUnmarshalResult
from werkzeug.datastructures import MultiDict

from cordboard.catalog.openapi.source import Source, Unresolved, mapping, sequence
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.plan import Outbound

_PLACEHOLDER: Final = re.compile(r"\{\+?([^{}=*?&,]+)[^{}]*\}")
_PLACES: Final = {
    pb.PLACEMENT_PATH: "path",
    pb.PLACEMENT_QUERY: "query",
    pb.PLACEMENT_HEADER: "header",
    pb.PLACEMENT_COOKIE: "cookie",
}
_NOTHING: Final[tuple[Any, ...]] = (None, [], {})
# What the judge has no words for: it says so where it should say nothing.
_BEYOND: Final = (
    (re.compile(r"ValueError: not (available|an (object|array) format)"), "lists in deepObject, and exploded objects"),
    (re.compile(r"is not of type '(integer|number|boolean)'$"), "numbers in the parts of a form"),
    (re.compile(r": b['\"]|: anyOf: b|type: b|: oneOf: b"), "what the parts of a form mean"),
)


class Unjudged(Exception):
    """The judge cannot read the description of this operation, or the request; the text says why."""


@dataclass(frozen=True)
class Verdict:
    """What the judge says about a request."""

    refusals: tuple[str, ...]
    """Why it is refused; empty where it is accepted."""
    misread: tuple[str, ...] = ()
    """What was given and is not what the judge reads in the request."""


class Judge:
    """The operations of one OpenAPI 3 document."""

    def __init__(self, root: dict[str, Any]) -> None:
        """Takes the document as it is."""
        # What is not given, the vendor fills in: its defaults are no part of a request.
        self._root: dict[str, Any] = _without_defaults(root)
        self._source = Source(self._root)
        self._config = Config(
            spec_validator_cls=None,
            # Nothing is made of a text but what it says, and a format that the judge does not know says nothing.
            extra_format_unmarshallers=dict.fromkeys(_formats(root), _as_it_is),
            extra_media_type_deserializers=dict.fromkeys(_json_types(root), orjson.loads),
        )
        self._known: dict[tuple[str, str], OpenAPI] = {}

    def judge(
        self, request: Outbound, base: str, pointer: str, plan: pb.RequestPlan, given: Mapping[str, Any]
    ) -> Verdict:
        """Returns the verdict on the request that a plan made of an input; raises Unjudged.

        The judge sees only the operation at the pointer, so that no other path of the same shape is taken for it, and
        only the server at `base`.
        """
        try:
            with warnings.catch_warnings():
                # What a description announces as deprecated is judged all the same.
                warnings.simplefilter("ignore")
                read = self._api(pointer, base).unmarshal_request(_sent(request))
        except Exception as problem:
            raise Unjudged(f"{type(problem).__name__}: {str(problem)[:150]}") from None
        if not read.errors:
            return Verdict((), tuple(self._misread(read, plan, given, pointer)))
        refusals = tuple(_told(error) for error in read.errors)
        if plan.body.encoding in (pb.BODY_ENCODING_FORM, pb.BODY_ENCODING_MULTIPART) or "ValueError" in refusals[0]:
            for pattern, what in _BEYOND:
                if all(pattern.search(one) for one in refusals):
                    raise Unjudged(f"the judge does not read {what}")
        return Verdict(refusals)

    def _api(self, pointer: str, base: str) -> OpenAPI:
        known = self._known.get((pointer, base))
        if known is None:
            known = OpenAPI.from_dict(self._alone(pointer, base), config=self._config)
            self._known = {(pointer, base): known}
        return known

    def _alone(self, pointer: str, base: str) -> dict[str, Any]:
        """Returns the document with this operation alone, where it is called at this server."""
        above, _, method = pointer.rpartition("/")
        item, _ = self._source.target(f"#{above}")
        operation, _ = self._source.target(f"#{pointer}")
        path = _path(above.removeprefix("/paths/").replace("~1", "/").replace("~0", "~"))
        alone = {name: value for name, value in operation.items() if name not in ("servers", "callbacks")}
        kept: dict[str, Any] = {method: alone}
        for holder, into in ((item, kept), (operation, alone)):
            if "parameters" in holder:
                into["parameters"] = [one for one in holder["parameters"] if self._counts(one, path)]
        return {
            **{name: value for name, value in self._root.items() if name not in ("paths", "webhooks", "servers")},
            "servers": [{"url": base}],
            "paths": {path: kept},
        }

    def _counts(self, declared: Any, path: str) -> bool:
        """Tells whether a declared parameter is one.

        No request satisfies one for a place that the path lacks, and OpenAPI 3 has three headers ignored.
        """
        try:
            found, _ = self._source.follow(declared, "")
        except Unresolved:
            return True
        name, place = str(mapping(found).get("name")), mapping(found).get("in")
        if place == "header":
            return name.lower() not in ("accept", "content-type", "authorization")
        return place != "path" or f"{{{name}}}" in path

    def _misread(
        self, read: RequestUnmarshalResult, plan: pb.RequestPlan, given: Mapping[str, Any], pointer: str
    ) -> Iterator[str]:
        declared = self._declared(pointer)
        for parameter in plan.parameters:
            value, place = given.get(parameter.property), _PLACES[parameter.placement]
            # The judge skips what is not declared, such as a query string in a path, and objects that are exploded.
            if (parameter.name, place) not in declared or value in _NOTHING or isinstance(value, dict):
                continue
            there: Mapping[str, Any] = getattr(read.parameters, place)
            if parameter.name not in there:
                yield f"{place} {parameter.name}: it is not there"
            elif not _same(value, there[parameter.name]):
                yield f"{place} {parameter.name}: {_short(value)} is read as {_short(there[parameter.name])}"
        if plan.body.property in given:
            pairs = [("the body", given[plan.body.property], read.body)]
        else:
            body = read.body if isinstance(read.body, Mapping) else {}
            named = [field for field in plan.body.fields if field.property in given]
            pairs = [(f"body {field.name}", given[field.property], body.get(field.name)) for field in named]
        for name, value, seen in pairs:
            if not _same(value, seen):
                yield f"{name}: {_short(value)} is read as {_short(seen)}"

    def _declared(self, pointer: str) -> set[tuple[str, str]]:
        item, _ = self._source.target(f"#{pointer.rpartition('/')[0]}")
        operation, _ = self._source.target(f"#{pointer}")
        found = set()
        for one in [*sequence(item.get("parameters")), *sequence(operation.get("parameters"))]:
            parameter, _ = self._source.follow(one, "")
            found.add((str(parameter.get("name")), str(parameter.get("in"))))
        return found


def _path(key: str) -> str:
    """Returns a key of `paths` as what it is meant to match."""
    key = key.partition("#")[0].partition("?")[0]
    if "://" in key:
        key = urlsplit(key).path
    return _PLACEHOLDER.sub(lambda found: f"{{{found[1]}}}", "/" + key.strip().lstrip("/"))


def _sent(request: Outbound) -> MockRequest:
    url = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    cookies = SimpleCookie(headers.get("cookie", ""))
    return MockRequest(
        f"{url.scheme}://{url.netloc}",
        request.method,
        unquote(url.path),
        args=MultiDict(parse_qsl(url.query, keep_blank_values=True)),
        headers=headers,
        cookies={name: unquote(one.value) for name, one in cookies.items()},
        data=request.body,
        content_type=headers.get("content-type", ""),
    )


def _told(error: Exception) -> str:
    """Returns the innermost reason of an error, with its place and without the value."""
    inner: BaseException = error
    while inner.__cause__ is not None and not getattr(inner, "schema_errors", ()):
        inner = inner.__cause__
    name = str(getattr(error, "name", ""))
    where = f"{type(error).__name__} {name}".strip()
    wrong = next(iter(getattr(inner, "schema_errors", ())), None)
    if wrong is None:
        return f"{where}: {type(inner).__name__}: {str(inner)[:150]}"
    place = "/".join("#" if isinstance(step, int) else str(step) for step in wrong.absolute_path)
    return f"{where}: {place or 'the whole'}: {wrong.validator}: {str(wrong.message)[-120:]}"


def _without_defaults(value: Any, *, is_named: bool = False) -> Any:
    if isinstance(value, list):
        return [_without_defaults(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_defaults(one, is_named=not is_named and name == "properties")
        for name, one in value.items()
        if is_named or name != "default"
    }


def _parts(root: Any) -> Iterator[dict[str, Any]]:
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _formats(root: Any) -> set[str]:
    return {one["format"] for one in _parts(root) if isinstance(one.get("format"), str)}


def _json_types(root: Any) -> set[str]:
    named = {name for one in _parts(root) for name in mapping(one.get("content"))}
    return {"*/*", *(name for name in named if name.partition(";")[0].endswith("+json"))}


def _as_it_is(value: Any) -> Any:
    return value


def _same(given: Any, read: Any) -> bool:
    """Tells whether a value came through. What the judge makes dates and bytes of is taken for the same."""
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        return all(value in _NOTHING or (key in read and _same(value, read[key])) for key, value in given.items())
    if isinstance(given, list) and isinstance(read, (list, tuple)):
        kept = [value for value in given if value is not None]
        return len(kept) == len(read) and all(map(_same, kept, read))
    if isinstance(given, bool) or isinstance(read, bool):
        return str(given).lower() == str(read).lower()
    if isinstance(given, (int, float)) and isinstance(read, (int, float, str)):
        try:
            return float(given) == float(read)
        except ValueError:
            return False
    if isinstance(given, str) and isinstance(read, str):
        return given == read
    if given in _NOTHING or read in _NOTHING:
        return given in _NOTHING and read in _NOTHING
    return not isinstance(read, (str, int, float, Mapping, list))


def _short(value: Any) -> str:
    return repr(value)[:60]
