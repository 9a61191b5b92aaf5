"""From an action and an input to one exact request, or to an error that names the field."""

from __future__ import annotations

import base64
import email
import json
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url
from cordboard.core.errors import InvalidFields, NotFound, StateConflict
from cordboard.planning.plan import Outbound
from cordboard.proxy.definitions import Action, Definition
from tests.unit.proxy.samples import COOKIE, HEADER, PATH, QUERY, a_body, a_definition, a_parameter, an_action

BASE = "https://api.vendor.example/v1"


def an_outbound(action: pb.Action, **values: Any) -> Outbound:
    prepared = Definition(a_definition(action)).action(action.id)
    prepared.check(values)
    return prepared.plan.outbound(values, BASE, BASE)


def violations(action: pb.Action, **values: Any) -> dict[str, str]:
    with pytest.raises(InvalidFields) as refused:
        an_outbound(action, **values)
    return {violation.field: violation.description for violation in refused.value.violations}


def test_each_place_gets_its_values() -> None:
    action = an_action(
        "act", "GET", "/orgs/{org}/repos",
        a_parameter("org", PATH), a_parameter("page"), a_parameter("sort"), a_parameter("X-Mode", HEADER),
        a_parameter("seen", COOKIE), a_parameter("left"),
        headers={"X-Api-Version": "2"},
    )  # fmt: skip
    sent = an_outbound(
        action, org="a/b", page=2, sort=["name", "age"], seen=["1", "2"], **{"X-Mode": "fast"}, left=None
    )
    assert sent.url == f"{BASE}/orgs/a%2Fb/repos?page=2&sort=name&sort=age"
    assert sent.template == f"{BASE}/orgs/{{org}}/repos"
    assert (sent.headers["X-Mode"], sent.headers["X-Api-Version"]) == ("fast", "2")
    assert sent.headers["Cookie"] == "seen=1; seen=2"
    assert sent.body is None
    assert sent.method == "GET"


@pytest.mark.parametrize(
    ("fields", "value", "expected"),
    [
        ({}, ["a", "b"], "/p/a,b"),
        ({"explode": True}, {"a": 1}, "/p/a=1"),
        ({"style": pb.STYLE_LABEL}, ["a", "b"], "/p/.a,b"),
        ({"style": pb.STYLE_MATRIX, "explode": True}, ["a", "b"], "/p/;v=a;v=b"),
        ({"allow_reserved": True}, "a/b:c", "/p/a/b:c"),
        ({"json": True}, {"a": 1}, "/p/%7B%22a%22%3A1%7D"),
    ],
)
def test_a_path_parameter_follows_its_style(fields: dict[str, Any], value: Any, expected: str) -> None:
    sent = an_outbound(an_action("act", "GET", "/p/{v}", a_parameter("v", PATH, **fields)), v=value)
    assert sent.url == BASE + expected


@pytest.mark.parametrize(
    ("fields", "value", "expected"),
    [
        ({}, ["a", "b"], "?v=a&v=b"),
        ({"explode": False}, ["a", "b"], "?v=a,b"),
        ({"style": pb.STYLE_PIPE_DELIMITED}, ["a", "b"], "?v=a%7Cb"),
        ({"style": pb.STYLE_SPACE_DELIMITED}, ["a", "b"], "?v=a%20b"),
        ({"style": pb.STYLE_DEEP_OBJECT}, {"a": 1}, "?v%5Ba%5D=1"),
        ({"json": True}, {"a": 1}, "?v=%7B%22a%22%3A1%7D"),
        ({"allow_reserved": True}, "a/b?c", "?v=a/b?c"),
        ({"name": "v[]"}, ["a"], "?v%5B%5D=a"),
        ({}, [], ""),
        ({}, False, "?v=false"),
        ({}, 12345678901234567, "?v=12345678901234567"),
    ],
)
def test_a_query_parameter_follows_its_style(fields: dict[str, Any], value: Any, expected: str) -> None:
    sent = an_outbound(an_action("act", "GET", "/q", a_parameter("v", QUERY, **fields)), v=value)
    assert sent.url == f"{BASE}/q{expected}"


def test_a_path_with_a_query_of_its_own_keeps_it() -> None:
    sent = an_outbound(an_action("act", "GET", "/q?fixed=1", a_parameter("v")), v=2)
    assert sent.url == f"{BASE}/q?fixed=1&v=2"
    assert sent.template == f"{BASE}/q"


