"""What one caller sees of the rules: after a change what a new view would see, for the price of the change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cordboard.core.flagging import FlagSet
from cordboard.flags.compilation import compiled
from cordboard.flags.content import Content, Rule
from cordboard.flags.evaluation import Snapshot
from cordboard.flags.openfeature.view import View

MINE: Final = {"workspace": "acme", "tier": "business", "environment": "production"}
RULES: Final = (Rule(workspaces=("acme", "initech"), variant="on"), Rule(tiers=("free",), variant="on"))


class Counted(Mapping[str, Any]):
    """What is known of a caller; it counts how often somebody looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __getitem__(self, key: str) -> Any:
        self.looks += 1
        return MINE[key]

    def __iter__(self) -> Iterator[str]:
        return iter(MINE)

    def __len__(self) -> int:
        return len(MINE)


def snapshot(**revisions: int) -> Snapshot:
    """Returns a set of flags, each at a revision; rules from the second one on."""
    definitions = {
        key: compiled(key, Content({"on": True, "off": False}, "off", RULES if number > 1 else ()),
                      killed=False, revision=number)
        for key, number in revisions.items()
    }  # fmt: skip
    texts = {key: json.dumps(each, separators=(",", ":")) for key, each in definitions.items()}
    return Snapshot(sum(revisions.values()), FlagSet(definitions), dict(sorted(texts.items())))


def test_a_view_that_follows_sees_what_a_new_one_would() -> None:
    view = View(MINE)
    for revisions in ({}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 2, "b": 2, "c": 3}, {"b": 4, "c": 3}, {}):
        newest = snapshot(**revisions)
        seen = view.configuration(newest)
        assert seen == View(MINE).configuration(newest)
        assert set(json.loads(seen)["flags"]) == set(revisions)
        assert "initech" not in seen
    # The control: the rules themselves name another customer.
    assert "initech" in snapshot(b=2).configuration


def test_a_change_costs_by_its_size() -> None:
    known = Counted()
    view = View(known)
    many = {f"flag-{number}": 2 for number in range(200)}
    view.configuration(snapshot(**many))
    whole, known.looks = known.looks, 0
    view.configuration(snapshot(**{**many, "flag-7": 3}))
    assert whole >= 200
    assert 0 < known.looks <= whole / 100
    # The control: a change of everything costs as much as everything.
    known.looks = 0
    view.configuration(snapshot(**dict.fromkeys(many, 4)))
    assert known.looks == whole
