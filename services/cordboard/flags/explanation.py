"""Why a flag gives what it gives: each rule with the conditions that did not fit, and where a workspace falls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.flagging import ALGORITHMS, OWN
from cordboard.flags.compilation import CHOSEN_OFF, CHOSEN_ON, CONTEXT_KEYS
from cordboard.flags.content import WHOLE, choice_key, segment_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cordboard.core.flagging import FlagSet
    from cordboard.flags.content import Content, Rule

# Fine enough to tell any two shares apart that a person would write.
PLACES: Final = 1_000_000


@dataclass(frozen=True)
class RuleFinding:
    """What came of one rule."""

    index: int
    description: str
    matched: bool
    mismatches: tuple[str, ...]
    """The conditions that did not fit: `tier is 'free', and must be business or enterprise`."""
    place: float | None
    """Where the workspace lies among those of the split, or else of its last slice, in percent; None without one."""


@dataclass(frozen=True)
class Explanation:
    """What a flag's rules do in a context, up to the one that decides."""

    findings: tuple[RuleFinding, ...]
    decided_by: int | None
    """The index of the rule that decides; None: the default variant, a kill, or a prerequisite does."""
    unmet: tuple[str, ...] = ()
    """The prerequisites that do not hold: `flags/new-desk gives off, and must give on`."""
    chosen: str = ""
    """What the workspace has chosen itself: CHOSEN_ON, CHOSEN_OFF or nothing."""


class Segments:
    """Who is in which segment, in one context."""

    def __init__(self, is_member: Callable[[str], bool] = lambda _key: False) -> None:
        """Takes what tells by the key of a segment's flag; by default nobody is in any."""
        self._is_member = is_member

    @classmethod
    def of(cls, flags: FlagSet, context: Mapping[str, Any]) -> Segments:
        """Returns the segments of a set of flags."""
        return cls(lambda key: flags.evaluate(key, context).value is True)

    def mismatch(self, names: tuple[str, ...]) -> str:
        """Returns what does not fit where one of these has to; empty where it does, or none has to."""
        if not names or any(self._is_member(segment_key(name)) for name in names):
            return ""
        return f"it is not in the segment {_listed(names)}"


def explained(
    key: str,
    content: Content,
    context: Mapping[str, Any],
    *,
    killed: bool,
    segments: Segments | None = None,
    chosen: str = "",
) -> Explanation:
    """Returns what each rule says of a context, in order, up to the one that matches; a kill asks none, nor does a
    workspace that has switched it off itself.
    """
    known = segments or Segments()
    findings: list[RuleFinding] = []
    for index, rule in enumerate(() if killed or chosen == CHOSEN_OFF else content.rules):
        finding = _finding(key, index, rule, context, known)
        if rule.opt_in and chosen != CHOSEN_ON:
            text = "the workspace's own administrator has not switched it on"
            finding = replace(finding, matched=False, mismatches=(*finding.mismatches, text))
        findings.append(finding)
        if finding.matched:
            return Explanation(tuple(findings), index, chosen=chosen)
    return Explanation(tuple(findings), None, chosen=chosen)


def chosen_of(key: str, others: FlagSet, context: Mapping[str, Any]) -> str:
    """Returns what a workspace has chosen about a flag: CHOSEN_ON, CHOSEN_OFF or nothing."""
    found = others.evaluate(choice_key(key), context).variant if choice_key(key) else None
    return found if found in (CHOSEN_ON, CHOSEN_OFF) else ""


def unmet_of(content: Content, others: FlagSet, context: Mapping[str, Any]) -> Iterator[str]:
    """Yields each prerequisite that does not hold in a context, by what the other flags give."""
    for each in content.prerequisites:
        given = others.evaluate(each.key, context).variant or ""
        if given not in each.variants:
            names = " or ".join(each.variants[:5])
            yield f"flags/{each.key} gives {given or 'nothing'}, and must give {names}"


def place_of(subject: str) -> int:
    """Returns where a subject lies among all, in ten-thousandths of a percent: a share reaches those below it."""
    low, high = 0, PLACES
    # By halves, because the algorithm only says on which side of a border a subject lies.
    while high - low > 1:
        middle = (low + high) // 2
        below = ALGORITHMS[OWN](subject, [("below", middle), ("above", PLACES - middle)]) == "below"
        low, high = (low, middle) if below else (middle, high)
    return low


def _finding(key: str, index: int, rule: Rule, context: Mapping[str, Any], segments: Segments) -> RuleFinding:
    mismatches = [
        f"{CONTEXT_KEYS[name]} is {_shown(context.get(CONTEXT_KEYS[name]))}, and must be {_listed(values)}"
        for name, values in rule.conditions.items()
        if values and context.get(CONTEXT_KEYS[name]) not in values
    ]
    if outside := segments.mismatch(rule.segments):
        mismatches.append(outside)
    workspace = context.get("workspace")
    place: int | None = None
    if rule.slices or rule.split:
        if isinstance(workspace, str) and workspace:
            for part in rule.slices:
                place = place_of(f"{part.group}/{workspace}")
                if not part.begin <= place * WHOLE // PLACES < part.end:
                    span = f"{part.begin / 100:g} to {part.end / 100:g} %"
                    mismatches.append(f"the workspace is at {_percent(place):.2f} % of {part.group!r}, not at {span}")
            if rule.split:
                place = place_of(f"{key}{workspace}")
        else:
            mismatches.append("there is no workspace")
    return RuleFinding(
        index, rule.description, not mismatches, tuple(mismatches), None if place is None else _percent(place)
    )


def _percent(place: int) -> float:
    return place * 100 / PLACES


def _shown(value: Any) -> str:
    return "not known" if value in (None, "") else repr(value)


def _listed(values: tuple[str, ...]) -> str:
    shown = values[:5]
    more = f" or one of {len(values) - 5} others" if len(values) > 5 else ""
    return " or ".join(shown) + more
