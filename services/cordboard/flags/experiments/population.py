"""Whom a flag divides by chance, and in which shares: those alone can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cordboard.core.errors import InvalidFields, StateConflict
from cordboard.core.flagging import FlagSet
from cordboard.flags.content import WHOLE, Content, Rule, Share
from cordboard.flags.explanation import Segments, chosen_of, explained, unmet_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Population:
    """The workspaces that one rule of a flag divides."""

    rule: int
    """The rule's index."""
    arms: tuple[Share, ...]
    """The variants and their shares, in order of name."""

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON, for keeping."""
        return {"rule": self.rule, "arms": [[arm.variant, arm.weight] for arm in self.arms]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Population:
        """Returns the population that `to_json` wrote."""
        return cls(document["rule"], tuple(Share(variant, weight) for variant, weight in document["arms"]))


def population_of(key: str, content: Content, number: int, needed: Iterable[Content] = ()) -> Population:
    """Returns whom rule `number` divides, counted from 1; 0 means the only one that divides.

    `needed` are the flags that this one needs, and those that they need. Raises InvalidFields where that rule divides
    nobody, and StateConflict where none does, or more than one, or where chance has chosen already who is asked.
    """
    found = {index: arms for index in range(len(content.rules)) if len(arms := _arms(key, content, index)) > 1}
    if number:
        if number - 1 not in found:
            raise InvalidFields.one("experiment.rule", "is not the number of a rule that divides the workspaces")
        return _independent(key, content, Population(number - 1, found[number - 1]), needed)
    if len(found) != 1:
        problem = "divides the workspaces nowhere" if not found else "divides the workspaces in more than one rule"
        raise StateConflict(f"flags/{key}", "not-divided", f"'flags/{key}' {problem}")
    [(index, arms)] = found.items()
    return _independent(key, content, Population(index, arms), needed)


def is_member(
    key: str, content: Content, population: Population, context: Mapping[str, Any], flags: FlagSet | None = None
) -> bool:
    """Tells whether chance decides what this context gets: what the flag needs holds, its workspace has chosen nothing
    itself, no rule before decides, and this one fits it. `flags` has what the flag needs.
    """
    rule = content.rules[population.rule]
    if not context.get("workspace"):
        return False
    others = FlagSet({}) if flags is None else flags
    if chosen_of(key, others, context) or any(unmet_of(content, others, context)):
        return False
    # The rule without its dice, after those before it.
    whole = replace(rule, split=(), slices=_fixed(key, rule), variant=population.arms[0].variant)
    asked = replace(content, rules=(*content.rules[: population.rule], whole))
    found = explained(key, asked, context, killed=False, segments=Segments.of(others, context))
    return found.decided_by == population.rule


def _independent(key: str, content: Content, population: Population, needed: Iterable[Content]) -> Population:
    rule = content.rules[population.rule]
    # A split has an order that no slice has.
    if not rule.split and any(part.group == key for other in needed for each in other.rules for part in each.slices):
        text = f"'flags/{key}' needs a flag that chooses workspaces in the order in which this one divides them"
        raise StateConflict(f"flags/{key}", "not-divided", text)
    return population


def _arms(key: str, content: Content, index: int) -> tuple[Share, ...]:
    rule = content.rules[index]
    if rule.opt_in:
        # Who is asked has chosen to be.
        return ()
    if rule.split:
        return tuple(sorted(rule.split, key=lambda each: each.variant))
    if _fixed(key, rule) == rule.slices:
        return ()
    part = rule.slices[-1]
    others = _others(content, index)
    if others in ("", rule.variant):
        return ()
    share = part.end - part.begin
    arms = (Share(rule.variant, share), Share(others, WHOLE - share))
    return tuple(sorted((arm for arm in arms if arm.weight), key=lambda each: each.variant))


def _fixed(key: str, rule: Rule) -> tuple[Any, ...]:
    """Returns the slices that choose whom the rule is for: all but a last one in the flag's own order."""
    # Slices of other groups keep rollouts apart, or hold workspaces out: whoever is not in them is not compared.
    own = bool(rule.slices) and not rule.split and rule.slices[-1].group == key
    return rule.slices[:-1] if own else rule.slices


def _others(content: Content, index: int) -> str:
    """Returns what those get whom the rule fits and its slice does not; empty where that is not one thing."""
    rule = content.rules[index]
    # Those who have chosen something are not compared.
    following = [each for each in content.rules[index + 1 :] if not each.opt_in]
    if not following:
        return content.default_variant
    after = following[0]
    fits = all(not values or values == rule.conditions[name] for name, values in after.conditions.items())
    fits &= after.segments in ((), rule.segments)
    return after.variant if fits and not after.slices and not after.split else ""