def test_a_body_of_fields_is_an_object_of_what_was_given() -> None:
    action = an_action("act", "POST", "/t", body=a_body(pb.BODY_ENCODING_JSON, "a", "b", "c"))
    sent = an_outbound(action, a=1, b=None)
    assert sent.body == b'{"a":1,"b":null}'
    assert sent.headers["Content-Type"] == "application/json"


def test_a_body_can_be_one_property_whole() -> None:
    body = pb.Body(encoding=pb.BODY_ENCODING_JSON, property="body", media_type="application/merge-patch+json")
    sent = an_outbound(an_action("act", "PATCH", "/t", body=body), body=[1, {"x": "ü"}])
    assert sent.body == '[1,{"x":"ü"}]'.encode()
    assert sent.headers["Content-Type"] == "application/merge-patch+json"


def test_a_body_that_is_not_given_is_not_sent_unless_it_is_required() -> None:
    action = an_action("act", "POST", "/t", body=pb.Body(encoding=pb.BODY_ENCODING_JSON, property="body"))
    assert an_outbound(action).body is None
    action.request.body.required = True
    assert violations(action) == {"input.body": "is required"}


def test_a_form_body_follows_each_fields_style() -> None:
    action = an_action("act", "POST", "/t", body=a_body(pb.BODY_ENCODING_FORM, "a", "items", "deep", "plain", "none"))
    action.request.body.fields[2].style = pb.STYLE_DEEP_OBJECT
    sent = an_outbound(action, a="x y&z", items=["1", "2"], deep={"k": {"l": 1}}, plain={"k": 1}, none=None)
    assert sent.body == b"a=x+y%26z&items=1&items=2&deep%5Bk%5D%5Bl%5D=1&plain=%7B%22k%22%3A1%7D"
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_multipart_body_is_read_back_by_a_parser_of_somebody_else() -> None:
    action = an_action("act", "POST", "/t", body=a_body(pb.BODY_ENCODING_MULTIPART, "file", "note", "data", "tags"))
    action.request.body.fields[0].media_type = "image/png"
    content = bytes(range(256))
    encoded = base64.b64encode(content).decode()
    sent = an_outbound(action, file=encoded, note='say "hi"\r\n', data={"a": 1}, tags=["x", "y"])
    assert sent.body is not None
    head = f"Content-Type: {sent.headers['Content-Type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + sent.body).get_payload()
    assert isinstance(parts, list)
    read = [(part.get_param("name", header="content-disposition"), part) for part in parts if isinstance(part, Message)]
    assert [name for name, _ in read] == ["file", "note", "data", "tags", "tags"]
    assert b"\r\n\r\n" + content + b"\r\n--" in sent.body
    assert read[0][1].get_content_type() == "image/png"
    assert read[0][1].get_filename() == "file"
    assert read[1][1].get_payload() == 'say "hi"\r\n'
    assert json.loads(str(read[2][1].get_payload())) == {"a": 1}


def test_a_part_is_base64_where_its_schema_says_so_whatever_its_media_type() -> None:
    encoded = {"type": "string", "contentEncoding": "base64"}
    schema = {"type": "object", "properties": {"csv": encoded, "many": {"type": "array", "items": encoded}, "note": {}}}
    action = an_action(
        "act", "POST", "/t", schema=schema, body=a_body(pb.BODY_ENCODING_MULTIPART, "csv", "many", "note")
    )
    for field, media_type in zip(action.request.body.fields, ("text/csv", "", "text/plain"), strict=True):
        field.media_type = media_type
    sent = an_outbound(action, csv="YSxi", many=["Yw==", "ZA=="], note="YSxi").body or b""
    assert b"Content-Type: text/csv\r\n\r\na,b\r\n" in sent
    assert sent.count(b"Content-Type: application/octet-stream\r\n") == 2
    assert b"Content-Type: text/plain\r\n\r\nYSxi\r\n" in sent
    assert violations(action, csv="?") == {"input.csv": "must be base64 (RFC 4648 section 4, with padding)"}


def test_binary_and_text_bodies_go_as_they_are() -> None:
    binary = an_action("act", "PUT", "/t", body=pb.Body(encoding=pb.BODY_ENCODING_BINARY, property="body"))
    assert an_outbound(binary, body="AAEC").body == b"\x00\x01\x02"
    text = an_action("act", "PUT", "/t", body=pb.Body(encoding=pb.BODY_ENCODING_TEXT, property="body"))
    assert an_outbound(text, body="grüß").body == "grüß".encode()


