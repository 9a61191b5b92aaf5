"""Where a pin was set, as `cordboard catalog pins` says it."""

from __future__ import annotations

import pytest

from cordboard.catalog.v1.lifecycle_pb2 import Pin
from cordboard.cli.governance import place


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        (Pin(version="1.0.0"), "here"),
        (Pin(version="1.0.0", hub_version="1.1.0"), "here; at the hub 1.1.0"),
        (Pin(version="1.0.0", hub_version="1.0.0"), "here; at the hub 1.0.0"),
        (Pin(version="1.0.0", hub_version="1.0.0", from_hub=True), "at the hub"),
        (Pin(version="1.0.0", hub_version="1.1.0", from_hub=True), "at the hub; 1.1.0 is to come"),
    ],
)
def test_a_list_says_where_a_pin_was_set_and_what_else_is_wanted(pin: Pin, words: str) -> None:
    assert place(pin) == words
