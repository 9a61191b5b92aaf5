"""What a definition may say of a gateway: each rule refuses what breaks it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cordboard.catalog import capabilities
from cordboard.catalog.definition import problems
from cordboard.catalog.document import read

BASE: dict[str, Any] = {
    "slug": "gate",
    "title": "Gate",
    "servers": [{"id": "eu", "url": "https://gate.example"}],
    "config_variables": [{"name": "project"}],
    "actions": [{"id": "me", "request": {"method": "GET", "path": "/me"}}],
}
GATEWAY: dict[str, Any] = {
    "path": "/p/{project}/{integration}/{path}",
    "headers": {"X-Account": "{connection}", "X-Base": "{base}"},
    "header_prefix": "X-For-",
    "server": "eu",
    "error": {"pointer": "/code", "codes": ["unknown"]},
}


def wrong(**changes: Any) -> set[str]:
    """Returns the fields that are wrong after these changes of the gateway."""
    text = yaml.safe_dump(BASE | {"gateway": GATEWAY | changes})
    return {one.field for one in problems(read(text).definition)}


def test_a_gateway_is_taken_and_is_a_capability() -> None:
    assert wrong() == set()
    definition = read(yaml.safe_dump(BASE | {"gateway": GATEWAY})).definition
    assert "gateway" in capabilities.needed(definition)
    assert "gateway" not in capabilities.needed(read(yaml.safe_dump(BASE)).definition)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": "/p"}, "gateway.path"),
        ({"path": "/p{path}"}, "gateway.path"),
        ({"path": "/{path}/{path}"}, "gateway.path"),
        ({"path": "/../{path}"}, "gateway.path"),
        ({"path": "//evil.example/ /{path}"}, "gateway.path"),
        ({"path": "/{nobody}/{path}"}, "gateway.path"),
        ({"headers": {"Host": "evil.example"}}, "gateway.headers"),
        ({"headers": {"X Y": "a"}}, "gateway.headers"),
        ({"headers": {"X-Y": "a\nb"}}, "gateway.headers"),
        ({"headers": {"X-Y": "{nobody}"}}, "gateway.headers"),
        ({"header_prefix": "a b"}, "gateway.header_prefix"),
        ({"server": "us"}, "gateway.server"),
        ({"error": {"pointer": "code", "codes": ["a"]}}, "gateway.error.pointer"),
        ({"error": {"pointer": "/code"}}, "gateway.error.codes"),
    ],
)
def test_a_gateway_that_could_not_be_followed_is_refused(changes: dict[str, Any], field: str) -> None:
    assert field in wrong(**changes)
