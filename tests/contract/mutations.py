"""Makes wrong requests of a method: random bytes, damaged messages, and messages of hostile values.

The same seed makes the same requests.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any, Final

from google.api import annotations_pb2
from google.protobuf import message_factory, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

MAX_DEPTH: Final = 4
LONG: Final = 100_000
# Parts of one message at most: a generator that makes megabytes tests itself.
MAX_PARTS: Final = 300

# Texts that parsers, databases, paths and logs trip over.
TEXTS: Final = (
    "", " ", ".", "..", "/", "//", "a", "A" * 64, "a" * 255, "a" * 256, "x" * LONG, "é" * 200, "\x00", "a\x00b",
    "\n", "\r\n", "\u2028", "\u202e", "\ufeff", "😀", "İ", "null", "true", "0", "-1", "1e400", "NaN", "%", "%00",
    "%2e%2e%2f", "${jndi:x}",
    "'; DROP TABLE call; --", "<script>", "{{7*7}}", "{", "[", '{"a":1}', '"', "\\", "$ref", "__proto__", "*", "-", "~",
    "workspaces", "workspaces/", "workspaces/*", "workspaces/fuzz/", "workspaces/fuzz/connections/", "integrations/",
    "workspaces/" + "x" * 20_000, "workspaces/" + "é" * 5_000 + "/connections/a",
    "integrations/none/versions/active", "integrations/none/versions/99999999999999999999.0.0",
    "flags/none/revisions/-1",
    "flags/none/revisions/99999999999999999999", "flags/none/revisions/0", "flags/none/revisions/1",
    "traces/" + "0" * 32, "traces/" + "f" * 32, "traces/zz", "1.0.0", "99999999999.0.0", "production", "http://[::1",
    "https://example.com/\x7f", "file:///etc/passwd", "eyJhIjoxfQ", "AAAA", "====", "\U0010ffff",
)  # fmt: skip
NUMBERS: Final = (0, 1, -1, 2, 7, 127, 128, 255, 1000, 1001, 65536, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63))
FLOATS: Final = (0.0, -0.0, 1.5, -1.0, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 2.0**53 + 2)
DOCUMENTS: Final = (
    "", "{}", "[]", "null", "- a\n- b", "a: &a [*a]", "a: &a {b: *a}", "x: !!python/object:os.system {}", "{" * 5000,
    "[" * 5000, "a: " * 3000, "\t", "%YAML 9.9\n---\n", "--- a\n--- b\n",
    '{"openapi":"3.1.0"}', '{"openapi":"3.0.0","paths":1}',
    '{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/a":{"get":{"responses":{}}}}}',
    '{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/{a":{"get":{"operationId":"\\u0000"}}}}',
    '{"openapi":"3.1.0","info":{"title":[],"version":{}},"servers":[{"url":"http://{x}"}],"paths":{"/a":null}}',
    '{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/a":{"$ref":"#/paths/~1a"}}}',
    '{"openapi":"3.1.0","info":{"title":"T","version":"1"},"components":{"schemas":{"A":{"$ref":"#/components/schemas/A"}}},'
    '"paths":{"/a":{"get":{"parameters":[{"name":"q","in":"query","schema":{"$ref":"#/components/schemas/A"}}]}}}}',
    "slug: fuzz\nversion: 1.0.0\n", "slug: fuzz\nversion: 1.0.0\ntitle: T\nactions: 7\n", "slug: [1]\nversion: {}\n",
    "slug: fuzz\nversion: 1.0.0\ntitle: T\nservers: [{url: 'https://example.com'}]\n"
    "actions: [{id: a, method: GET, path: '/{b}'}]",
    "a: 2026-01-01\nb: 0o17\nc: .inf\nd: !!binary AAAA\n", "? [a, b]\n: c\n", "a: 1\na: 2\n",
    '{"a":1,"a":2}', '{"a":NaN}',
)  # fmt: skip

FILLINGS: Final = (("fuzz", "none"), ("fuzz", "action.none"), ("none", "0"), ("fuzz", "a.b-c_d"), ("fuzz", "1"))
# What the test has made: behind these names the input goes deeper than to "there is no such thing".
REAL: Final = {
    "workspaces/*/connections/*": ("workspaces/fuzz/connections/desk",),
    "workspaces/*": ("workspaces/fuzz",),
    "integrations/*": ("integrations/acme-desk",),
    "integrations/*/versions/*": ("integrations/acme-desk/versions/active", "integrations/acme-desk/versions/1.0.0"),
    "integrations/*/forms/*": (
        "integrations/acme-desk/forms/action.create_ticket",
        "integrations/acme-desk/forms/auth.apiKey",
    ),
    "integrations/*/oauthClient": ("integrations/acme-desk/oauthClient",),
    "flags/*": ("flags/fuzz",),
    "rollouts/*": ("rollouts/integration.fuzz",),
    "experiments/*": ("experiments/fuzz",),
    "proposals/*": ("proposals/1",),
    "flags/*/revisions/*": ("flags/fuzz/revisions/1",),
}
HARMFUL: Final = ("Delete", "Set")
FIELDS: Final = {
    "action": ("create_ticket", "list_tickets", "get_ticket", "get_me", "upload_attachment", "list_events"),
    "integration": ("integrations/acme-desk",),
    "auth_scheme": ("oauth2", "apiKey", "basic"),
    "connection": ("workspaces/fuzz/connections/desk",),
    "idempotency_key": ("once", "twice", "\x7f"),
}
KEYS: Final = (
    "subject",
    "requester_id",
    "ticket_id",
    "tags",
    "limit",
    "cursor",
    "file",
    "custom_fields",
    "api_key",
    "formData",
)


class Mutations:
    """Wrong requests of methods, out of one stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._parts = 0

    def request(self, method: MethodDescriptor) -> bytes:
        """Returns the bytes of one wrong request, or of one that is right by accident."""
        kind = self._random.choices((self._noise, self._damaged, self._filled), weights=(1, 2, 5))[0]
        return kind(method)

    def _noise(self, _: MethodDescriptor) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 5, 20, 200)))

    def _filled(self, method: MethodDescriptor) -> bytes:
        message = message_factory.GetMessageClass(method.input_type)()
        self._parts = MAX_PARTS
        self._fill(message, 0, names_of(method))
        return bytes(message.SerializeToString())

    def _damaged(self, method: MethodDescriptor) -> bytes:
        good = bytearray(self._filled(method)[:2000])
        for _ in range(self._random.randint(1, 4)):
            if not good:
                return self._random.randbytes(3)
            place = self._random.randrange(len(good))
            damage = self._random.randrange(5)
            if damage == 0:
                good[place] ^= 1 << self._random.randrange(8)
            elif damage == 1:
                del good[place:]
            elif damage == 2:
                good[place:place] = self._random.randbytes(3)
            elif damage == 3:
                # A field of no message of ours, of each wire type: it has to be skipped.
                good += bytes([0xF8 | self._random.randrange(6), 0x7F]) + struct.pack(
                    "<Q", self._random.getrandbits(64)
                )
            else:
                good += good[place:]
        return bytes(good)

    def _fill(self, message: Any, depth: int, names: tuple[str, ...]) -> None:
        for field in message.DESCRIPTOR.fields:
            self._parts -= 1
            if self._parts < 0 or self._random.random() < (0.15 if depth == 0 else 0.4):
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                self._fill_map(message, field, depth, names)
            elif field.is_repeated:
                count = self._random.choice((0, 1, 2, 3, 30 if depth < 2 else 3))
                if field.message_type is not None:
                    for _ in range(count if depth < MAX_DEPTH else 0):
                        self._fill_message(getattr(message, field.name).add(), field, depth, names)
                else:
                    getattr(message, field.name).extend(self._scalar(field, names) for _ in range(count))
            elif field.message_type is not None:
                if depth < MAX_DEPTH:
                    self._fill_message(getattr(message, field.name), field, depth, names)
            else:
                setattr(message, field.name, self._scalar(field, names))

    def _fill_map(self, message: Any, field: FieldDescriptor, depth: int, names: tuple[str, ...]) -> None:
        value = descriptor_of(field).fields_by_name["value"]
        for _ in range(self._random.choice((0, 1, 3))):
            key = self._text(names)
            if value.message_type is not None:
                self._fill_message(getattr(message, field.name)[key], value, depth, names)
            else:
                getattr(message, field.name)[key] = self._scalar(value, names)

    def _fill_message(self, message: Any, field: FieldDescriptor, depth: int, names: tuple[str, ...]) -> None:
        makers: dict[str, Callable[[Any], None]] = {
            "google.protobuf.Struct": self._fill_struct,
            "google.protobuf.Value": self._fill_value,
            "google.protobuf.Timestamp": self._fill_time,
            "google.protobuf.Duration": self._fill_time,
        }
        make = makers.get(descriptor_of(field).full_name)
        if make is not None:
            make(message)
        else:
            message.SetInParent()
            self._fill(message, depth + 1, names)

    def _fill_time(self, message: Any) -> None:
        message.seconds = self._random.choice((*NUMBERS, 253402300799, 253402300800, -62135596801, 1_700_000_000))
        message.nanos = self._random.choice((0, 1, -1, 999_999_999, 2**31 - 1, -(2**31)))

    def _fill_struct(self, struct: Any) -> None:
        if self._random.random() < 0.1:
            for _ in range(self._random.choice((10, 40, 90))):
                struct = struct.fields["deep"].struct_value
        struct.SetInParent()
        for _ in range(self._random.choice((0, 1, 5))):
            self._fill_value(struct.fields[self._random.choice((*KEYS, *KEYS, *TEXTS[:20]))])

    def _fill_value(self, value: struct_pb2.Value, depth: int = 0) -> None:
        kind = self._random.randrange(6 if depth < 3 else 4)
        if kind == 0:
            value.number_value = self._random.choice(FLOATS)
        elif kind == 1:
            value.string_value = self._random.choice(TEXTS)
        elif kind == 2:
            value.bool_value = True
        elif kind == 3:
            # A value of no kind at all is on the wire what nobody expects.
            if self._random.random() < 0.5:
                value.null_value = struct_pb2.NULL_VALUE
        elif kind == 4:
            value.list_value.SetInParent()
            for _ in range(self._random.randrange(4)):
                self._fill_value(value.list_value.values.add(), depth + 1)
        else:
            value.struct_value.SetInParent()
            for _ in range(self._random.randrange(4)):
                self._fill_value(value.struct_value.fields[self._random.choice(TEXTS)], depth + 1)

    def _scalar(self, field: FieldDescriptor, names: tuple[str, ...]) -> Any:
        kinds = FieldDescriptor
        if field.type == kinds.TYPE_STRING:
            return self._for_field(field, names)
        if field.type == kinds.TYPE_BYTES:
            return self._random.randbytes(self._random.choice((0, 1, 8, 16, 300)))
        if field.type == kinds.TYPE_BOOL:
            return self._random.random() < 0.5
        if field.type == kinds.TYPE_ENUM:
            return self._random.choice((0, 1, 2, 3, 99, -1, 2**31 - 1))
        if field.type in (kinds.TYPE_DOUBLE, kinds.TYPE_FLOAT):
            return self._random.choice(FLOATS)
        bits = 64 if "64" in field_type_name(field) else 32
        signed = "UINT" not in field_type_name(field) and "FIXED" not in field_type_name(field).removeprefix("TYPE_S")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return min(max(self._random.choice(NUMBERS), low), high)

    def _for_field(self, field: FieldDescriptor, names: tuple[str, ...]) -> str:
        if field.name == "document":
            text = self._random.choice(DOCUMENTS)
            cut = self._random.randrange(len(text) + 1) if self._random.random() < 0.2 else len(text)
            return text[:cut]
        if field.name == "input_json":
            return self._random.choice(
                (
                    '{"a":1}',
                    '{"subject":"x","requester_id":"con_00000001"}',
                    '{"limit":1}',
                    "{}",
                    "{",
                    "[]",
                    "1e999",
                    "NaN",
                    '{"a":1,"a":2}',
                    "[" * 3000,
                    '"',
                    "",
                    '{"a":"\\ud800"}',
                )
            )
        if field.name == "page_token" and self._random.random() < 0.5:
            return self._random.choice(("e30", "e30.AAAA", json.dumps({"a": 1}), "AAAA", "-_-_", "e30="))
        return self._text(FIELDS.get(field.name, names))

    def _text(self, names: tuple[str, ...]) -> str:
        text = self._random.choice(names if names and self._random.random() < 0.5 else TEXTS)
        if len(text) > MAX_PARTS:
            # One of these in a message is enough.
            self._parts = 0
        if text and self._random.random() < 0.15:
            place = self._random.randrange(len(text))
            text = text[:place] + self._random.choice(TEXTS[:40]) + text[place + 1 :]
        return text


def names_of(method: MethodDescriptor) -> tuple[str, ...]:
    """Returns names of resources that fit the method's paths: well-formed ones, and where it does no harm real ones."""
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[index]
    path = rule.get or rule.put or rule.post or rule.delete or rule.patch
    template = path.partition("=")[2].partition("}")[0] or "workspaces/*/connections/*"
    made = []
    for filling in FILLINGS:
        name = template
        for each in filling:
            name = name.replace("*", each, 1)
        made.append(name.replace("*", "none"))
    real = () if method.name.startswith(HARMFUL) else REAL.get(template, ())
    return (*made, *real, *real, *real, "workspaces/fuzz", "integrations/fuzz", "fuzz", template)


def descriptor_of(field: FieldDescriptor) -> Descriptor:
    """Returns the type of a field that holds a message."""
    assert field.message_type is not None
    return field.message_type


def field_type_name(field: FieldDescriptor) -> str:
    """Returns the name of a field's type: TYPE_SINT32."""
    return next(
        name
        for name in dir(FieldDescriptor)
        if name.startswith("TYPE_") and getattr(FieldDescriptor, name) == field.type
    )
