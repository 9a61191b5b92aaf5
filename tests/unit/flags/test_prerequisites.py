"""Flags that need other flags: what they give, and which circles and chains are refused."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from cordboard.core.flagging import FlagSet
from cordboard.flags.compilation import configuration
from cordboard.flags.content import Content, Prerequisite, Rule, Share
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.prerequisites import MAX_CHAIN, dependents, graph_of, violations
from cordboard.flags.store import FlagRecord

MADE = datetime(2026, 1, 5, tzinfo=UTC)
VARIANTS = {"on": True, "off": False}


def content(*rules: Rule, needs: dict[str, tuple[str, ...]] | None = None, default: str = "off") -> Content:
    needed = tuple(Prerequisite(key, variants) for key, variants in (needs or {}).items())
    return Content(VARIANTS, default, rules, "off", prerequisites=needed)


class Kept:
    """Where flags are kept, each with the number of its change."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[int, FlagRecord]] = {}
        self.sequence = 0

    def put(self, key: str, made: Content, *, killed: bool = False) -> None:
        """Keeps a flag."""
        self.sequence += 1
        revision = self.records[key][1].revision + 1 if key in self.records else 1
        record = FlagRecord(key, revision, made, killed, "ann", "put", MADE, MADE)
        self.records[key] = (self.sequence, record)

    async def changed(self, *, since: int) -> tuple[int, list[FlagRecord]]:
        """Returns what has changed."""
        return self.sequence, [record for number, record in self.records.values() if number > since]


def given(live: LiveFlags, key: str, **context: Any) -> str | None:
    return live.snapshot.flags.evaluate(key, context).variant


async def test_a_flag_gives_its_rules_only_while_what_it_needs_holds() -> None:
    kept: Any = Kept()
    live = LiveFlags(kept)
    kept.put("desk", content(Rule(tiers=("business",), variant="on")))
    kept.put("mail", content(Rule(variant="on"), needs={"desk": ("on",)}))
    kept.put("late", content(Rule(variant="on"), needs={"mail": ("on",), "none": ("on",)}))
    await live.refresh()
    assert [given(live, key, tier="business") for key in ("desk", "mail", "late")] == ["on", "on", "off"]
    assert [given(live, key, tier="free") for key in ("desk", "mail")] == ["off", "off"]
    # Each change of the flag that is needed reaches those that need it, as their own change does.
    before = live.snapshot
    kept.put("desk", content(Rule(variant="on")))
    await live.refresh()
    assert given(live, "mail", tier="free") == "on"
    assert set(live.snapshot.since(before.sequence)) == {"desk", "mail", "late"}
    kept.put("none", content(Rule(variant="on")))
    await live.refresh()
    assert given(live, "late", tier="free") == "on"
    kept.put("desk", content(Rule(variant="on")), killed=True)
    await live.refresh()
    assert [given(live, key, tier="business") for key in ("desk", "mail", "late")] == ["off", "off", "off"]
    kept.put("other", content(Rule(variant="on")))
    before = live.snapshot
    await live.refresh()
    assert set(live.snapshot.since(before.sequence)) == {"other"}


async def test_every_evaluator_of_flagd_decides_the_same() -> None:
    kept: Any = Kept()
    live = LiveFlags(kept)
    halves = (Share("on", 1), Share("off", 1))
    kept.put("desk", content(Rule(tiers=("business",), split=halves), Rule(regions=("eu",), variant="on")))
    kept.put("mail", content(Rule(split=halves), needs={"desk": ("on",)}, default="on"))
    kept.put("chat", content(needs={"mail": ("off",), "desk": ("on", "off")}, default="on"))
    await live.refresh()
    text = configuration(live.snapshot.definitions.items())
    reference = FlagdCore()
    reference.set_flags(text)
    own, seen = FlagSet.parse(text), set()
    for number in range(300):
        for tier, region in (("business", "us"), ("free", "eu"), ("free", "us")):
            known = {"workspace": f"w-{number}", "tier": tier, "region": region}
            desk, mail, chat = (own.evaluate(key, known).variant for key in ("desk", "mail", "chat"))
            if desk != "on":
                assert mail == "off"
            assert chat == ("on" if mail == "off" else "off")
            seen.add((desk, mail, chat))
            for key, expected in (("desk", desk), ("mail", mail), ("chat", chat)):
                asked = EvaluationContext("", known)
                assert reference.resolve_boolean_value(key, False, asked).variant == expected
    assert seen == {("on", "on", "off"), ("on", "off", "on"), ("off", "off", "on")}


def found(key: str, made: Content, others: dict[str, Content]) -> list[tuple[str, str]]:
    return [(each.field, each.reason) for each in violations(key, made, graph_of(others.items()), others)]


