"""Values as text: the examples of RFC 6570 section 3.2 and of OpenAPI 3.1's style table."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning import styles

LIST = ["red", "green", "blue"]
KEYS = {"semi": ";", "dot": ".", "comma": ","}
PATH = "/foo/bar"
HALF = "50%"


@pytest.mark.parametrize(
    ("value", "explode", "expected"),
    [
        ("value", False, "value"),
        ("Hello World!", False, "Hello%20World%21"),
        (HALF, False, "50%25"),
        (PATH, False, "%2Ffoo%2Fbar"),
        (LIST, False, "red,green,blue"),
        (LIST, True, "red,green,blue"),
        (KEYS, False, "semi,%3B,dot,.,comma,%2C"),
        (KEYS, True, "semi=%3B,dot=.,comma=%2C"),
        (True, False, "true"),
        (1024, False, "1024"),
        (1.5, False, "1.5"),
        ("ü", False, "%C3%BC"),
    ],
)
def test_simple_expansion(value: Any, explode: bool, expected: str) -> None:
    assert styles.simple(value, explode=explode) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("value", "value"), ("Hello World!", "Hello%20World!"), (HALF, "50%25"), (PATH, PATH)]
)
def test_reserved_expansion_keeps_what_cannot_end_the_path(value: str, expected: str) -> None:
    assert styles.simple(value, explode=False, quoted=styles.keep_in_path) == expected


def test_reserved_expansion_keeps_what_is_encoded_already() -> None:
    assert styles.keep_in_path("a%2Fb%zz%2") == "a%2Fb%25zz%252"
    assert styles.keep_in_query("a%26b%252F") == "a%26b%252F"


def test_reserved_expansion_still_encodes_what_would_end_its_part() -> None:
    assert styles.keep_in_path("a?b#c") == "a%3Fb%23c"
    assert styles.keep_in_query("a&b=c#d+e") == "a%26b%3Dc%23d%2Be"


@pytest.mark.parametrize(
    ("value", "explode", "expected"),
    [
        ("value", False, ".value"),
        (HALF, False, ".50%25"),
        (LIST, False, ".red,green,blue"),
        (LIST, True, ".red.green.blue"),
        (KEYS, False, ".semi,%3B,dot,.,comma,%2C"),
        (KEYS, True, ".semi=%3B.dot=..comma=%2C"),
        ([], False, ""),
    ],
)
def test_label_expansion(value: Any, explode: bool, expected: str) -> None:
    assert styles.label(value, explode=explode) == expected


@pytest.mark.parametrize(
    ("name", "value", "explode", "expected"),
    [
        ("who", "fred", False, ";who=fred"),
        ("half", HALF, False, ";half=50%25"),
        ("empty", "", False, ";empty"),
        ("list", LIST, False, ";list=red,green,blue"),
        ("list", LIST, True, ";list=red;list=green;list=blue"),
        ("keys", KEYS, False, ";keys=semi,%3B,dot,.,comma,%2C"),
        ("keys", KEYS, True, ";semi=%3B;dot=.;comma=%2C"),
        ("none", [], False, ""),
    ],
)
def test_matrix_expansion(name: str, value: Any, explode: bool, expected: str) -> None:
    assert styles.matrix(name, value, explode=explode) == expected


@pytest.mark.parametrize(
    ("value", "style", "explode", "expected"),
    [
        ("fred", pb.STYLE_FORM, True, "a=fred"),
        ("", pb.STYLE_FORM, True, "a="),
        (LIST, pb.STYLE_FORM, False, "a=red,green,blue"),
        (LIST, pb.STYLE_FORM, True, "a=red&a=green&a=blue"),
        (KEYS, pb.STYLE_FORM, False, "a=semi,%3B,dot,.,comma,%2C"),
        (KEYS, pb.STYLE_FORM, True, "semi=%3B&dot=.&comma=%2C"),
        ([], pb.STYLE_FORM, True, ""),
        ([], pb.STYLE_FORM, False, ""),
        ([None, "x"], pb.STYLE_FORM, True, "a=x"),
        (LIST, pb.STYLE_SPACE_DELIMITED, False, "a=red%20green%20blue"),
        (LIST, pb.STYLE_PIPE_DELIMITED, False, "a=red%7Cgreen%7Cblue"),
        ({"R": 100, "G": 200}, pb.STYLE_DEEP_OBJECT, True, "a%5BR%5D=100&a%5BG%5D=200"),
        ({"x": {"y": [1, 2]}}, pb.STYLE_DEEP_OBJECT, True, "a%5Bx%5D%5By%5D%5B%5D=1&a%5Bx%5D%5By%5D%5B%5D=2"),
        ([{"p": 1}, {"p": 2}], pb.STYLE_DEEP_OBJECT, True, "a%5B0%5D%5Bp%5D=1&a%5B1%5D%5Bp%5D=2"),
        ({"x": {"y": 1}}, pb.STYLE_FORM, True, "x=%7B%22y%22%3A1%7D"),
    ],
)
def test_query_expansion(value: Any, style: int, explode: bool, expected: str) -> None:
    assert "&".join(styles.query("a", value, style, explode=explode)) == expected


@given(st.text(st.characters(codec="utf-8")))
def test_encoding_is_undone_by_decoding(value: str) -> None:
    assert unquote(styles.encode(value)) == value
    assert parse_qsl(f"a={styles.encode_form(value)}", keep_blank_values=True) == [("a", value)]
