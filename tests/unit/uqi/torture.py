"""Inputs that form generators stumble over, each under a name: what other people's definitions really hold."""

from __future__ import annotations

from typing import Any, Final

from tests.unit.uqi.samples import an_input

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_CARD: Final = an_input(
    "kind", "number", kind={"const": "card"}, number=_TEXT, month={"type": "integer", "maximum": 12}
)
_BANK: Final = an_input("kind", "iban", kind={"const": "bank"}, iban={"type": "string", "maxLength": 34})
PAYMENT: Final = {"oneOf": [{"title": "Card", **_CARD}, {"title": "Bank account", **_BANK}]}
_MAIL: Final = {"properties": {"kind": {"const": "mail"}}, "required": ["kind"]}
CONTACT: Final = {
    **an_input("kind", kind={"enum": ["mail", "phone"]}, urgent={"type": "boolean"}, copies={"type": "integer"}),
    "if": _MAIL,
    "then": {"properties": {"address": _TEXT}, "required": ["address"]},
    "else": {"properties": {"number": _TEXT}},
    "dependentRequired": {"copies": ["urgent"]},
    "dependentSchemas": {"urgent": {"properties": {"reason": _TEXT}}},
    "allOf": [
        {
            "if": {"properties": {"copies": {"minimum": 3}}, "required": ["copies"]},
            "then": {"properties": {"approval": _TEXT}, "required": ["approval"]},
        }
    ],
}
EVIL: Final = "{{globalThis.hacked=1}}<img src=x onerror=alert(1)>"

_ROW: Final = an_input("name", name=_TEXT, on={"type": "boolean"}, kind={"enum": ["a", "b"]})
_NAMES: Final = (
    "page.size", "filter[status]", "q", "X-Trace-Id", "x-trace-id", "data", "database", "command", "a/b", "a~b",
    "__proto__", "constructor", "variant", "length", "", "ünï", "$ref", "if",
)  # fmt: skip
_PATTERNS: Final = (
    r"^\w+@\w+\.\w+$", r"^[\w-.]+$", r"(?i)abc", r"^[^\s]{1,3}$", r"\_x", r"[a-z&&b]", r"^(?:a|b)*?$", r"\p{L}+",
)  # fmt: skip

CASES: Final[dict[str, dict[str, Any]]] = {
    "nothing": an_input(),
    "scalars": an_input(
        "text",
        "count",
        text={"type": "string", "minLength": 2, "maxLength": 9, "pattern": r"^[\w-]+$"},
        count={"type": "integer", "minimum": 1, "maximum": 50, "default": 5},
        ratio={"type": "number", "exclusiveMinimum": 0},
        flag={"type": "boolean"},
        secret={"type": "string", "format": "password"},
        day={"type": "string", "format": "date"},
        moment={"type": "string", "format": "date-time"},
        clock={"type": "string", "format": "time"},
        long={"type": "string", "maxLength": 5000},
    ),
    "nullable": an_input(
        "text",
        "empty",
        text={"type": ["string", "null"]},
        count={"type": "integer", "nullable": True},
        colour={"enum": ["red", "blue", None]},
        flag={"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        words={"type": "array", "items": {"type": ["string", "null"]}},
        labels={"type": "array", "items": {"enum": ["a", None]}},
        rows={"type": "array", "items": an_input(name={"type": ["string", "null"]}, level={"enum": [1, 2, None]})},
        empty=an_input(note=_TEXT),
    ),
    "choices": an_input(
        "kind",
        kind={"const": "ticket"},
        colour={"enum": ["red", "blue"], "default": "red"},
        level={"oneOf": [{"const": 1, "title": "Low"}, {"const": 2, "title": "High"}]},
        mixed={"enum": [1, True, "1"]},
        labels={"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1},
        country={"enum": [f"C{number}" for number in range(1500)]},
    ),
    "names": an_input("page.size", **dict.fromkeys(_NAMES, _TEXT)),
    "nested": an_input(
        "owner",
        owner=an_input("name", name=_TEXT, address=an_input("city", city=_TEXT, zip={"type": "integer"})),
        extra={**an_input(note=_TEXT), "additionalProperties": True},
    ),
    "lists": an_input(
        "words",
        words={"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 3},
        rows={
            "type": "array",
            "items": an_input("name", name=_TEXT, on={"type": "boolean"}, kind={"enum": ["a", "b"]}),
        },
        deep={"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        payments={"type": "array", "items": PAYMENT},
        contacts={"type": "array", "items": CONTACT},
    ),
    "maps": an_input(
        tags={"type": "object", "additionalProperties": _TEXT},
        limits={"type": "object", "additionalProperties": {"type": "integer"}},
        owners={"type": "object", "additionalProperties": an_input(name=_TEXT)},
    ),
    "free": an_input(
        "any", any={}, thing={"type": "object"}, list={"type": "array"}, either={"type": ["string", "boolean"]}
    ),
    "files": an_input(
        "file", file={"type": "string", "format": "binary"}, more={"type": "string", "contentEncoding": "base64"}
    ),
    "unions": an_input(
        "pay",
        pay=PAYMENT,
        refund=PAYMENT,
        label={"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
        maybe={"oneOf": [{"type": "null"}, PAYMENT, {"type": "integer"}]},
    ),
    "recursion": {
        **an_input(
            "name",
            name=_TEXT,
            child={"$ref": "#"},
            next={"oneOf": [_TEXT, {"$ref": "#/$defs/Node"}]},
        ),
        "$defs": {"Node": an_input(name=_TEXT, next={"oneOf": [_TEXT, {"$ref": "#/$defs/Node"}]})},
    },
    "cases": CONTACT,
    "cases below": an_input(
        "who", who=CONTACT, other=CONTACT, variants={"oneOf": [{"title": "Contact", **CONTACT}, _CARD]}
    ),
    "one of": {**an_input(a=_TEXT, b=_TEXT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "hostile": {
        **an_input(
            EVIL,
            **{
                EVIL: {"type": "string", "title": EVIL, "description": EVIL, "examples": [EVIL]},
                "kind": {"enum": [EVIL, "other"], "default": EVIL},
                "text": {"type": "string", "default": EVIL},
                "pick": {"oneOf": [{"title": EVIL, **_CARD}, {"title": "}}", **_BANK}]},
            },
        ),
        "if": {"properties": {"kind": {"const": EVIL}}, "required": ["kind"]},
        "then": {"properties": {"shown": _TEXT}},
    },
    "patterns": an_input(
        **{f"pattern_{number}": {"type": "string", "pattern": each} for number, each in enumerate(_PATTERNS)}
    ),
}
