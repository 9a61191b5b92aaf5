"""A secret is seen by nobody who did not ask for it by name."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass

import pytest

from cordboard.core.secrets import Secret


@dataclass(frozen=True)
class Holder:
    name: str
    key: Secret[str]


def test_reveal_gives_the_secret() -> None:
    assert Secret("hunter2").reveal() == "hunter2"


def test_no_way_of_printing_shows_it() -> None:
    secret = Secret("hunter2")
    holder = Holder("x", secret)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", "%s" % secret]  # noqa: UP031
    shown += [repr(holder), str([secret]), str({"a": secret}), str(ValueError(secret))]
    assert [text for text in shown if "hunter2" in text] == []
    assert all("***" in text for text in shown)


def test_it_cannot_be_written_out() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret("hunter2"))
    with pytest.raises(TypeError):
        json.dumps(Secret("hunter2"))


def test_two_secrets_do_not_compare() -> None:
    one, other = Secret("hunter2"), Secret("hunter2")
    assert one != other
    assert one == one  # noqa: PLR0124 - the same one is itself


def test_it_has_no_attributes_to_look_into() -> None:
    with pytest.raises(TypeError):
        vars(Secret("hunter2"))
