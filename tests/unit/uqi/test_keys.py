"""Names that are safe in every client: of fields and of commands."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cordboard.uqi.keys import commands, field_keys

SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{1,62}")


def test_a_safe_name_is_its_own_key() -> None:
    assert field_keys(["subject", "page_size", "X1"]) == ["subject", "page_size", "X1"]


def test_an_unsafe_name_gives_way_to_a_safe_one() -> None:
    first, second = field_keys(["page.size", "page_size"])
    assert second == "page_size"
    assert SAFE.fullmatch(first)
    assert first != second


@given(st.lists(st.text(max_size=80) | st.sampled_from(["__proto__", "data", "dataset", "constructor", "q", "Q"])))
def test_keys_are_safe_unique_and_always_the_same(names: list[str]) -> None:
    unique = list(dict.fromkeys(names))
    keys = field_keys(unique)
    assert all(SAFE.fullmatch(key) for key in keys)
    assert not any(key.lower().startswith(("data", "__")) or key.lower() == "constructor" for key in keys)
    assert len({key.lower() for key in keys}) == len(unique)
    assert field_keys(unique) == keys


@given(st.lists(st.text("ab.-_AB1", min_size=1, max_size=128), unique=True))
def test_commands_are_words_and_unique(actions: list[str]) -> None:
    found = commands("acme-desk", actions)
    assert set(found) == set(actions)
    assert len(set(found.values())) == len(actions)
    assert all(re.fullmatch(r"ACME_DESK\w{0,54}", command, re.ASCII) for command in found.values())


def test_actions_whose_names_differ_only_in_punctuation_have_commands_of_their_own() -> None:
    found = commands("acme", ["a.b", "a-b"])
    assert found["a-b"] == "ACME_A_B"
    assert re.fullmatch(r"ACME_A_B_[0-9A-F]{6}", found["a.b"])


def test_a_command_begins_with_no_word_of_appsmith_and_no_digit() -> None:
    assert commands("data247", ["find"]) == {"find": "P_DATA247_FIND"}
    assert commands("3scale", ["find"]) == {"find": "P_3SCALE_FIND"}
    assert commands("updata", ["find"]) == {"find": "UPDATA_FIND"}
