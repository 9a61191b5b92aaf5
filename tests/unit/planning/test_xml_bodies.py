"""JSON values as XML, read back by a parser of somebody else."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import InvalidFields, StateConflict
from cordboard.planning.xml_bodies import MAX_DEPTH, Unwritable, xml
from cordboard.proxy.definitions import Definition
from tests.unit.proxy.samples import a_body, a_definition, an_action

BASE = "https://api.vendor.example/v1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "Desk", "count": 3, "old": False}, "<r><name>Desk</name><count>3</count><old>false</old></r>"),
        ({"tag": ["a", "b"], "none": None, "gaps": [None, "c"]}, "<r><tag>a</tag><tag>b</tag><gaps>c</gaps></r>"),
        ({"@xmlns": "urn:x", "n:a": {"@id": 7, "#text": "t"}}, '<r xmlns="urn:x"><n:a id="7">t</n:a></r>'),
        ({"a": {"b": {"c": ""}}}, "<r><a><b><c/></b></a></r>"),
        ({"a": {"#text": "x", "b": 1}}, "<r><a>x<b>1</b></a></r>"),
        ({}, "<r/>"),
        ("a < b & c > d", "<r>a &lt; b &amp; c &gt; d</r>"),
        ({"@q": '"it\'s"\n'}, '<r q="&quot;it\'s&quot;&#10;"/>'),
        ({"t": "]]>\r"}, "<r><t>]]&gt;&#13;</t></r>"),
        ({"t": "<!DOCTYPE x [<!ENTITY e 'v'>]>&e;"}, "<r><t>&lt;!DOCTYPE x [&lt;!ENTITY e 'v'&gt;]&gt;&amp;e;</t></r>"),
    ],
)
def test_values_become_elements_attributes_and_text(value: Any, expected: str) -> None:
    assert xml("r", value).decode() == expected


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([1], "one root"),
        ({"a b": 1}, "element"),
        ({"a><b": 1}, "element"),
        ({"": 1}, "element"),
        ({"@a b": 1}, "attribute"),
        ({"@a": {"b": 1}}, "text alone"),
        ({"#text": [1]}, "text alone"),
        ({"a": [[1]]}, "text alone"),
        ({"a": "\x00"}, "character"),
        ({"a": "\ud800"}, "character"),
        ({"a": "\ufffe"}, "character"),
    ],
)
def test_what_has_no_form_in_xml_is_refused_and_not_quoted(value: Any, problem: str) -> None:
    with pytest.raises(Unwritable, match=problem):
        xml("r", value)


def test_depth_is_bounded() -> None:
    def deep(levels: int) -> Any:
        return {"a": deep(levels - 1)} if levels else "x"

    assert xml("r", deep(MAX_DEPTH - 1)).count(b"<a>") == MAX_DEPTH - 1
    with pytest.raises(Unwritable, match="deeper"):
        xml("r", deep(MAX_DEPTH))


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,5}", fullmatch=True).filter(lambda name: name[:3].lower() != "xml")
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8)
leaves = texts | st.sampled_from(["a\tb\n", "\r\n", " "])
trees = st.recursive(
    st.dictionaries(names.map(lambda name: f"@{name}"), leaves, max_size=2).map(lambda value: value | {"#text": "t"}),
    lambda inner: st.dictionaries(names, leaves | st.lists(inner, min_size=1, max_size=3) | inner, max_size=3),
    max_leaves=6,
)


def read(element: Element) -> Any:
    """Reads an element back; the text of one that has children or attributes is its member `#text`."""
    value: dict[str, Any] = {f"@{name}": text for name, text in element.attrib.items()}
    for child in element:
        value.setdefault(child.tag, []).append(read(child))
    if element.text:
        value["#text"] = element.text
    return value


def told(value: Any) -> Any:
    """Returns what `read` should find of a value."""
    if not isinstance(value, dict):
        return {"#text": value} if value else {}
    found: dict[str, Any] = {}
    for key, member in value.items():
        if key.startswith(("@", "#")):
            found[key] = member
        else:
            found[key] = [told(item) for item in (member if isinstance(member, list) else [member])]
    return found


@given(trees)
def test_a_parser_reads_back_what_was_written(tree: dict[str, Any]) -> None:
    assert read(fromstring(xml("root", tree))) == told(tree)


def an_order(**fields: Any) -> pb.Action:
    body = a_body(pb.BODY_ENCODING_XML, "sku", "note", xml_root="order", **fields)
    return an_action("act", "POST", "/orders", body=body)


def test_an_xml_body_has_its_root_its_members_and_its_media_type() -> None:
    plan = Definition(a_definition(an_order())).action("act").plan
    sent = plan.outbound({"sku": "A&1", "note": "grün"}, BASE, BASE)
    assert sent.body == "<order><sku>A&amp;1</sku><note>grün</note></order>".encode()
    assert sent.headers["Content-Type"] == "application/xml"
    soap = Definition(a_definition(an_order(media_type="application/soap+xml"))).action("act").plan
    assert soap.outbound({"sku": "1"}, BASE, BASE).headers["Content-Type"] == "application/soap+xml"
    assert plan.outbound({}, BASE, BASE).body is None


def test_the_property_that_xml_cannot_carry_is_named() -> None:
    plan = Definition(a_definition(an_order())).action("act").plan
    with pytest.raises(InvalidFields) as refused:
        plan.outbound({"sku": "1", "note": {"a b": 1}}, BASE, BASE)
    assert [violation.field for violation in refused.value.violations] == ["input.note"]


@pytest.mark.parametrize("root", ["", "a b", "1a", "a:b:c", "é"])
def test_a_root_that_is_no_name_is_refused(root: str) -> None:
    body = a_body(pb.BODY_ENCODING_XML, "a", xml_root=root)
    with pytest.raises(StateConflict, match="root"):
        Definition(a_definition(an_action("act", "POST", "/t", body=body))).action("act")
