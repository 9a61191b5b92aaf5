"""Typed flags into flagd's JSON, which any flagd evaluator takes (https://flagd.dev/schema/v0/flags.json)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.flagging import BUCKETING, CHOICE, KILLED, OWN, REVISION, WHEN_STALE
from cordboard.flags.content import CHOICE as CHOICES
from cordboard.flags.content import WHOLE, choice_key, segment_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cordboard.flags.content import Content, Rule, Share, Slice

# What a workspace has chosen; or nothing.
CHOSEN_ON: Final = "on"
CHOSEN_OFF: Final = "off"

# The keys of the evaluation context that rules read, by the proto field of their condition.
CONTEXT_KEYS: Final = {
    "tiers": "tier",
    "workspaces": "workspace",
    "customers": "customer",
    "environments": "environment",
    "regions": "region",
}


def compiled(
    key: str,
    content: Content,
    *,
    killed: bool,
    revision: int,
    others: Callable[[str], Mapping[str, Any] | None] = lambda _key: None,
) -> dict[str, Any]:
    """Returns the flagd definition of a valid flag; `others` gives the definitions of its prerequisites.

    flagd knows neither prerequisites nor choices: the rules of the other flags become conditions of this one's, so that
    every evaluator decides the same.

    flagd's own state DISABLED gives no value at all, so that a killed flag is written as one that gives its off
    variant to everybody, and says so in its metadata.
    """
    definition: dict[str, Any] = {
        "state": "ENABLED",
        "variants": dict(content.variants),
        "defaultVariant": content.variant_when_killed if killed else content.default_variant,
        # What others choose makes no difference to a workspace, and is not to be sent to it: no number tells of it.
        "metadata": {} if key.startswith(CHOICES) else {REVISION: revision},
    }
    if content.when_stale:
        definition["metadata"][WHEN_STALE] = content.when_stale
    if killed:
        definition["metadata"][KILLED] = True
        return definition
    off = _declined(key, content, others)
    if steps := [*off, *_unmet(content, others), *_accepted(key, content, others), *_open_steps(key, content, others)]:
        definition["targeting"] = {"if": steps}
        if off:
            definition["metadata"][CHOICE] = True
        if _divides(content, others):
            # Whoever evaluates it, and with whatever is newest by then: nobody changes places.
            definition["metadata"][BUCKETING] = OWN
    return definition


def configuration(definitions: Iterable[tuple[str, str]]) -> str:
    """Returns the whole set as flagd JSON, from keys and definitions that are JSON already."""
    members = ",".join(f"{json.dumps(key)}:{definition}" for key, definition in definitions)
    return f'{{"flags":{{{members}}}}}'


def _divides(content: Content, others: Callable[[str], Mapping[str, Any] | None]) -> bool:
    """Tells whether chance decides anything of a flag, or of those whose rules are part of its own."""
    if any(rule.split or rule.slices for rule in content.rules):
        return True
    return any(BUCKETING in (others(key) or {}).get("metadata", {}) for key in content.needs)


def _unmet(content: Content, others: Callable[[str], Mapping[str, Any] | None]) -> list[Any]:
    """Returns the condition under which a prerequisite does not hold, with the variant that it gives then."""
    conditions: list[Any] = []
    for each in content.prerequisites:
        other = others(each.key)
        given = None if other is None else outcome(other)
        if isinstance(given, dict):
            conditions.append({"in": [given, list(each.variants)]})
        elif given not in each.variants:
            return [True, content.variant_when_killed]
    if not conditions:
        return []
    return [{"!": [_joined("and", conditions)]}, content.variant_when_killed]


def _declined(key: str, content: Content, others: Callable[[str], Mapping[str, Any] | None]) -> list[Any]:
    """Returns the condition of having switched it off for oneself, with the variant that it gives then."""
    chosen = _chosen(key, CHOSEN_OFF, others)
    return [chosen, content.variant_when_killed] if chosen else []


def _accepted(key: str, content: Content, others: Callable[[str], Mapping[str, Any] | None]) -> list[Any]:
    """Returns the condition of having switched it on for oneself, with all the rules, those too that ask for that."""
    if not any(rule.opt_in for rule in content.rules):
        return []
    chosen = _chosen(key, CHOSEN_ON, others)
    # Said once, and not in each of the rules: those who have chosen may be thousands.
    return [chosen, {"if": [*_steps(key, content.rules, others), content.default_variant]}] if chosen else []


def _open_steps(key: str, content: Content, others: Callable[[str], Mapping[str, Any] | None]) -> list[Any]:
    return _steps(key, (rule for rule in content.rules if not rule.opt_in), others)


def _chosen(key: str, choice: str, others: Callable[[str], Mapping[str, Any] | None]) -> Any:
    """Returns the condition of having chosen this; False where nobody has."""
    known = others(choice_key(key)) if choice_key(key) else None
    if known is None:
        return False
    steps = known["targeting"]["if"] if "targeting" in known else [True, known["defaultVariant"]]
    conditions = [steps[index] for index in range(0, len(steps) - 1, 2) if steps[index + 1] == choice]
    return _joined("or", conditions) if conditions else False


def outcome(definition: Mapping[str, Any]) -> Any:
    """Returns what a definition of ours gives: the name of a variant, or the rule that gives it."""
    targeting, default = definition.get("targeting"), definition["defaultVariant"]
    return {"if": [*targeting["if"], default]} if targeting else default


def _steps(key: str, rules: Iterable[Rule], others: Callable[[str], Mapping[str, Any] | None]) -> list[Any]:
    # `if` takes condition and outcome by turns, and gives null at the end: then flagd takes the default variant.
    steps: list[Any] = []
    for rule in rules:
        steps += [_condition(rule, others), _split(key, rule.split) if rule.split else rule.variant]
    return steps


def _condition(rule: Rule, others: Callable[[str], Mapping[str, Any] | None]) -> Any:
    tests: list[Any] = [
        {"in": [{"var": CONTEXT_KEYS[name]}, list(values)]} for name, values in rule.conditions.items() if values
    ]
    if rule.split or rule.slices:
        # Nobody's workspace has no share of the workspaces: without this all of them would be one big bucket.
        tests.append({"!!": [{"var": "workspace"}]})
    tests += map(_within, rule.slices)
    if rule.segments:
        tests.append(_in_one_of(rule.segments, others))
    return _joined("and", tests) if tests else True


def _in_one_of(segments: Iterable[str], others: Callable[[str], Mapping[str, Any] | None]) -> Any:
    """Returns the condition of being in one of some segments; in one that is not there nobody is."""
    conditions: list[Any] = []
    for name in segments:
        segment = others(segment_key(name))
        if segment is None:
            continue
        members = [variant for variant, value in segment["variants"].items() if value is True]
        given = outcome(segment)
        if isinstance(given, dict):
            conditions.append({"in": [given, members]})
        elif given in members:
            return True
    return _joined("or", conditions) if conditions else False


def _joined(operator: str, conditions: list[Any]) -> Any:
    return conditions[0] if len(conditions) == 1 else {operator: conditions}


def _within(part: Slice) -> dict[str, Any]:
    shares = (("before", part.begin), ("in", part.end - part.begin), ("after", WHOLE - part.end))
    subject = {"cat": [f"{part.group}/", {"var": "workspace"}]}
    return {"==": [{"fractional": [subject, *([name, weight] for name, weight in shares if weight)]}, "in"]}


def _split(key: str, split: Iterable[Share]) -> dict[str, Any]:
    # The key is part of what is hashed, so that the first percent of one flag are not the first percent of all.
    subject = {"cat": [key, {"var": "workspace"}]}
    return {"fractional": [subject, *([share.variant, share.weight] for share in split)]}
