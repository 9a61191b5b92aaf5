"""The rules that say which flags need a second person."""

from __future__ import annotations

import pytest

from cordboard.flags.approvals import ApprovalRule


@pytest.mark.parametrize(
    ("rule", "key", "meant"),
    [
        ("*/version.*", "version.desk", True),
        ("*/version.*", "versions", False),
        ("production/integration.desk", "integration.desk", True),
        ("production/integration.desk", "integration.desk2", False),
        ("staging/*", "anything", True),
    ],
)
def test_a_rule_is_for_a_key_or_what_begins_with_it(rule: str, key: str, meant: bool) -> None:
    assert ApprovalRule.parse(rule).is_for(key) is meant


@pytest.mark.parametrize("text", ["", "version.*", "production/", "/key", "a b/key", "*/a*b", "*/key/more"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ENVIRONMENT/KEY"):
        ApprovalRule.parse(text)