def test_a_circle_is_refused() -> None:
    others = {"b": content(needs={"c": ("on",)}), "c": content(needs={"a": ("on",)}), "a": content()}
    assert found("a", content(needs={"b": ("on",)}), others) == [("flag.prerequisites[0].flag", "CYCLE")]
    others["c"] = content()
    assert found("a", content(needs={"b": ("on",)}), others) == []


@pytest.mark.parametrize("end", ["first", "last"])
def test_a_chain_ends(end: str) -> None:
    """Whichever end it grows at."""
    keys = [f"f{number}" for number in range(MAX_CHAIN + 1)]
    links = {key: content(needs={after: ("on",)}) for key, after in itertools.pairwise(keys)}
    everything = {**dict.fromkeys(keys, content()), **links}
    new = keys[0] if end == "first" else keys[-2]
    others = {key: each if key != new else content() for key, each in everything.items()}
    assert found(new, links[new], others) == [("flag.prerequisites", "TOO_DEEP")]
    assert found(new, links[new], {**others, keys[2]: content()}) == []


def test_what_is_not_there_is_named() -> None:
    made = content(needs={"none": ("on",), "b": ("maybe", "on")})
    assert found("a", made, {"b": content()}) == [
        ("flag.prerequisites[0].flag", "UNKNOWN_FLAG"), ("flag.prerequisites[1].variants[0]", "UNKNOWN_VARIANT"),
    ]  # fmt: skip


def test_those_that_need_a_flag_are_found_through_others() -> None:
    graph = {"a": ("b",), "b": ("c",), "d": ("b", "e"), "x": ("y",)}
    assert dependents(["c"], graph) == {"a", "b", "d"}
    assert dependents(["a"], graph) == set()


async def test_a_segment_says_who_fits_and_every_evaluator_of_flagd_decides_the_same() -> None:
    kept: Any = Kept()
    live = LiveFlags(kept)
    kept.put("segment.first", content(Rule(workspaces=("w-1", "w-2"), variant="on")))
    kept.put("segment.eu", content(Rule(regions=("eu",), variant="on")))
    kept.put("segment.both", content(Rule(segments=("first",), regions=("eu",), variant="on")))
    halves = (Share("on", 1), Share("off", 1))
    kept.put("any", content(Rule(segments=("first", "eu"), variant="on")))
    kept.put("both", content(Rule(segments=("both", "none"), variant="on")))
    kept.put("half", content(Rule(segments=("eu",), split=halves)))
    kept.put("nobody", content(Rule(segments=("none",), variant="on")))
    await live.refresh()
    reference = FlagdCore()
    reference.set_flags(live.snapshot.configuration)
    seen = set()
    for number in range(50):
        for region in ("eu", "us"):
            known = {"workspace": f"w-{number}", "region": region}
            found = tuple(given(live, key, **known) for key in ("any", "both", "half", "nobody"))
            first = number in (1, 2)
            assert found[:2] == (
                "on" if first or region == "eu" else "off",
                "on" if first and region == "eu" else "off",
            )
            assert found[3] == "off"
            assert found[2] == "off" or region == "eu"
            seen.add(found[2])
            for key, variant in zip(("any", "both", "half", "nobody"), found, strict=True):
                asked = EvaluationContext("", known)
                assert reference.resolve_boolean_value(key, False, asked).variant == variant
    assert seen == {"on", "off"}
    before = live.snapshot
    kept.put("segment.first", content(Rule(workspaces=("w-9",), variant="on")))
    await live.refresh()
    assert set(live.snapshot.since(before.sequence)) == {"segment.first", "segment.both", "any", "both"}
    assert [given(live, "any", workspace=name, region="us") for name in ("w-1", "w-9")] == ["off", "on"]
    # A killed segment has nobody in it.
    kept.put("segment.first", content(Rule(workspaces=("w-9",), variant="on")), killed=True)
    await live.refresh()
    assert given(live, "any", workspace="w-9", region="us") == "off"


def test_a_segment_that_is_not_there_or_in_a_circle_is_refused() -> None:
    made = content(Rule(variant="on"), Rule(segments=("x", "y"), variant="on"))
    assert found("a", made, {"segment.x": content()}) == [("flag.rules[1].segments[1]", "UNKNOWN_SEGMENT")]
    circle = {"segment.x": content(Rule(segments=("y",), variant="on")), "segment.y": content()}
    named = content(Rule(segments=("x",), variant="on"))
    assert found("segment.y", named, circle) == [("flag.rules[0].segments[0]", "CYCLE")]
    assert found("segment.z", named, circle) == []