@pytest.mark.parametrize("value", ["no base64!", "AAE", 7, None, ["AAEC"]])
def test_what_is_no_base64_is_refused_by_name(value: Any) -> None:
    action = an_action("act", "PUT", "/t", body=pb.Body(encoding=pb.BODY_ENCODING_BINARY, property="body"))
    assert violations(action, body=value) == {"input.body": "must be base64 (RFC 4648 section 4, with padding)"}


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\x7fb", ["ok", "a\rb"]])
def test_a_header_value_cannot_begin_another_header(value: Any) -> None:
    action = an_action("act", "GET", "/t", a_parameter("h", HEADER, name="X-H"))
    assert violations(action, h=value) == {"input.h": "must not hold control characters"}


def test_a_cookie_value_cannot_begin_another_cookie_or_header() -> None:
    sent = an_outbound(an_action("act", "GET", "/t", a_parameter("c", COOKIE)), c="a; b=c\r\nX: y")
    assert sent.headers["Cookie"] == "c=a%3B%20b%3Dc%0D%0AX%3A%20y"


@pytest.mark.parametrize("value", ["..", ".", "", "a/../..", "../admin", "%2e%2E", "a/.%2e/b", "%2E"])
def test_a_path_value_cannot_lead_elsewhere(value: str) -> None:
    action = an_action("act", "GET", "/p/{v}", a_parameter("v", PATH, allow_reserved=True))
    assert list(violations(action, v=value)) == ["input.v"]


@pytest.mark.parametrize("levels", [100, 300, 1000])
@pytest.mark.parametrize("style", [pb.STYLE_UNSPECIFIED, pb.STYLE_FORM, pb.STYLE_DEEP_OBJECT])
def test_what_is_nested_too_deeply_to_be_written_is_refused_by_name(levels: int, style: pb.Style.ValueType) -> None:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    form = a_body(pb.BODY_ENCODING_FORM, "b")
    form.fields[0].style = style
    for action in (
        an_action("act", "POST", "/t", body=form),
        an_action("act", "GET", "/t", a_parameter("b", style=style)),
    ):
        try:
            an_outbound(action, b=value)
        except InvalidFields as refused:
            assert [violation.field for violation in refused.violations] == ["input.b"]
        else:
            assert levels == 100


def test_a_path_value_is_required() -> None:
    action = an_action("act", "GET", "/p/{v}", a_parameter("v", PATH))
    assert violations(action) == {"input.v": "is required"}
    assert violations(action, v=None) == {"input.v": "is required"}


def test_all_problems_are_told_at_once() -> None:
    action = an_action(
        "act", "POST", "/p/{v}", a_parameter("v", PATH), a_parameter("h", HEADER),
        body=pb.Body(encoding=pb.BODY_ENCODING_BINARY, property="body"),
    )  # fmt: skip
    assert set(violations(action, h="\n", body=1)) == {"input.v", "input.h", "input.body"}


def test_an_input_that_no_place_takes_is_refused() -> None:
    schema = {"type": "object", "properties": {"page": {"type": "integer"}, "note": {"type": "string"}}}
    action = an_action("act", "GET", "/t", a_parameter("page"), schema=schema)
    assert an_outbound(action, page=1, note="described, and so allowed").url == f"{BASE}/t?page=1"
    assert violations(action, paeg=1) == {"input.paeg": "is not an input of this action"}


def test_the_schema_is_applied_with_the_shared_ones_that_it_reaches() -> None:
    action = an_action(
        "act", "POST", "/t", body=a_body(pb.BODY_ENCODING_JSON, "who"),
        schema={"type": "object", "required": ["who"], "properties": {"who": {"$ref": "#/$defs/Person"}}},
    )  # fmt: skip
    shared = {
        "Person": {"type": "object", "properties": {"name": {"$ref": "#/$defs/Name"}}},
        "Name": {"type": "string", "minLength": 2},
        "Unreached": {"$ref": "https://elsewhere.example/schema"},
    }
    prepared = Definition(a_definition(action, schemas_json=json.dumps(shared))).action("act")
    prepared.check({"who": {"name": "Ada"}})
    with pytest.raises(InvalidFields) as refused:
        prepared.check({"who": {"name": "A"}})
    assert [violation.field for violation in refused.value.violations] == ["input.who.name"]
    with pytest.raises(InvalidFields) as refused:
        prepared.check({})
    assert [violation.field for violation in refused.value.violations] == ["input.who"]


def test_a_number_that_json_cannot_carry_is_refused_by_name() -> None:
    action = an_action(
        "act", "POST", "/t", a_parameter("q"), body=pb.Body(encoding=pb.BODY_ENCODING_JSON, property="b")
    )
    assert set(violations(action, q=2**70, b=[2**70])) == {"input.q", "input.b"}


