"""The compiled rules say what the typed rules say."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import mmh3
import pytest
from hypothesis import given

from cordboard.core.flagging import Decision, FlagSet, sets
from cordboard.flags.compilation import compiled, configuration
from cordboard.flags.content import Content, Prerequisite, Rule, Share, Slice
from tests.unit.flags.samples import a_content, a_split, contents, contexts

SEED = 20
KEY = "integration.desk"


def evaluated(content: Content, context: dict[str, Any], *, key: str = KEY, killed: bool = False) -> Decision:
    return flag_set(content, key=key, killed=killed).evaluate(key, context)


def flag_set(content: Content, *, key: str = KEY, killed: bool = False) -> FlagSet:
    definition = json.dumps(compiled(key, content, killed=killed, revision=7))
    return FlagSet.parse(configuration([(key, definition)]))


def bucketed(key: str, workspace: str, split: tuple[Share, ...]) -> str:
    """flagd's `fractional`, third edition: murmur3 over the CBOR of the text, scaled to the sum of the weights."""
    text = f"{key}{workspace}".encode()
    head = bytes([0x60 + len(text)]) if len(text) < 24 else bytes([0x78, len(text)])
    place = (mmh3.hash(head + text, signed=False) * sum(share.weight for share in split)) >> 32
    for share in split:
        place -= share.weight
        if place < 0:
            return share.variant
    raise AssertionError("a place beyond the last share")


def inside(context: dict[str, Any], part: Slice) -> bool:
    shares = a_split(before=part.begin, inside=part.end - part.begin, after=10_000 - part.end)
    weighted = tuple(share for share in shares if share.weight)
    return bucketed(f"{part.group}/", context["workspace"], weighted) == "inside"


def reading(content: Content, context: dict[str, Any]) -> str | None:
    """The typed rules, read as plain Python; None where no rule matches."""
    names = {
        "tiers": "tier",
        "workspaces": "workspace",
        "customers": "customer",
        "environments": "environment",
        "regions": "region",
    }
    for rule in content.rules:
        if any(values and context.get(names[name]) not in values for name, values in rule.conditions.items()):
            continue
        if rule.slices and not (context.get("workspace") and all(inside(context, part) for part in rule.slices)):
            continue
        if not rule.split:
            return rule.variant
        if context.get("workspace"):
            return bucketed(KEY, context["workspace"], rule.split)
    return None


@given(content=contents(), context=contexts())
def test_the_compiled_rules_agree_with_a_plain_reading_of_them(content: Content, context: dict[str, Any]) -> None:
    decision = evaluated(content, context)
    matched = reading(content, context)
    variant = content.default_variant if matched is None else matched
    otherwise = "DEFAULT" if content.rules else "STATIC"
    assert decision == Decision(
        value=content.variants[variant],
        variant=variant,
        reason=otherwise if matched is None else "TARGETING_MATCH",
        revision=7,
    )


@given(content=contents(), context=contexts())
def test_a_killed_flag_gives_its_off_variant_to_everybody(content: Content, context: dict[str, Any]) -> None:
    variant = content.off_variant or content.default_variant
    assert evaluated(content, context, killed=True) == Decision(content.variants[variant], variant, "DISABLED", 7)


def test_the_first_rule_that_matches_decides() -> None:
    content = a_content(rules=(Rule(tiers=("business",), variant="off"), Rule(variant="on")))
    assert evaluated(content, {"tier": "business"}).variant == "off"
    assert evaluated(content, {"tier": "starter"}).variant == "on"


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("tiers", "tier"),
        ("workspaces", "workspace"),
        ("customers", "customer"),
        ("environments", "environment"),
        ("regions", "region"),
    ],
)
def test_each_condition_reads_its_own_key_of_the_context(condition: str, name: str) -> None:
    conditions: dict[str, Any] = {condition: ("this", "that")}
    content = a_content(rules=(Rule(**conditions, variant="on"),))
    others = dict.fromkeys({"tier", "workspace", "customer", "environment", "region"} - {name}, "this")
    assert evaluated(content, {**others, name: "that"}).value is True
    assert evaluated(content, {**others, name: "other"}).value is False
    assert evaluated(content, others).value is False


def test_all_conditions_of_a_rule_must_fit() -> None:
    content = a_content(rules=(Rule(tiers=("business",), environments=("production",), variant="on"),))
    assert evaluated(content, {"tier": "business", "environment": "production"}).value is True
    assert evaluated(content, {"tier": "business", "environment": "staging"}).value is False
    assert evaluated(content, {"tier": "starter", "environment": "production"}).value is False


def test_a_split_gives_each_variant_its_share_of_many_workspaces() -> None:
    weights = {"a": 10, "b": 20, "c": 70}
    content = Content(
        variants={"a": "A", "b": "B", "c": "C"}, default_variant="c", rules=(Rule(split=a_split(**weights)),)
    )
    flags = flag_set(content)
    many = 20_000
    names = [f"workspace-{random.Random(SEED + n).getrandbits(64):x}" for n in range(many)]
    got = [flags.evaluate(KEY, {"workspace": name}).variant for name in names]
    expected = {variant: many * weight / 100 for variant, weight in weights.items()}
    chi_square = sum((got.count(variant) - count) ** 2 / count for variant, count in expected.items())
    # Two degrees of freedom: one fair split in a thousand is worse than this.
    assert chi_square < 13.8


