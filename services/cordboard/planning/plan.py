"""What request an action makes of an input: prepared once per action, run for each call. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import InvalidFields, StateConflict, Violation
from cordboard.planning import styles
from cordboard.planning.bodies import Body, Unfit, as_json
from cordboard.planning.constants import Constant, Constants, joined
from cordboard.planning.variables import NO_VALUES, Values, refusal

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
USER_AGENT: Final = "cordboard/0.1"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# A path of a definition may be encoded already, and some have a query.
_PATH_TEXT: Final = "/:@!$&'()*+,;=%?"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DOTS: Final = frozenset({"", ".", ".."})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
# Framing and routing belong to the connection, whatever a definition or an input says.
_RESERVED_HEADERS: Final = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect",
        "via", "forwarded", "traceparent", "tracestate",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outbound:
    """One HTTP request, whole but for the credential."""

    method: str
    template: str
    """The URL with names where values stand, and no query: what may be shown."""
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    def to(self, url: str) -> Outbound:
        """Returns the same request to another URL, without a body."""
        headers = {name: value for name, value in self.headers.items() if name != "Content-Type"}
        return replace(self, url=url, headers=headers, body=None)


@dataclass(frozen=True, slots=True)
class _Step:
    property: str
    name: str
    expand: Callable[[Any], str]


class Plan:
    """The request of one action."""

    def __init__(self, definition: pb.Definition, action: pb.Action, encoded: Collection[str] = ()) -> None:
        """Takes the action, and the properties of its input that hold base64.

        Raises StateConflict where the definition cannot be followed.
        """
        self._where = f"integrations/{definition.slug}/versions/{definition.version}"
        request = action.request
        self.method = request.method.upper()
        if self.method not in METHODS:
            raise self._unusable(action, "its method is not one of HTTP's")
        self._headers = {"Accept": "application/json, */*;q=0.5", "User-Agent": USER_AGENT}
        for name, value in request.headers.items():
            if not _is_header(name) or _CONTROL.search(value):
                raise self._unusable(action, f"the header {name!r} cannot be set")
            self._headers[name] = value
        placed: dict[int, list[pb.Parameter]] = {}
        for parameter in request.parameters:
            placed.setdefault(parameter.placement, []).append(parameter)
        if pb.PLACEMENT_UNSPECIFIED in placed:
            raise self._unusable(action, "a parameter has no place")
        for parameter in placed.get(pb.PLACEMENT_HEADER, ()):
            if not _is_header(parameter.name):
                raise self._unusable(action, f"the header {parameter.name!r} cannot be set")
        for parameter in placed.get(pb.PLACEMENT_COOKIE, ()):
            if not _TOKEN.fullmatch(parameter.name):
                raise self._unusable(action, f"the cookie {parameter.name!r} cannot be set")
        self._constants = self._checked_constants(action)
        self._key = self._taken_key(action)
        self._query = [_query_step(parameter) for parameter in placed.get(pb.PLACEMENT_QUERY, ())]
        self._header = [_plain_step(parameter) for parameter in placed.get(pb.PLACEMENT_HEADER, ())]
        self._cookie = [_cookie_step(parameter) for parameter in placed.get(pb.PLACEMENT_COOKIE, ())]
        self.template = request.path if request.path.startswith("/") else f"/{request.path}"
        self._keys = _path_keys(definition)
        self._path = self._path_parts(action, placed.get(pb.PLACEMENT_PATH, []))
        try:
            self._body = Body(request.body, encoded) if request.HasField("body") else None
        except Unfit as problem:
            raise self._unusable(action, str(problem)) from None
        self.properties = frozenset(parameter.property for parameter in request.parameters) | (
            self._body.properties if self._body else frozenset()
        )

    def outbound(
        self, given: Mapping[str, Any], base: str, base_template: str, values: Values = NO_VALUES, key: str = ""
    ) -> Outbound:
        """Returns the request of an input below a server's URL; `values` are the connection's config variables.

        `key` is what a vendor that takes an idempotency key gets, and no input can replace it. Raises InvalidFields
        with every problem found, and StateConflict where a config variable cannot be sent.
        """
        problems: list[Violation] = []
        path = self._expanded_path(given, values, problems)
        query = self._constants.query(self._expanded(self._query, given, problems), values)
        headers = dict(self._headers)
        if self._constants.at(pb.PLACEMENT_HEADER):
            headers |= self._constant_headers(values)
        for step, value in self._values(self._header, given, problems):
            if _CONTROL.search(value):
                problems.append(_violation(step.property, "must not hold control characters"))
            else:
                headers[step.name] = value.strip(" \t")
        cookies = self._constants.cookies(self._expanded(self._cookie, given, problems), values)
        if cookies:
            headers["Cookie"] = "; ".join(cookies)
        body: bytes | None = None
        if self._body is not None:
            try:
                content = self._body.content(given, self._own_members(values, key))
            except Unfit as problem:
                problems.append(_violation(problem.property_name, str(problem)))
                content = None
            if content is not None:
                body = content.body
                headers["Content-Type"] = content.media_type
        if problems:
            raise InvalidFields(problems)
        url = base + path
        if query:
            url += ("&" if "?" in url else "?") + "&".join(query)
        request = Outbound(self.method, base_template + self.template.partition("?")[0], url, headers, body)
        return self.keyed(request, key)

    @property
    def takes_key(self) -> bool:
        """Tells whether the vendor takes an idempotency key."""
        return self._key is not None

    def keyed(self, request: Outbound, key: str) -> Outbound:
        """Returns the request with this idempotency key in the header or the query, where the vendor takes it there."""
        if not key or self._key is None:
            return request
        match self._key.placement:
            case pb.PLACEMENT_HEADER:
                kept = {
                    name: value for name, value in request.headers.items() if name.lower() != self._key.name.lower()
                }
                return replace(request, headers={**kept, self._key.name: key})
            case pb.PLACEMENT_QUERY:
                path, _, query = request.url.partition("?")
                pairs = joined(query.split("&") if query else [], "&", {self._key.name: key})
                return replace(request, url=f"{path}?{'&'.join(pairs)}")
            case _:
                return request

    def _own_members(self, values: Values, key: str) -> dict[str, Any]:
        members = self._constants.members(values)
        if key and self._key is not None and self._key.placement == pb.PLACEMENT_BODY:
            members[self._key.name] = key
        return members

    def _taken_key(self, action: pb.Action) -> pb.IdempotencyKey | None:
        if action.idempotency_key_header:
            key = pb.IdempotencyKey(placement=pb.PLACEMENT_HEADER, name=action.idempotency_key_header)
        elif action.HasField("idempotency_key"):
            key = action.idempotency_key
        else:
            return None
        if key.placement == pb.PLACEMENT_HEADER and not _is_header(key.name):
            raise self._unusable(action, f"the header {key.name!r} cannot be set")
        if key.placement == pb.PLACEMENT_BODY and not action.request.HasField("body"):
            raise self._unusable(action, "its idempotency key goes into its body, and it has none")
        return key

    def _expanded_path(self, given: Mapping[str, Any], values: Values, problems: list[Violation]) -> str:
        parts: list[str] = []
        for part in self._path:
            if isinstance(part, str):
                parts.append(part)
                continue
            if isinstance(part, Constant):
                parts.append(self._constant_segment(part, values))
                continue
            value = given.get(part.property)
            if value is None:
                problems.append(_violation(part.property, "is required", "REQUIRED"))
                continue
            written = self._written(part, value, problems)
            if not written:
                # Without a text in it another resource would be addressed: /items//name, or the list itself.
                problems.append(_violation(part.property, "must not be empty: it is a part of the path"))
            parts.append(written)
        path = "".join(parts)
        # Where a value may keep what is encoded already, dots may be.
        plain = path.replace("%2e", ".").replace("%2E", ".") if "%2" in path else path
        if "/." in plain and not problems and any(segment in (".", "..") for segment in plain.split("/")):
            guilty = next((part.property for part in self._path if isinstance(part, _Step)), "")
            problems.append(_violation(guilty, "must not make a path segment of dots"))
        return path

    def _expanded(self, steps: list[_Step], given: Mapping[str, Any], problems: list[Violation]) -> list[str]:
        return [written for _, written in self._values(steps, given, problems) if written]

    def _values(
        self, steps: list[_Step], given: Mapping[str, Any], problems: list[Violation]
    ) -> list[tuple[_Step, str]]:
        return [
            (step, self._written(step, given[step.property], problems))
            for step in steps
            if given.get(step.property) is not None
        ]

    @staticmethod
    def _written(step: _Step, value: Any, problems: list[Violation]) -> str:
        try:
            return step.expand(value)
        except (Unfit, TypeError, UnicodeError):
            problems.append(_violation(step.property, "holds a number or a text that cannot be sent"))
            return ""

    def _checked_constants(self, action: pb.Action) -> Constants:
        try:
            constants = Constants(action.request.constants)
        except ValueError:
            raise self._unusable(action, "a constant is not JSON") from None
        for one in constants.at(pb.PLACEMENT_HEADER):
            if not _is_header(one.name) or _CONTROL.search(styles.text(one.fixed)):
                raise self._unusable(action, f"the header {one.name!r} cannot be set")
        for one in constants.at(pb.PLACEMENT_COOKIE):
            if not _TOKEN.fullmatch(one.name):
                raise self._unusable(action, f"the cookie {one.name!r} cannot be set")
        for one in constants.at(pb.PLACEMENT_PATH):
            if not one.variable and styles.text(one.fixed) in _DOTS:
                raise self._unusable(action, f"the constant {one.name!r} leaves a hole in its path")
        if constants.at(pb.PLACEMENT_BODY) and not action.request.HasField("body"):
            raise self._unusable(action, "a constant goes into its body, and it has none")
        return constants

    def _constant_headers(self, values: Values) -> dict[str, str]:
        found: dict[str, str] = {}
        for one, text in self._constants.texts(pb.PLACEMENT_HEADER, values):
            if _CONTROL.search(text):
                raise refusal(self._where, one.variable, "cannot stand in a header")
            found[one.name] = text.strip(" \t")
        return found

    def _constant_segment(self, one: Constant, values: Values) -> str:
        value = one.value(values)
        if value is None:
            raise refusal(self._where, one.variable, "has no value, and stands in the path")
        written = styles.encode(styles.text(value))
        if written in _DOTS:
            raise refusal(self._where, one.variable, "has a value that would lead elsewhere in the path")
        return written

    def _path_parts(self, action: pb.Action, parameters: list[pb.Parameter]) -> list[str | _Step | Constant]:
        by_name = {parameter.name: parameter for parameter in parameters}
        fixed = {one.name: one for one in self._constants.at(pb.PLACEMENT_PATH)}
        parts: list[str | _Step | Constant] = []
        for index, piece in enumerate(_PLACEHOLDER.split(self.template)):
            if index % 2 == 0:
                if any(segment in (".", "..") for segment in piece.split("/")) or "#" in piece:
                    raise self._unusable(action, "its path leaves its server's")
                if piece:
                    parts.append(quote(piece, safe=_PATH_TEXT))
            elif piece in by_name:
                parts.append(_path_step(by_name[piece]))
            elif piece in fixed:
                parts.append(fixed[piece])
            elif piece in self._keys:
                # The credential stands here; nothing else of a URL has braces.
                parts.append(f"{{{piece}}}")
            else:
                raise self._unusable(action, f"nothing stands for {{{piece}}} in its path")
        return parts

    def _unusable(self, action: pb.Action, problem: str) -> StateConflict:
        return StateConflict(self._where, "unusable", f"the action {action.id!r} cannot be run: {problem}")


def _path_keys(definition: pb.Definition) -> frozenset[str]:
    keys = (
        key
        for scheme in definition.auth_schemes
        for key in (scheme.api_key, scheme.signed_jwt.placement, scheme.session.placement)
    )
    return frozenset(key.name for key in keys if key.placement == pb.PLACEMENT_PATH)


def _violation(property_name: str, description: str, reason: str = "INVALID") -> Violation:
    return Violation(f"input.{property_name}" if property_name else "input", description, reason)


def _is_header(name: str) -> bool:
    lower = name.lower()
    return bool(_TOKEN.fullmatch(name)) and lower not in _RESERVED_HEADERS and not lower.startswith("proxy-")


def _explode(parameter: pb.Parameter) -> bool:
    if parameter.HasField("explode"):
        return parameter.explode
    if parameter.style == pb.STYLE_UNSPECIFIED:
        return parameter.placement in (pb.PLACEMENT_QUERY, pb.PLACEMENT_COOKIE)
    return parameter.style in (pb.STYLE_FORM, pb.STYLE_DEEP_OBJECT)


def _json_text(value: Any) -> str:
    return as_json(value).decode()


def _path_step(parameter: pb.Parameter) -> _Step:
    explode, name = _explode(parameter), parameter.name
    quoted = styles.keep_in_path if parameter.allow_reserved else styles.encode
    if parameter.json:
        return _Step(parameter.property, name, lambda value: quoted(_json_text(value)))
    if parameter.style == pb.STYLE_MATRIX:
        return _Step(parameter.property, name, lambda value: styles.matrix(name, value, explode=explode, quoted=quoted))
    expansion = styles.label if parameter.style == pb.STYLE_LABEL else styles.simple
    return _Step(parameter.property, name, lambda value: expansion(value, explode=explode, quoted=quoted))


def _query_step(parameter: pb.Parameter) -> _Step:
    explode, name, style = _explode(parameter), parameter.name, parameter.style
    quoted = styles.keep_in_query if parameter.allow_reserved else styles.encode
    if parameter.json:
        return _Step(parameter.property, name, lambda value: f"{quoted(name)}={quoted(_json_text(value))}")
    return _Step(
        parameter.property,
        name,
        lambda value: "&".join(styles.query(name, value, style, explode=explode, quoted=quoted)),
    )


def _plain_step(parameter: pb.Parameter) -> _Step:
    explode = _explode(parameter)
    if parameter.json:
        return _Step(parameter.property, parameter.name, _json_text)
    # A header has no encoding of its own: what cannot stand in one is refused.
    return _Step(parameter.property, parameter.name, lambda value: styles.simple(value, explode=explode, quoted=str))


def _cookie_step(parameter: pb.Parameter) -> _Step:
    explode, name = _explode(parameter), parameter.name
    if parameter.json:
        return _Step(parameter.property, name, lambda value: f"{name}={styles.encode(_json_text(value))}")
    return _Step(
        parameter.property,
        name,
        lambda value: "; ".join(styles.query(name, value, pb.STYLE_FORM, explode=explode)),
    )
