"""Resource names and ids: what is taken, what is refused, and what new ones look like."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.core.errors import InvalidFields
from cordboard.core.names import check_id, new_id, parse

PATTERN = "workspaces/*/connections/*"


def test_a_name_gives_its_ids() -> None:
    assert parse("workspaces/acme/connections/desk-1", PATTERN) == ("acme", "desk-1")
    assert parse("integrations/x/versions/1.0.0", "integrations/*/versions/*") == ("x", "1.0.0")


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "workspaces", "workspaces/acme", "workspaces/acme/connections", "workspaces/acme/connections/",
        "workspaces//connections/x", "workspaces/acme/connections/x/", "/workspaces/acme/connections/x",
        "workspaces/acme/connections/x/y", "workspaces/*/connections/x", "workspaces/../connections/x",
        "workspaces/./connections/x", "Workspaces/acme/connections/x", "workspaces/a b/connections/x",
        "workspaces/a\n/connections/x", "workspaces/acme/connections/x\n", "workspaces/a\0/connections/x",
        "workspaces/é/connections/x", "workspaces/%2e/connections/x", f"workspaces/{'a' * 256}/connections/x",
        "workspaces/acme/tokens/x",
    ],
)  # fmt: skip
def test_a_name_of_another_shape_is_refused_by_field(name: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        parse(name, PATTERN, field="connection.name")
    (violation,) = refused.value.violations
    assert (violation.field, violation.reason) == ("connection.name", "RESOURCE_NAME")
    assert violation.description == "must look like 'workspaces/{id}/connections/{id}'"


@given(st.text(max_size=30))
def test_no_text_makes_parsing_fail_otherwise(name: str) -> None:
    try:
        (segment,) = parse(f"workspaces/{name}", "workspaces/*")
    except InvalidFields:
        return
    assert segment == name
    assert "/" not in segment


@pytest.mark.parametrize("value", ["ab", "a1", "a-b", "a" * 63])
def test_an_id_is_taken(value: str) -> None:
    assert check_id(value, "id") == value


@pytest.mark.parametrize("value", ["", "a", "1a", "-a", "a-", "A1", "a_b", "a.b", "a" * 64, "ab\n", "aé", "a b", "*"])
def test_a_wrong_id_is_refused_by_field(value: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        check_id(value, "workspace_id")
    assert refused.value.violations[0].field == "workspace_id"


def test_new_ids_differ_are_names_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for second in (1_000, 1_700_000_000, 1_700_000_001, 4_000_000_000):
        monkeypatch.setattr("cordboard.core.names.time.time", lambda moment=second: float(moment))
        ids.append([new_id() for _ in range(100)])
    flat = [each for moment in ids for each in moment]
    assert len(set(flat)) == 400
    assert all(re.fullmatch("[0-9a-z]{26}", each) for each in flat)
    assert all(max(earlier) < min(later) for earlier, later in itertools.pairwise(ids))
    assert parse(f"traces/{flat[0]}", "traces/*") == (flat[0],)
