"""Flags to test with: plain ones by name, and arbitrary ones for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cordboard.flags.content import Content, Rule, Share, Slice

TIERS = ("starter", "business", "enterprise")
WORKSPACES = ("acme", "globex", "initech", "umbrella")
CUSTOMERS = ("c-1", "c-2")
ENVIRONMENTS = ("staging", "production")
REGIONS = ("eu", "us")


def a_content(**changes: Any) -> Content:
    """An on/off flag that is off, unless told otherwise."""
    fields: dict[str, Any] = {"variants": {"on": True, "off": False}, "default_variant": "off", "off_variant": "off"}
    return Content(**{**fields, **changes})


def a_split(**weights: int) -> tuple[Share, ...]:
    """A split by variant and weight."""
    return tuple(Share(variant, weight) for variant, weight in weights.items())


def _some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


@st.composite
def rules(draw: st.DrawFn, variants: list[str]) -> Rule:
    """A valid rule over these variants."""
    conditions: dict[str, Any] = {
        "tiers": draw(_some(TIERS)),
        "workspaces": draw(_some(WORKSPACES)),
        "customers": draw(_some(CUSTOMERS)),
        "environments": draw(_some(ENVIRONMENTS)),
        "regions": draw(_some(REGIONS)),
    }
    if draw(st.booleans()):
        begin = draw(st.integers(0, 9_999))
        part = Slice(draw(st.sampled_from(["holdout", "b"])), begin, draw(st.integers(begin + 1, 10_000)))
        conditions["slices"] = (part,)
    if draw(st.booleans()):
        return Rule(**conditions, variant=draw(st.sampled_from(variants)))
    shares = draw(st.lists(st.sampled_from(variants), min_size=1, unique=True))
    return Rule(**conditions, split=tuple(Share(variant, draw(st.integers(1, 1000))) for variant in shares))


_VALUES = {
    "boolean": st.booleans(),
    "number": st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    "string": st.text(max_size=5),
    "object": st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.text(max_size=3), max_size=2),
    "array": st.lists(st.none() | st.integers(0, 9) | st.text(max_size=3), max_size=2),
}


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """Any valid content."""
    names = draw(st.lists(st.sampled_from(["on", "off", "a", "b", "1.2.0", "true"]), min_size=1, unique=True))
    values = draw(st.sampled_from(sorted(_VALUES)).map(_VALUES.__getitem__))
    return Content(
        description=draw(st.text(max_size=10)),
        variants={name: draw(values) for name in names},
        rules=tuple(draw(st.lists(rules(names), max_size=4))),
        default_variant=draw(st.sampled_from(names)),
        off_variant=draw(st.sampled_from(["", *names])),
    )


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    """An evaluation context in which anything may be missing or strange, and the workspace is text if it is there."""
    strange: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    strange |= st.lists(st.sampled_from(TIERS), max_size=2) | st.dictionaries(st.text(max_size=2), st.text(max_size=2))
    known = {
        "tier": st.sampled_from(TIERS) | strange,
        "workspace": st.sampled_from(WORKSPACES) | st.text(max_size=8) | st.none(),
        "customer": st.sampled_from(CUSTOMERS) | strange,
        "environment": st.sampled_from(ENVIRONMENTS) | strange,
        "region": st.sampled_from(REGIONS) | strange,
        "targetingKey": strange,
        "roles": strange,
    }
    return draw(st.fixed_dictionaries({}, optional=known))
