"""Config variables and constants: what goes into a request that no input gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import EgressDenied, InvalidFields, StateConflict
from cordboard.core.schema import JsonSchema
from cordboard.core.secrets import Secret
from cordboard.core.variables import meant
from cordboard.planning.plan import Outbound
from cordboard.planning.servers import Place, Servers
from cordboard.planning.variables import Values, Variables
from cordboard.proxy.definitions import Definition
from tests.unit.proxy.samples import COOKIE, HEADER, PATH, QUERY, a_body, a_definition, a_parameter, an_action

BASE = "https://api.vendor.example/v1"
BODY = pb.PLACEMENT_BODY


def a_variable(name: str, *, schema: Any = None, default: Any = None, **fields: Any) -> pb.ConfigVariable:
    return pb.ConfigVariable(
        name=name,
        schema_json=json.dumps(schema) if schema is not None else "",
        default_value_json=json.dumps(default) if default is not None else "",
        **fields,
    )


def fixed(placement: pb.Placement.ValueType, name: str, value: Any) -> pb.Constant:
    return pb.Constant(placement=placement, name=name, value_json=json.dumps(value))


def taken(placement: pb.Placement.ValueType, name: str, variable: str = "it") -> pb.Constant:
    return pb.Constant(placement=placement, name=name, config_variable=variable)


def values_of(*variables: pb.ConfigVariable, secrets: dict[str, str] | None = None, **given: str) -> Values:
    return Variables(a_definition(config_variables=variables)).values(given, Secret(secrets or {}))


def sent(
    *constants: pb.Constant,
    action: pb.Action | None = None,
    given: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
    **set_to: str,
) -> Outbound:
    """Returns the request of an action with these constants, where the variables are set to these values."""
    one = action or an_action("act", "POST", "/t", body=a_body(pb.BODY_ENCODING_JSON, "a"))
    one.request.constants.extend(constants)
    variables = [pb.ConfigVariable(name=name) for name in {"it", *set_to}]
    variables += [pb.ConfigVariable(name=name, secret=True) for name in secrets or ()]
    definition = Definition(a_definition(one, config_variables=variables))
    values = definition.variables.values(set_to, Secret(secrets or {}))
    return definition.action("act").plan.outbound(given or {}, BASE, BASE, values)


# What a value is.


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("blue", None, "blue"),
        ("5", None, "5"),
        ("5", {"type": "string"}, "5"),
        ("5", {"type": "integer"}, 5),
        ("2.5", {"type": "number"}, 2.5),
        ("true", {"type": "boolean"}, True),
        ("5", {"enum": ["5", 5]}, "5"),
        ("eu", {"enum": ["eu", "us"]}, "eu"),
    ],
)
def test_a_text_stands_for_what_its_schema_asks_for(text: str, schema: Any, value: Any) -> None:
    found = meant(text, None if schema is None else JsonSchema.compile(schema))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("canary", {"type": "integer"}),
        ("canary", {"enum": ["eu"]}),
        ("[1]", {"type": "array"}),
        ("null", {"type": "null"}),
        ("canary", {"maxLength": 3}),
        ("1e999", {"type": "integer"}),
    ],
)
def test_a_text_that_does_not_fit_is_refused_and_not_quoted(text: str, schema: Any) -> None:
    with pytest.raises(ValueError, match="schema") as refused:
        meant(text, JsonSchema.compile(schema))
    assert "canary" not in str(refused.value)
    with pytest.raises(StateConflict) as told:
        values_of(a_variable("it", schema=schema), it=text)
    assert told.value.metadata["variable"] == "it"
    assert "canary" not in told.value.text


def test_a_default_stands_in_for_what_nobody_has_set() -> None:
    variable = a_variable("it", schema={"type": "integer"}, default=7)
    assert values_of(variable).of("it") == 7
    assert values_of(variable, it="8").of("it") == 8
    assert values_of(variable, it="").of("it") == 7
    assert values_of(a_variable("it")).of("it") is None


def test_a_required_variable_without_a_value_is_named() -> None:
    with pytest.raises(StateConflict, match="'it' has no value: set it") as refused:
        values_of(a_variable("it", required=True), a_variable("other"))
    assert refused.value.metadata["variable"] == "it"
    assert values_of(a_variable("it", required=True, default="x")).of("it") == "x"
    assert values_of(a_variable("it", required=True), it="y").of("it") == "y"


def test_a_secret_comes_from_among_the_secrets_alone() -> None:
    pin = a_variable("pin", secret=True, required=True)
    assert values_of(pin, secrets={"pin": "1"}, pin="2").of("pin") == "1"
    with pytest.raises(StateConflict):
        values_of(pin, pin="2")
    assert "canary" not in repr(values_of(pin, secrets={"pin": "canary"}))


# Where a constant goes.


def test_each_place_gets_its_constants() -> None:
    action = an_action("act", "POST", "/{kind}/{id}/x", a_parameter("id", PATH), a_parameter("q"),
                       body=a_body(pb.BODY_ENCODING_JSON, "a"))  # fmt: skip
    request = sent(
        fixed(PATH, "kind", "big/things"), fixed(QUERY, "v", 2), fixed(QUERY, "in", ["a", "b"]),
        fixed(HEADER, "X-Api", 7), fixed(COOKIE, "site", "a b"), fixed(BODY, "deep", {"a": [1]}),
        fixed(BODY, "none", None), fixed(QUERY, "o", {"a": 1}),
        action=action, given={"id": "1", "q": "x", "a": True},
    )  # fmt: skip
    assert request.url == f"{BASE}/big%2Fthings/1/x?q=x&v=2&in=a&in=b&o=%7B%22a%22%3A1%7D"
    assert request.template == f"{BASE}/{{kind}}/{{id}}/x"
    assert (request.headers["X-Api"], request.headers["Cookie"]) == ("7", "site=a%20b")
    assert json.loads(request.body or b"") == {"a": True, "deep": {"a": [1]}, "none": None}


def test_a_variable_stands_where_a_constant_names_it_and_nothing_is_sent_without_a_value() -> None:
    constants = (taken(QUERY, "team"), taken(HEADER, "X-Team"), taken(COOKIE, "team"), taken(BODY, "team"))
    request = sent(*constants, it="blue")
    assert request.url == f"{BASE}/t?team=blue"
    assert (request.headers["X-Team"], request.headers["Cookie"], request.body) == (
        "blue", "team=blue", b'{"team":"blue"}',
    )  # fmt: skip
    without = sent(*constants)
    assert (without.url, without.body) == (f"{BASE}/t", None)
    assert not {"X-Team", "Cookie"} & set(without.headers)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (pb.BODY_ENCODING_JSON, b'{"a":1,"source":"mesh"}'),
        (pb.BODY_ENCODING_FORM, b"a=1&source=mesh"),
        (pb.BODY_ENCODING_XML, b"<r><a>1</a><source>mesh</source></r>"),
    ],
)
def test_a_constant_is_a_member_of_every_body_that_has_members(
    encoding: pb.BodyEncoding.ValueType, body: bytes
) -> None:
    root = "r" if encoding == pb.BODY_ENCODING_XML else ""
    action = an_action("act", "POST", "/t", body=a_body(encoding, "a", xml_root=root))
    assert sent(fixed(BODY, "source", "mesh"), action=action, given={"a": 1}).body == body


def test_a_constant_is_a_part_of_a_multipart_body() -> None:
    action = an_action("act", "POST", "/t", body=a_body(pb.BODY_ENCODING_MULTIPART, "a"))
    request = sent(fixed(BODY, "source", "mesh"), action=action, given={"a": 1})
    assert b'name="source"\r\n\r\nmesh\r\n--' in (request.body or b"")


def test_no_input_replaces_a_constant() -> None:
    free, words = a_parameter("free"), a_parameter("words", COOKIE)
    body = a_body(pb.BODY_ENCODING_FORM, "more")
    body.fields[0].style = pb.STYLE_FORM
    action = an_action("act", "POST", "/t", free, words, body=body)
    forged = {"key": "forged", "other": "kept"}
    request = sent(
        fixed(QUERY, "key", "real"), fixed(COOKIE, "key", "real"), fixed(BODY, "key", "real"),
        action=action, given={"free": forged, "words": forged, "more": forged},
    )  # fmt: skip
    assert request.url == f"{BASE}/t?other=kept&key=real"
    assert request.headers["Cookie"] == "other=kept; key=real"
    assert request.body == b"other=kept&key=real"


def test_a_secret_variable_is_sent_and_never_shown() -> None:
    constants = [taken(place, "X-Salt", "salt") for place in (QUERY, HEADER, COOKIE, BODY)]
    request = sent(*constants, secrets={"salt": "canary"})
    assert "canary" in request.url
    assert request.headers["X-Salt"] == "canary"
    assert b"canary" in (request.body or b"")
    assert "canary" not in repr(request)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\0"])
def test_a_variable_that_cannot_stand_in_a_header_is_named(value: str) -> None:
    with pytest.raises(StateConflict, match="'it' cannot stand in a header"):
        sent(taken(HEADER, "X-It"), it=value)


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_variable_that_would_lead_elsewhere_in_the_path_is_named(value: str) -> None:
    with pytest.raises(StateConflict, match="'it' has") as refused:
        sent(taken(PATH, "it"), action=an_action("act", "GET", "/p/{it}/x"), it=value)
    assert refused.value.metadata["variable"] == "it"


@pytest.mark.parametrize(
    "constant",
    [
        fixed(HEADER, "Host", "evil.example"),
        fixed(HEADER, "X-A", "a\r\nb"),
        fixed(COOKIE, "a;b", 1),
        fixed(BODY, "a", 1),
        fixed(PATH, "p", ".."),
    ],
)
def test_a_constant_that_cannot_be_sent_makes_the_action_unusable(constant: pb.Constant) -> None:
    path = "/{p}/t" if constant.placement == PATH else "/t"
    with pytest.raises(StateConflict, match=r"header|cookie|body|hole") as refused:
        sent(constant, action=an_action("act", "GET", path))
    assert refused.value.metadata["state"] == "unusable"


# Where a variable leads.

HOST = pb.Server(id="own", url="https://{host}/api")
CLOUD = pb.Server(id="cloud", url="https://cloud.example")


def place(*servers: pb.Server, variables: Any = (), chosen: str = "", **given: str) -> Place:
    found = Servers(a_definition(servers=servers, config_variables=variables))
    values = Variables(a_definition(config_variables=variables)).values(given, Secret({}))
    return found.place(given, "", found.choice(chosen, values))


def test_a_servers_url_is_filled_from_config_variables() -> None:
    host = a_variable("host", default="eu.desk.example")
    assert place(HOST, variables=[host]).base == "https://eu.desk.example/api"
    own = place(HOST, variables=[host], host="acme.desk.example")
    assert (own.base, list(own.hosts)) == ("https://acme.desk.example/api", ["acme.desk.example"])
    assert own.template == "https://{host}/api"


@pytest.mark.parametrize(
    "value",
    [
        "evil.example/#",
        "a@b.example",
        "b.example:x",
        "b.example:84430000",
        "a b",
        "..",
        "https://a.example/x",
        "http://a.example",
        "https://a@b.example",
        "b.example:80:81",
        "//b.example",
        "b.example\n",
        "[::1]",
    ],
)
def test_a_variable_that_would_change_the_url_is_refused(value: str) -> None:
    with pytest.raises(StateConflict) as refused:
        place(HOST, variables=[a_variable("host")], host=value)
    assert refused.value.metadata["variable"] == "host"
    assert value not in refused.value.text


@pytest.mark.parametrize("given", ["acme.example:8443", "https://acme.example:8443", "https://acme.example:8443/"])
def test_where_a_whole_host_belongs_it_may_have_a_port_or_be_a_url(given: str) -> None:
    found = place(HOST, variables=[a_variable("host")], host=given)
    assert (found.base, list(found.hosts)) == ("https://acme.example:8443/api", ["acme.example:8443"])
    own = pb.Server(url="https://{host}/api", variables=[pb.ServerVariable(name="host")])
    assert place(own, host=given).base == "https://acme.example:8443/api"
    with pytest.raises(StateConflict):
        place(pb.Server(url="https://{host}.desk.example"), variables=[a_variable("host")], host=given)


@pytest.mark.parametrize(
    "given", ["acme", "acme.desk.example", "https://acme.desk.example/", "https://acme.desk.example"]
)
def test_where_a_part_of_a_host_belongs_it_is_taken_out_of_the_host(given: str) -> None:
    server = pb.Server(url="https://{site}.desk.example/api")
    assert place(server, variables=[a_variable("site")], site=given).base == "https://acme.desk.example/api"


@pytest.mark.parametrize("given", ["https://evil.example", ".desk.example", "https://.desk.example", "a/.desk.example"])
def test_a_host_of_somebody_else_cannot_stand_there(given: str) -> None:
    with pytest.raises(StateConflict):
        place(pb.Server(url="https://{site}.desk.example/api"), variables=[a_variable("site")], site=given)


def test_a_missing_variable_of_the_url_is_named() -> None:
    with pytest.raises(StateConflict, match="'host' has no value") as refused:
        place(HOST, variables=[a_variable("host")])
    assert refused.value.metadata["variable"] == "host"


def test_a_host_that_the_list_does_not_name_is_refused_whatever_the_variable() -> None:
    listed = Servers(a_definition(
        servers=[HOST], config_variables=[a_variable("host")], allowed_hosts=["desk.example"]
    ))  # fmt: skip
    assert listed.place({"host": "desk.example"}).hosts == {"desk.example"}
    with pytest.raises(EgressDenied):
        listed.place({"host": "evil.example"})


def test_a_secret_never_stands_in_a_server() -> None:
    with pytest.raises(StateConflict):
        place(HOST, variables=[a_variable("host", secret=True)])


def test_a_variable_chooses_the_server() -> None:
    variables = [a_variable("host", default="own.example"), a_variable("where")]
    assert place(CLOUD, HOST, variables=variables, chosen="where").base == "https://cloud.example"
    assert place(CLOUD, HOST, variables=variables, chosen="where", where="own").base == "https://own.example/api"
    with pytest.raises(StateConflict, match="'where' names no server") as refused:
        place(CLOUD, HOST, variables=variables, chosen="where", where="moon")
    assert refused.value.metadata["variable"] == "where"


# The idempotency key.


def keyed(action: pb.Action, given: dict[str, Any] | None = None, key: str = "k-1") -> Outbound:
    plan = Definition(a_definition(action)).action("act").plan
    assert plan.takes_key
    return plan.outbound(given or {}, BASE, BASE, key=key)


def with_key(placement: pb.Placement.ValueType, name: str, body: pb.Body | None = None, **fields: Any) -> pb.Action:
    key = pb.IdempotencyKey(placement=placement, name=name)
    return an_action("act", "POST", "/t", a_parameter("q"), body=body, idempotency_key=key, **fields)


def test_the_key_goes_where_the_vendor_takes_it() -> None:
    assert keyed(with_key(HEADER, "X-Once"), {"q": "1"}).headers["X-Once"] == "k-1"
    assert keyed(with_key(QUERY, "request_id"), {"q": "1"}).url == f"{BASE}/t?q=1&request_id=k-1"
    assert keyed(with_key(QUERY, "request_id")).url == f"{BASE}/t?request_id=k-1"
    fields = a_body(pb.BODY_ENCODING_JSON, "a")
    assert keyed(with_key(BODY, "request_id", fields), {"a": 1}).body == b'{"a":1,"request_id":"k-1"}'
    assert keyed(with_key(BODY, "request_id", fields)).body == b'{"request_id":"k-1"}'
    whole = pb.Body(encoding=pb.BODY_ENCODING_JSON, property="body")
    assert keyed(with_key(BODY, "id", whole), {"body": {"id": "forged", "a": 1}}).body == b'{"id":"k-1","a":1}'
    assert keyed(with_key(BODY, "id", whole)).body == b'{"id":"k-1"}'
    xml = a_body(pb.BODY_ENCODING_XML, "a", xml_root="r")
    assert keyed(with_key(BODY, "id", xml), {"a": 1}).body == b"<r><a>1</a><id>k-1</id></r>"


def test_a_header_of_the_input_does_not_stand_beside_the_key() -> None:
    action = an_action("act", "POST", "/t", a_parameter("k", HEADER, name="x-once"), idempotency_key_header="X-Once")
    request = keyed(action, {"k": "forged"})
    assert [value for name, value in request.headers.items() if name.lower() == "x-once"] == ["k-1"]


def test_another_page_has_another_key_where_it_can() -> None:
    for placement, name in ((HEADER, "X-Once"), (QUERY, "once")):
        plan = Definition(a_definition(with_key(placement, name))).action("act").plan
        first = plan.outbound({}, BASE, BASE, key="k-1")
        second = plan.keyed(first.to(f"{BASE}/t?page=2&once=k-1"), "k-2")
        assert "k-2" in second.url + second.headers.get("X-Once", "")
        assert "k-1" not in second.headers.values()
    assert plan.keyed(first, "") is first


def test_a_body_that_is_no_object_cannot_take_a_key() -> None:
    action = with_key(BODY, "id", pb.Body(encoding=pb.BODY_ENCODING_JSON, property="body"))
    with pytest.raises(InvalidFields) as refused:
        keyed(action, {"body": [1]})
    assert [violation.field for violation in refused.value.violations] == ["input.body"]


@pytest.mark.parametrize(("placement", "name"), [(HEADER, "Host"), (HEADER, "a b"), (BODY, "id")])
def test_a_key_that_has_no_place_makes_the_action_unusable(placement: pb.Placement.ValueType, name: str) -> None:
    with pytest.raises(StateConflict, match=r"header|body"):
        keyed(with_key(placement, name))
