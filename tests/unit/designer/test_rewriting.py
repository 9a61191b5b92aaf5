"""What a document says is changed, and the rest of its text stays as it is: comments, order, quotes, blank lines."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.document import plain_yaml
from cordboard.catalog.text import parse
from cordboard.designer.rewriting import CannotRewrite, rewritten

INTEGRATIONS = Path(__file__).parents[3] / "integrations"
TEXT = """\
# top
slug: acme   # the slug
actions:
# first
- id: a  # dash
  title: "Quoted"   # q
  form_hints:
  - property: x
    label: X   # lab
    help: |
      two
      lines

  # second hint
  - {property: y, label: Y}
- title: B

  id: b
  # tail
tags: [a, b]
"""


def value(text: str) -> Any:
    """What a text says."""
    return parse(text, refuse_duplicates=True).value


def changed(text: str, change: Callable[[Any], Any]) -> str:
    """The lines that are others when a change was made, with `-` and `+` before them."""
    wanted = copy.deepcopy(value(text))
    change(wanted)
    made = rewritten(text, wanted)
    assert value(made) == wanted
    lines = difflib.unified_diff(text.splitlines(), made.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if not re.match(r"---|\+\+\+|@@", line))


def test_a_text_on_one_line_is_replaced_alone_and_its_comment_stays() -> None:
    assert changed(TEXT, lambda doc: doc["actions"][0].update(title="New: title")) == (
        """-  title: "Quoted"   # q\n+  title: 'New: title'   # q"""
    )
    # What follows on the line would become a part of a block of text.
    assert changed(TEXT, lambda doc: doc["actions"][0]["form_hints"][0].update(label="two\nlines")) == (
        '-    label: X   # lab\n+    label: "two\\nlines"   # lab'
    )


def test_what_is_new_stands_behind_what_is_before_it_and_nothing_else_moves() -> None:
    assert changed(TEXT, lambda doc: doc["actions"][0]["form_hints"][0].update(group="G", choices={"1": "One"})) == (
        "+    group: G\n+    choices:\n+      '1': One"
    )
    assert changed(TEXT, lambda doc: doc["actions"][0]["form_hints"].append({"property": "z", "label": "true"})) == (
        "+  - property: z\n+    label: 'true'"
    )
    assert changed(TEXT, lambda doc: doc.update(config_variables=[{"name": "v"}])) == "+config_variables:\n+- name: v"


def test_what_is_gone_takes_its_lines_with_it() -> None:
    assert changed(TEXT, lambda doc: doc["actions"][0]["form_hints"].pop(0)) == (
        "-  - property: x\n-    label: X   # lab\n-    help: |\n-      two\n-      lines"
    )
    assert changed(TEXT, lambda doc: doc["actions"][1].pop("title")) == "-- title: B\n-\n-  id: b\n+- id: b"


def test_a_value_in_flow_style_is_written_anew_as_one_line() -> None:
    assert changed(TEXT, lambda doc: doc["actions"][0]["form_hints"][1].update(group="a, b")) == (
        "-  - {property: y, label: Y}\n+  - {property: y, label: Y, group: 'a, b'}"
    )
    assert changed(TEXT, lambda doc: doc.update(tags=["c"])) == "-tags: [a, b]\n+tags: [c]"


def test_line_endings_and_the_byte_order_mark_stay() -> None:
    text = "\ufeff" + TEXT.replace("\n", "\r\n")
    wanted = copy.deepcopy(value(text))
    wanted["actions"][0]["form_hints"][0]["group"] = "G"
    made = rewritten(text, wanted)
    assert made == text.replace("      lines\r\n", "      lines\r\n    group: G\r\n")


def test_json_keeps_its_order_and_its_indentation() -> None:
    text = json.dumps({"b": 1, "a": [{"id": "x", "t": "Ü"}]}, indent=4, ensure_ascii=False) + "\n"
    wanted = {"b": 1, "a": [{"id": "x", "t": "Ö"}]}
    assert rewritten(text, wanted) == text.replace("Ü", "Ö")
    assert rewritten('{"b":1,"a":2}', {"b": 1, "a": 3}) == '{"b":1,"a":3}'


def test_nothing_is_changed_where_nothing_changed() -> None:
    for path in INTEGRATIONS.glob("*.yaml"):
        text = path.read_text()
        assert rewritten(text, value(text)) is not None
        assert rewritten(text, copy.deepcopy(value(text))) == text, path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # The alias would say the same in the other place.
        ("a: &x\n  t: 1\nb: *x\n", {"a": {"t": 2}, "b": {"t": 1}}),
        ("base: &x\n  t: 1\n  u: 1\na:\n  <<: *x\n  v: 1\n", {"base": {"t": 1, "u": 1}, "a": {"u": 1, "v": 1}}),
        ("? a\n: 1\n? b\n: 2\n", {"b": 2, "c": {"d": [1]}}),
    ],
)
def test_what_cannot_be_changed_without_changing_more_is_refused(text: str, wanted: Any) -> None:
    try:
        made = rewritten(text, wanted)
    except CannotRewrite as error:
        assert "change the file by hand" in str(error) or "would not be one" in str(error)
    else:
        assert value(made) == wanted


def test_a_value_that_an_alias_shares_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="aliases"):
        rewritten("a: &x\n  t: 1\nb: *x\n", {"a": {"t": 2}, "b": {"t": 1}})


WORDS = st.text(alphabet="ab:#-'\"\\ \n{}[],&*!|>%@`1true0.~ü", max_size=12)
SCALARS = st.one_of(WORDS, st.integers(-5, 5), st.booleans(), st.none())
MEMBERS = st.dictionaries(st.sampled_from(["a", "b", "c", "1", "true", "x y"]), SCALARS, max_size=4)
LISTS = st.lists(MEMBERS, max_size=3, unique_by=id)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents as definitions are: members, and lists whose members have an id."""
    found: dict[str, Any] = {"slug": draw(WORDS), **draw(MEMBERS)}
    names = draw(st.lists(st.sampled_from(["actions", "fields", "tags"]), unique=True))
    hinted = draw(st.booleans())
    for name in names:
        ids = draw(st.lists(st.sampled_from("pqrst"), unique=True, max_size=4))
        found[name] = [{"id": one, **draw(MEMBERS)} for one in ids]
        if ids and hinted:
            found[name][0]["form_hints"] = [{"property": one, **draw(MEMBERS)} for one in ids]
    return found


@given(before=documents(), after=documents(), comment=st.booleans())
def test_whatever_is_changed_the_text_says_that_or_it_is_refused(
    before: dict[str, Any], after: dict[str, Any], comment: bool
) -> None:
    text = plain_yaml(before)
    if comment:
        # Behind each key that begins a block, where a comment can stand.
        text = re.sub(r"(?m)^( *(?:- )?\w+:)$", r"\1  # why", text)
    if value(text) != before:
        return
    try:
        made = rewritten(text, after)
    except CannotRewrite:
        return
    assert value(made) == after


def test_every_shipped_definition_takes_a_hint_in_each_action_and_changes_in_nothing_else() -> None:
    for path in sorted(INTEGRATIONS.glob("*.yaml")):
        text = path.read_text()
        wanted = copy.deepcopy(value(text))
        for action in wanted["actions"]:
            action.setdefault("form_hints", []).append({"property": "thing", "label": "Thing: ü"})
        made = rewritten(text, wanted)
        assert value(made) == wanted
        gone = [line for line in difflib.ndiff(text.splitlines(), made.splitlines()) if line.startswith("- ")]
        assert all("form_hints" in line or "property" in line for line in gone), (path, gone)
