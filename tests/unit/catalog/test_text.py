"""YAML and JSON text to plain values: what is read, what is refused, and where."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest

from cordboard.catalog.text import MAX_BYTES, MAX_DEPTH, Position, parse
from cordboard.core.errors import DocumentInvalid


def refusal(text: str, *, refuse_duplicates: bool = True) -> DocumentInvalid:
    with pytest.raises(DocumentInvalid) as caught:
        parse(text, refuse_duplicates=refuse_duplicates)
    return caught.value


def value(text: str) -> object:
    return parse(text, refuse_duplicates=True).value


def test_yaml_is_read_by_the_rules_of_json_where_the_two_differ() -> None:
    read = value("[yes, on, 2020-01-01, 12:30:45, 0123, 1_000, 0x1F, 1e3, .5, -7, ~, null, true, 'true', .inf, '']")
    assert read == [
        *("yes", "on", "2020-01-01", "12:30:45", "0123", "1_000"),
        *(31, 1000.0, 0.5, -7, None, None, True, "true", ".inf", ""),
    ]


def test_keys_are_text_as_they_are_written() -> None:
    assert value("200: ok\non: x\nnull: y\n1.0: z") == {"200": "ok", "on": "x", "null": "y", "1.0": "z"}


def test_merge_keys_fill_in_what_a_mapping_does_not_say_itself() -> None:
    assert value("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}
    assert value("a: {<<: [{x: 1}, {x: 2, y: 2}]}") == {"a": {"x": 1, "y": 2}}
    assert value("a: {'<<': {x: 1}, y: 2}") == {"a": {"<<": {"x": 1}, "y": 2}}, "quoted, it is a name"


def test_json_and_yaml_of_the_same_thing_are_the_same() -> None:
    assert value('{"a": [1, 2.5, "x\\u00e9", null, true]}') == value("a:\n- 1\n- 2.5\n- xé\n- null\n- true\n")


def test_flow_yaml_that_is_not_json_is_read_too() -> None:
    assert value("{a: 1, b: [x, y,],}") == {"a": 1, "b": ["x", "y"]}
    assert value("[x, y]") == ["x", "y"]


def test_whole_numbers_beyond_64_bits_become_floats() -> None:
    assert value(f"[{2**64 - 1}, {2**64}, {-(2**63) - 1}]") == [2**64 - 1, float(2**64), float(-(2**63) - 1)]
    assert value(f"- {2**64 - 1}\n- {2**64}\n") == [2**64 - 1, float(2**64)]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb:\n  - x\n  - y: 2\n    y: 3\n", 5, 5, "'b[1].y' stands twice"),
        ('{"a": 1, "b": [1, {"c": 2,\n "c": 3}]}', 2, 2, "'b[1].c' stands twice"),
        ('{"a": 1,\n "b": }', 2, 7, "expecting value"),
        ("a: [1, 2\nb: 3", 2, 2, "YAML cannot be read"),
        ("a: b: c", 1, 5, "YAML cannot be read"),
        ("a: *nothing", 1, 4, "*nothing stands for nothing"),
        ("a: &a [*a]", 1, 8, "stands for nothing that ended"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "tag"),
        ("a: !custom x", 1, 4, "tag"),
        ("a: !!int x", 1, 4, "type of its tag"),
        ("? [a]\n: b", 1, 3, "a key must be text"),
        ("a: 1\n---\nb: 2", 2, 1, "second document"),
        ("a: {<<: 7}", 1, 10, "takes a mapping"),
        ("a: 1e999", 1, 4, "too large"),
    ],
)
def test_what_is_wrong_is_named_with_its_position(text: str, line: int, column: int, words: str) -> None:
    error = refusal(text)
    assert words in error.text
    assert error.metadata == {"line": str(line), "column": str(column)}


@pytest.mark.parametrize("text", ["", "  \n\t\n", "\ufeff", "# nothing\n"])
def test_an_empty_document_is_refused(text: str) -> None:
    assert "empty" in refusal(text).text


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', "[1e999]", '{"a": "\\ud800"}', '{"\\udfff": 1}'])
def test_what_json_cannot_hold_is_refused(text: str) -> None:
    assert refusal(text)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert value('["\\ud83d\\ude00"]') == ["😀"]


def test_a_duplicate_key_may_be_reported_instead() -> None:
    for text in ("a: {x: 1, x: 2}", '{"a": {"x": 1, "x": 2}}'):
        parsed = parse(text, refuse_duplicates=False)
        assert parsed.value == {"a": {"x": 2}}
        assert parsed.duplicates == (("a", "x"),)


def test_nesting_has_a_limit_and_what_is_at_the_limit_is_read() -> None:
    assert value("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
    for text in (
        "[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1),
        "- " * (MAX_DEPTH + 1) + "1",
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 1_000_000,
        "{a: " * 100_000,
    ):
        assert "deeper" in refusal(text).text


def test_an_alias_bomb_costs_neither_time_nor_memory() -> None:
    names = "abcdefghijklmnop"
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in itertools.pairwise(names)
    )
    tracemalloc.start()
    started = time.process_time()
    error = refusal(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "aliases expanded" in error.text
    assert peak < 8_000_000
    assert time.process_time() - started < 10


def test_modest_aliases_are_read() -> None:
    assert value("a: &a {x: 1}\nb: [*a, *a]") == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]}


def test_size_has_a_limit() -> None:
    assert "larger than 16 MiB" in refusal("x" * (MAX_BYTES + 1)).text
    # 11 bytes of memory for each byte of text, had it been read.
    assert "more than" in refusal("[" + "[]," * 2_500_000 + "[]]").text


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("a",), 1, 1),
        (("b", 1, "c"), 4, 5),
        (("b", 1, "missing"), 4, 5),
        (("b", 7), 2, 1),
        (("nothing",), 1, 1),
        ((), 1, 1),
    ],
)
def test_a_path_has_a_position_in_yaml(path: tuple[str | int, ...], line: int, column: int) -> None:
    parsed = parse("a: 1\nb:\n  - x\n  - c: 2\n", refuse_duplicates=True)
    assert parsed.position(path) == Position(line, column)


def test_a_path_has_a_position_in_json() -> None:
    parsed = parse('{\n  "a": {"x": "}{,:"},\n  "b": [1, {"c\\u0041": 2}]\n}', refuse_duplicates=True)
    assert parsed.position(("a", "x")) == Position(2, 9)
    assert parsed.position(("b", 1, "cA")) == Position(3, 13)
    assert parsed.position(("b", 0)) == Position(3, 9)
