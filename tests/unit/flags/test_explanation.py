"""Why a flag gives what it gives: the explanation decides as the evaluation does."""

from __future__ import annotations

import random
from typing import Any

from cordboard.core.flagging import FlagSet
from cordboard.flags.compilation import compiled
from cordboard.flags.content import WHOLE, Content, Rule, Share, Slice
from cordboard.flags.explanation import PLACES, explained, place_of

KEY = "integration.desk"
VARIANTS = {"on": True, "off": False}


def content(*rules: Rule) -> Content:
    return Content(variants=VARIANTS, default_variant="off", rules=rules)


def variant(made: Content, context: dict[str, Any]) -> str | None:
    return FlagSet({KEY: compiled(KEY, made, killed=False, revision=1)}).evaluate(KEY, context).variant


def a_rule(draw: random.Random) -> Rule:
    def some(values: list[str]) -> tuple[str, ...]:
        return tuple(draw.sample(values, draw.choice([0, 0, 1, 2])))

    begin = draw.randrange(WHOLE - 1)
    slices = (Slice("group", begin, draw.randrange(begin + 1, WHOLE + 1)),) if draw.random() < 0.5 else ()
    split = (Share("on", draw.randint(1, 9)), Share("off", draw.randint(1, 9))) if draw.random() < 0.3 else ()
    return Rule(
        tiers=some(["free", "business", "enterprise"]),
        environments=some(["production", "staging"]),
        regions=some(["eu", "us"]),
        variant="" if split else draw.choice(["on", "off"]),
        split=split,
        slices=slices,
    )


def test_the_rule_that_is_said_to_decide_is_the_one_that_does() -> None:
    draw = random.Random(5)
    by_rule = 0
    for _ in range(400):
        made = content(*(a_rule(draw) for _ in range(4)))
        context = {
            "workspace": draw.choice(["", f"w-{draw.randrange(1000)}"]),
            "tier": draw.choice(["free", "business", "enterprise"]),
            "environment": draw.choice(["production", "staging", "qa"]),
            "region": draw.choice(["eu", "us", ""]),
        }
        found = explained(KEY, made, context, killed=False)
        given = variant(made, context)
        if found.decided_by is None:
            assert given == "off"
            assert all(each.mismatches for each in found.findings)
            continue
        by_rule += 1
        rule = made.rules[found.decided_by]
        assert given in {rule.variant, *(share.variant for share in rule.split)}
        # Alone it gives the same, and without it those above give nothing.
        assert variant(content(rule), context) == given
        assert len(found.findings) == found.decided_by + 1
    assert by_rule > 100


def test_a_place_says_who_a_share_reaches() -> None:
    for number in range(300):
        place = place_of(f"{KEY}/w-{number}") * WHOLE // PLACES
        for end in (1, 2_500, 5_000, 9_999, WHOLE):
            made = content(Rule(slices=(Slice(KEY, 0, end),), variant="on"))
            assert (variant(made, {"workspace": f"w-{number}"}) == "on") == (place < end)


def test_what_does_not_fit_is_said_in_words() -> None:
    made = content(
        Rule(tiers=("business", "enterprise"), regions=("eu",), variant="on"),
        Rule(slices=(Slice("group", 0, 1),), variant="on"),
    )
    found = explained(KEY, made, {"workspace": "acme", "tier": "free"}, killed=False)
    first, second = found.findings
    assert first.mismatches == (
        "tier is 'free', and must be business or enterprise",
        "region is not known, and must be eu",
    )
    [place] = second.mismatches
    assert place.endswith("% of 'group', not at 0 to 0.01 %")
    assert found.decided_by is None
    assert explained(KEY, made, {}, killed=True).findings == ()
    [alone] = explained(KEY, content(Rule(split=(Share("on", 1),))), {}, killed=False).findings
    assert alone.mismatches == ("there is no workspace",)
