"""Semantic versions: which texts are one, and which comes next."""

from __future__ import annotations

import pytest

from cordboard.catalog.semver import SemVer, following


@pytest.mark.parametrize("text", ["0.0.0", "1.2.3", "10.20.30", "1.0.0-rc.1", "1.0.0-alpha-1", "1.0.0-0a"])
def test_a_version_is_written_as_it_was_read(text: str) -> None:
    assert str(SemVer.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+build", " 1.2.3",
     "\u0661.2.3",
     "active", "1.2.3\n", "1.0.0-" + "a" * 64],
)  # fmt: skip
def test_other_texts_are_none(text: str) -> None:
    assert SemVer.parse(text) is None


def test_the_next_version_is_a_minor_one_that_nobody_has() -> None:
    assert following("", []) == "1.0.0"
    assert following("", ["1.0.0"]) == "1.1.0"
    assert following("1.4.7", ["1.4.7"]) == "1.5.0"
    assert following("2.0.0-rc.1", []) == "2.1.0"
    assert following("1.0.0", ["1.0.0", "1.1.0", "1.2.0"]) == "1.3.0"