def test_a_workspace_keeps_its_variant_whatever_else_the_context_says() -> None:
    flags = flag_set(a_content(rules=(Rule(split=a_split(on=1, off=1)),)))
    for name in (f"workspace-{number}" for number in range(200)):
        variants = {
            flags.evaluate(KEY, {"workspace": name, **more}).variant
            for more in ({}, {"tier": "business"}, {"targetingKey": "somebody"}, {"region": "eu", "roles": ["reader"]})
        }
        assert len(variants) == 1


def test_a_growing_share_takes_nobody_out_again() -> None:
    names = [f"workspace-{number}" for number in range(2_000)]

    def on_at(percent: int) -> set[str]:
        flags = flag_set(a_content(rules=(Rule(split=a_split(on=percent, off=100 - percent)),)))
        return {name for name in names if flags.evaluate(KEY, {"workspace": name}).value}

    shares = [on_at(percent) for percent in (1, 10, 50, 99)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(shares))


def test_slices_of_one_group_that_do_not_overlap_share_no_workspace_and_leave_none_out() -> None:
    def members(key: str, begin: int, end: int) -> set[str]:
        content = a_content(rules=(Rule(slices=(Slice("exclusive", begin, end),), variant="on"),))
        flags = flag_set(content, key=key)
        return {name for name in names if flags.evaluate(key, {"workspace": name}).value is True}

    names = {f"workspace-{number}" for number in range(2_000)}
    first, second, rest = members("a", 0, 1), members("b", 1, 5_000), members("c", 5_000, 10_000)
    assert first | second | rest == names
    assert len(first) + len(second) + len(rest) == len(names)
    assert members("d", 1, 6_000) > second


def test_two_flags_split_the_workspaces_independently() -> None:
    content = a_content(rules=(Rule(split=a_split(on=1, off=1)),))
    names = [f"workspace-{number}" for number in range(4_000)]
    first, second = flag_set(content, key="one"), flag_set(content, key="two")
    both = sum(
        first.evaluate("one", {"workspace": name}).value and second.evaluate("two", {"workspace": name}).value
        for name in names
    )
    # A quarter of 4,000, give or take four standard deviations; the same split twice would give a half.
    assert 890 < both < 1_110


@pytest.mark.parametrize("context", [{}, {"workspace": ""}, {"workspace": None}, {"targetingKey": "acme"}])
def test_who_is_in_no_workspace_has_no_share(context: dict[str, Any]) -> None:
    content = a_content(rules=(Rule(split=a_split(on=1)),))
    assert evaluated(content, context).variant == "off"
    assert evaluated(content, {"workspace": "acme"}).variant == "on"


def test_the_set_holds_only_what_every_flagd_evaluator_knows() -> None:
    definition = compiled(KEY, a_content(rules=(Rule(variant="on"),)), killed=False, revision=3)
    assert set(definition) == {"state", "variants", "defaultVariant", "targeting", "metadata"}
    assert all(isinstance(value, str | int | float | bool) for value in definition["metadata"].values())
    assert definition["state"] == "ENABLED"


@pytest.mark.parametrize(
    "content",
    [
        a_content(rules=(Rule(split=a_split(on=1, off=1)),)),
        a_content(rules=(Rule(slices=(Slice(KEY, 0, 5_000),), variant="on"),)),
    ],
)
def test_a_flag_keeps_its_bucketing_when_a_newer_one_comes(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = compiled(KEY, content, killed=False, revision=1)
    assert definition["metadata"] == {"revision": 1, "bucketing": "v3"}
    nameless = {**definition, "metadata": {"revision": 1}}
    asked = [{"workspace": f"w-{number}"} for number in range(200)]

    def given(one: dict[str, Any]) -> list[str | None]:
        flags = FlagSet({KEY: one})
        return [flags.evaluate(KEY, context).variant for context in asked]

    before = given(definition)
    assert given(nameless) == before
    monkeypatch.setattr(sets, "NEWEST", "v1")
    assert given(definition) == before
    # The control: without a name they change places.
    assert given(nameless) != before


def test_a_flag_is_named_after_the_bucketing_of_what_it_needs_alone() -> None:
    plain = a_content(rules=(Rule(tiers=("business",), variant="on"),))
    assert "bucketing" not in compiled(KEY, plain, killed=False, revision=1)["metadata"]
    part = compiled("base", a_content(rules=(Rule(split=a_split(on=1, off=1)),)), killed=False, revision=1)
    needing = a_content(rules=plain.rules, prerequisites=(Prerequisite("base", ("on",)),))
    known = compiled(KEY, needing, killed=False, revision=1, others={"base": part}.get)
    assert known["metadata"]["bucketing"] == "v3"
