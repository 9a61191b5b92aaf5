"""How a part of the input becomes the bytes of a request's body."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning import styles
from cordboard.planning.xml_bodies import Unwritable, is_name, xml

_MEDIA_TYPES: Final = {
    pb.BODY_ENCODING_JSON: "application/json",
    pb.BODY_ENCODING_FORM: "application/x-www-form-urlencoded",
    pb.BODY_ENCODING_MULTIPART: "multipart/form-data",
    pb.BODY_ENCODING_BINARY: "application/octet-stream",
    pb.BODY_ENCODING_TEXT: "text/plain; charset=utf-8",
    pb.BODY_ENCODING_XML: "application/xml",
}


class Unfit(ValueError):
    """A value cannot be put where it belongs; the text says why and never quotes it."""

    def __init__(self, description: str, property_name: str = "") -> None:
        """Takes what is wrong, and with which property of the input where the catcher does not know."""
        super().__init__(description)
        self.property_name = property_name


@dataclass(frozen=True, slots=True)
class Content:
    """A body and its media type."""

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class _Field:
    property: str
    name: str
    style: int
    explode: bool
    media_type: str
    encoded: bool
    """The input holds base64 of what is sent."""


class Body:
    """What an action sends as its body, prepared once."""

    def __init__(self, plan: pb.Body, encoded: Collection[str] = ()) -> None:
        """Takes the definition's words for it, and the properties whose schema says that they hold base64.

        Raises Unfit where that cannot be followed.
        """
        self._whole = plan.property
        self._fields = tuple(
            _Field(
                field.property,
                field.name,
                field.style,
                field.explode if field.HasField("explode") else True,
                field.media_type.lower(),
                field.property in encoded or _is_binary(field.media_type.lower()),
            )
            for field in plan.fields
        )
        self._required = plan.required
        if plan.encoding not in _MEDIA_TYPES:
            raise Unfit("the body has no encoding")
        self._root = plan.xml_root
        if plan.encoding == pb.BODY_ENCODING_XML and not is_name(plan.xml_root):
            raise Unfit("the body's root has no name that XML knows")
        self._media_type = plan.media_type or _MEDIA_TYPES[plan.encoding]
        if not all(map(str.isprintable, [self._media_type, *(field.media_type for field in self._fields)])):
            raise Unfit("a media type of the body holds control characters")
        self._encode: Callable[[Any, Mapping[str, Any]], Content] = {
            pb.BODY_ENCODING_JSON: self._json,
            pb.BODY_ENCODING_FORM: self._form,
            pb.BODY_ENCODING_MULTIPART: self._multipart,
            pb.BODY_ENCODING_BINARY: self._binary,
            pb.BODY_ENCODING_TEXT: self._text,
            pb.BODY_ENCODING_XML: self._xml,
        }[plan.encoding]

    @property
    def properties(self) -> frozenset[str]:
        """Returns the properties of the input that it takes."""
        return frozenset({self._whole} if self._whole else {field.property for field in self._fields})

    def content(self, given: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> Content | None:
        """Returns the body, or None where there is nothing for it; raises Unfit.

        `own` are members that no input gives, nor can replace.
        """
        if self._whole:
            if self._whole not in given:
                if self._required:
                    raise Unfit("is required", self._whole)
                return self._encode({}, own) if own else None
            return self._encode(given[self._whole], own or {})
        members = {field.name: given[field.property] for field in self._fields if field.property in given}
        if not members and not own and not self._required:
            return None
        return self._encode(members, own or {})

    def _with(self, value: Any, own: Mapping[str, Any]) -> Any:
        if not own:
            return value
        if not isinstance(value, dict):
            raise Unfit("must be an object", self._whole)
        return {**value, **own}

    def _json(self, value: Any, own: Mapping[str, Any]) -> Content:
        return Content(as_json(self._with(value, own), self._whole), self._media_type)

    def _form(self, value: Any, own: Mapping[str, Any]) -> Content:
        pairs = self._pairs(value)
        if own:
            # The members of an object that stand for themselves can have any name.
            pairs = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) not in own]
            pairs += self._pairs(own)
        return Content("&".join(pairs).encode("ascii"), self._media_type)

    def _pairs(self, value: Any) -> list[str]:
        if not isinstance(value, Mapping):
            raise Unfit("must be an object", self._whole)
        styled = {field.name: field for field in self._fields}
        pairs: list[str] = []
        for name, member in value.items():
            if member is None:
                continue
            field = styled.get(name)
            style, explode = (field.style, field.explode) if field else (pb.STYLE_UNSPECIFIED, True)
            # Without a style of its own an object has no form but JSON: exploded, its members would lose its name.
            nested = isinstance(member, dict) or (isinstance(member, list) and any(map(_is_nested, member)))
            if nested and style == pb.STYLE_UNSPECIFIED:
                member = as_json(member, field.property if field else name).decode()  # noqa: PLW2901
            try:
                pairs += styles.query(name, member, style, explode=explode, quoted=styles.encode_form)
            except TypeError:
                raise Unfit("is nested too deeply", field.property if field else self._whole) from None
        return pairs

    def _multipart(self, value: Any, own: Mapping[str, Any]) -> Content:
        value = self._with(value, own)
        if not isinstance(value, dict):
            raise Unfit("must be an object", self._whole)
        typed = {field.name: field for field in self._fields}
        boundary = os.urandom(16).hex()
        parts: list[bytes] = []
        for name, member in value.items():
            field = typed.get(name)
            items = member if isinstance(member, list) else [member]
            parts.extend(_part(boundary, name, item, field) for item in items if item is not None)
        parts.append(f"--{boundary}--\r\n".encode())
        return Content(b"".join(parts), f"{self._media_type}; boundary={boundary}")

    def _binary(self, value: Any, _: Mapping[str, Any]) -> Content:
        return Content(_from_base64(value, self._whole), self._media_type)

    def _text(self, value: Any, _: Mapping[str, Any]) -> Content:
        if not isinstance(value, str):
            raise Unfit("must be a string", self._whole)
        return Content(value.encode(), self._media_type)

    def _xml(self, value: Any, own: Mapping[str, Any]) -> Content:
        value = self._with(value, own)
        try:
            return Content(xml(self._root, value), self._media_type)
        except Unwritable as problem:
            raise Unfit(str(problem), self._whole or self._guilty(value)) from None

    def _guilty(self, members: Any) -> str:
        """Returns the property whose value cannot stand in XML, or an empty text."""
        for field in self._fields:
            try:
                xml(self._root, {field.name: members.get(field.name)})
            except Unwritable:
                return field.property
        return ""


def as_json(value: Any, property_name: str = "") -> bytes:
    """Returns the value as JSON; raises Unfit where JSON cannot hold it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        raise Unfit("holds a number or a text that JSON cannot carry", property_name) from None


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _is_binary(media_type: str) -> bool:
    return bool(media_type) and not (media_type.startswith("text/") or "json" in media_type)


def _part(boundary: str, name: str, value: Any, field: _Field | None) -> bytes:
    media_type = field.media_type if field else ""
    quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    disposition = f'form-data; name="{quoted}"'
    if field and field.encoded:
        # A file part has a file name, or many servers read it as a field.
        disposition += f'; filename="{quoted}"'
        media_type = media_type or "application/octet-stream"
        body = _from_base64(value, field.property)
    elif _is_nested(value):
        media_type = media_type or "application/json"
        body = as_json(value, field.property if field else name)
    else:
        body = styles.text(value).encode()
    head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n"
    if media_type:
        head += f"Content-Type: {media_type}\r\n"
    return head.encode() + b"\r\n" + body + b"\r\n"


def _from_base64(value: Any, property_name: str) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise Unfit("must be base64 (RFC 4648 section 4, with padding)", property_name)