@pytest.mark.parametrize(
    "broken",
    [
        an_action("act", "TRACE"),
        an_action("act", "GET", "/p/{v}"),
        an_action("act", "GET", "/../admin"),
        an_action("act", "GET", "/t", a_parameter("v", HEADER, name="Content-Length")),
        an_action("act", "GET", "/t", a_parameter("v", HEADER, name="Host")),
        an_action("act", "GET", "/t", a_parameter("v", HEADER, name="Proxy-Authorization")),
        an_action("act", "GET", "/t", a_parameter("v", HEADER, name="X Y")),
        an_action("act", "GET", "/t", a_parameter("v", COOKIE, name="a;b")),
        an_action("act", "GET", "/t", pb.Parameter(property="v", name="v")),
        an_action("act", "GET", "/t", headers={"Transfer-Encoding": "chunked"}),
        an_action("act", "GET", "/t", headers={"X-A": "a\r\nb"}),
        an_action("act", "POST", "/t", body=pb.Body(property="b")),
        an_action("act", "POST", "/t", body=pb.Body(encoding=pb.BODY_ENCODING_JSON, media_type="a\r\nX: y")),
        pb.Action(id="act", input_schema_json="{", request=pb.RequestPlan(method="GET", path="/")),
        an_action("act", "GET", "/t", schema={"$ref": "https://elsewhere.example/schema"}),
    ],
)
def test_a_definition_that_cannot_be_followed_says_so(broken: pb.Action) -> None:
    with pytest.raises(StateConflict) as refused:
        Definition(a_definition(broken)).action("act")
    assert refused.value.metadata["state"] == "unusable"


def test_an_action_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        Definition(a_definition()).action("act")


def test_an_action_is_prepared_once() -> None:
    definition = Definition(a_definition(an_action()))
    assert definition.action("act") is definition.action("act")


@pytest.mark.parametrize(
    ("method", "declared", "safe", "repeatable"),
    [
        ("GET", pb.IDEMPOTENCY_UNSPECIFIED, True, True),
        ("PUT", pb.IDEMPOTENCY_UNSPECIFIED, False, True),
        ("DELETE", pb.IDEMPOTENCY_UNSPECIFIED, False, True),
        ("POST", pb.IDEMPOTENCY_UNSPECIFIED, False, False),
        ("PATCH", pb.IDEMPOTENCY_UNSPECIFIED, False, False),
        ("POST", pb.IDEMPOTENCY_SAFE, True, True),
        ("POST", pb.IDEMPOTENCY_IDEMPOTENT, False, True),
        ("GET", pb.IDEMPOTENCY_NOT_IDEMPOTENT, False, False),
    ],
)
def test_how_safe_it_is_to_send_twice(
    method: str, declared: pb.Idempotency.ValueType, safe: bool, repeatable: bool
) -> None:
    action: Action = Definition(a_definition(an_action("act", method, idempotency=declared))).action("act")
    assert (action.safe, action.repeatable) == (safe, repeatable)


def test_what_may_be_shown_of_a_request_holds_no_values() -> None:
    action = an_action("act", "GET", "/p/{v}", a_parameter("v", PATH), a_parameter("h", HEADER), a_parameter("q"))
    assert "canary" not in repr(an_outbound(action, v="canary", h="canary", q="canary"))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
ANYTHING = an_action(
    "act", "POST", "/p/{a}/{b}/x{c}",
    a_parameter("a", PATH), a_parameter("b", PATH, allow_reserved=True), a_parameter("c", PATH, style=pb.STYLE_MATRIX),
    a_parameter("d"), a_parameter("e", style=pb.STYLE_DEEP_OBJECT), a_parameter("f", allow_reserved=True),
    a_parameter("g", HEADER), a_parameter("h", COOKIE), a_parameter("i", json=True),
    body=a_body(pb.BODY_ENCODING_FORM, "j"),
)  # fmt: skip
PREPARED = Definition(a_definition(ANYTHING)).action("act")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys("abcdefghij", values)))
def test_whatever_the_input_the_request_stays_where_it_belongs(given_input: dict[str, Any]) -> None:
    try:
        sent = PREPARED.plan.outbound(given_input, BASE, BASE)
    except InvalidFields as refused:
        assert {violation.field.split(".")[1] for violation in refused.violations} <= set("abcdefghij")
        return
    url = check_url(sent.url, {"api.vendor.example"})
    assert url.raw_path.startswith("/v1/p/")
    assert not {".", ".."} & set(urlsplit(sent.url).path.split("/"))
    assert not any(ord(character) < 32 and character != "\t" for value in sent.headers.values() for character in value)
