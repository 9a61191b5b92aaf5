"""The plan of a rollout: whom it is for and in which stages, what makes one valid, and the flag of each stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import Violation
from cordboard.flags.content import CHOOSABLE, WHOLE, Content, Prerequisite, Rule, Slice, is_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_STAGES: Final = 20
MAX_REACHES: Final = 20
MAX_SOAK_SECONDS: Final = 366 * 86_400.0
# The group whose first slice is held out: the same for all rollouts, so that the same workspaces are.
HOLDOUT: Final = "holdout"
TARGETS: Final = ("integration.", "action.", "version.")
ON, OFF = "on", "off"
# What is left to workspaces: whether they have at all what a stage gives them, or whether they have it ahead of time.
REACHED, EARLY = "reached", "early"


@dataclass(frozen=True)
class Audience:
    """Whom a rollout is for: the excluded never, the named from the first stage on, others by tier and region."""

    minimum_tier: str = ""
    regions: tuple[str, ...] = ()
    workspaces: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    excluded_workspaces: tuple[str, ...] = ()
    excluded_customers: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    """Whoever is not named has to be in one of these, if there are any."""


@dataclass(frozen=True)
class Reach:
    """How much of an environment a stage reaches, in hundredths of a percent; an empty environment means the others."""

    environment: str
    share: int


@dataclass(frozen=True)
class Stage:
    """A step of a rollout."""

    reaches: tuple[Reach, ...]
    soak: float = 0.0
    """Seconds until the next stage begins by itself; 0: never."""


@dataclass(frozen=True)
class Guard:
    """When a rollout is taken back by itself, in hundredths of a percent."""

    failures: int = 100
    """By how much the share of failed calls has to be higher than without it."""
    slowness: int = 1_000
    """By how much the share of slow calls has to be higher than without it."""
    false_alarms: int = 500
    """The chance to take back, at some time, a rollout that is as good as what it replaces."""


@dataclass(frozen=True)
class Plan:
    """Who gets something, and in which stages."""

    stages: tuple[Stage, ...]
    audience: Audience = Audience()
    description: str = ""
    version: str = ""
    holdout: int = 0
    """The share of all workspaces that is not reached, in hundredths of a percent."""
    exclusion: Slice | None = None
    guard: Guard | None = None
    prerequisites: tuple[Prerequisite, ...] = ()
    opt_in: str = ""
    """REACHED, EARLY, or nothing."""

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as JSON, for keeping."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Returns the plan that `to_json` wrote."""
        exclusion = document["exclusion"]
        # Plans of before there were guards have none.
        guard = document.get("guard")
        return cls(
            stages=tuple(
                Stage(tuple(Reach(**reach) for reach in stage["reaches"]), stage["soak"])
                for stage in document["stages"]
            ),
            audience=_audience(document["audience"]),
            description=document["description"],
            version=document["version"],
            holdout=document["holdout"],
            exclusion=None if exclusion is None else Slice(**exclusion),
            guard=None if guard is None else Guard(**guard),
            prerequisites=tuple(
                Prerequisite(each["key"], tuple(each["variants"])) for each in document.get("prerequisites", ())
            ),
            opt_in=document.get("opt_in", ""),
        )


def content_at(key: str, plan: Plan, stage: int, tiers: Sequence[str]) -> Content:
    """Returns the content of flag `key` while a stage holds, counted from 1; at stage 0 nobody gets it.

    `tiers` is the order of tiers, the lowest first.
    """
    variants: dict[str, Any] = {ON: True, OFF: False}
    if key.startswith("version."):
        # An empty version is the active one.
        variants = {ON: plan.version, OFF: ""}
    return Content(
        variants=variants,
        default_variant=OFF,
        off_variant=OFF,
        description=plan.description,
        prerequisites=plan.prerequisites,
        rules=tuple(_rules(key, plan, plan.stages[stage - 1], tiers)) if stage else (),
    )


def violations(key: str, plan: Plan, tiers: Sequence[str]) -> Iterator[Violation]:
    """Yields what is wrong with a plan beside what is wrong with its flags, with paths as in PutRolloutRequest."""
    if not key.startswith(TARGETS):
        yield Violation("rollout.name", f"must be for a key that begins with one of {', '.join(TARGETS)}", "WRONG_KEY")
    if key.startswith("version.") != bool(plan.version):
        yield Violation("rollout.version", "must be set for a key `version.*`, and for no other", "WRONG_KEY")
    if plan.audience.minimum_tier and plan.audience.minimum_tier not in tiers:
        yield Violation("rollout.audience.minimum_tier", f"must be one of {', '.join(tiers)}", "UNKNOWN_TIER")
    if not 0 <= plan.holdout < WHOLE:
        yield Violation("rollout.holdout_percent", "must be from 0 to below 100", "OUT_OF_RANGE")
    if plan.opt_in and not key.startswith(CHOOSABLE):
        yield Violation("rollout.opt_in", f"must be left out unless the key begins with {CHOOSABLE!r}", "WRONG_KEY")
    yield from _exclusion(plan.exclusion)
    yield from _guard(key, plan.guard)
    yield from _stages(plan.stages)


def _audience(document: Mapping[str, Any]) -> Audience:
    lists = {name: tuple(value) for name, value in document.items() if name != "minimum_tier"}
    return Audience(document["minimum_tier"], **lists)


def _exclusion(part: Slice | None) -> Iterator[Violation]:
    if part is None:
        return
    if not is_key(part.group) or part.group == HOLDOUT:
        yield Violation(
            "rollout.exclusion.group",
            f"must be at most 200 letters, digits, dots, underscores and hyphens, and not {HOLDOUT!r}",
        )
    if not 0 <= part.begin < part.end <= WHOLE:
        yield Violation("rollout.exclusion.end_percent", "must be above begin, both from 0 to 100", "OUT_OF_RANGE")


def _guard(key: str, guard: Guard | None) -> Iterator[Violation]:
    if guard is None:
        return
    if not key.startswith("version."):
        # Who is not reached by the others is refused: there are no calls to compare with.
        yield Violation("rollout.guard", "must be left out unless the key is `version.*`", "WRONG_KEY")
    for name, share in (("failures", guard.failures), ("slowness", guard.slowness)):
        if not 0 < share <= WHOLE:
            yield Violation(f"rollout.guard.{name}_percent", "must be above 0, at most 100", "OUT_OF_RANGE")
    if not 0 < guard.false_alarms <= WHOLE // 2:
        yield Violation("rollout.guard.false_alarm_percent", "must be above 0, at most 50", "OUT_OF_RANGE")


def _stages(stages: Sequence[Stage]) -> Iterator[Violation]:
    if not 1 <= len(stages) <= MAX_STAGES:
        yield Violation("rollout.stages", f"must be 1 to {MAX_STAGES}", "TOO_MANY" if stages else "REQUIRED")
        return
    for number, stage in enumerate(stages):
        path = f"rollout.stages[{number}]"
        if not 0 <= stage.soak <= MAX_SOAK_SECONDS:
            yield Violation(f"{path}.soak_duration", "must be from nothing to 366 days", "OUT_OF_RANGE")
        if not 1 <= len(stage.reaches) <= MAX_REACHES:
            yield Violation(
                f"{path}.reaches", f"must be 1 to {MAX_REACHES}", "TOO_MANY" if stage.reaches else "REQUIRED"
            )
            continue
        seen: set[str] = set()
        for index, reach in enumerate(stage.reaches):
            if reach.environment in seen:
                yield Violation(f"{path}.reaches[{index}].environment", "is in this stage already", "DUPLICATE")
            seen.add(reach.environment)
            if not 0 <= reach.share <= WHOLE:
                yield Violation(f"{path}.reaches[{index}].percent", "must be from 0 to 100", "OUT_OF_RANGE")


def _rules(key: str, plan: Plan, stage: Stage, tiers: Sequence[str]) -> Iterator[Rule]:
    audience, opt_in = plan.audience, plan.opt_in == REACHED
    if audience.excluded_workspaces:
        yield Rule("excluded", workspaces=audience.excluded_workspaces, variant=OFF)
    if audience.excluded_customers:
        yield Rule("excluded", customers=audience.excluded_customers, variant=OFF)
    if audience.workspaces:
        yield Rule("named", workspaces=audience.workspaces, variant=ON, opt_in=opt_in)
    if audience.customers:
        yield Rule("named", customers=audience.customers, variant=ON, opt_in=opt_in)
    if plan.holdout:
        yield Rule("held out", slices=(Slice(HOLDOUT, 0, plan.holdout),), variant=OFF)
    # The default comes last: an environment that is named is never decided by it.
    for reach in sorted(stage.reaches, key=lambda each: not each.environment):
        environments = (reach.environment,) if reach.environment else ()
        if reach.share:
            reached = Rule(
                f"{reach.share / 100:g} %",
                tiers=_from(audience.minimum_tier, tiers),
                regions=audience.regions,
                segments=audience.segments,
                environments=environments,
                slices=_slices(key, plan, reach),
                variant=ON,
                opt_in=opt_in,
            )
            yield reached
            if plan.opt_in == EARLY and reach.share < WHOLE:
                whole = replace(reach, share=WHOLE)
                yield replace(reached, description="early", slices=_slices(key, plan, whole), opt_in=True)
        yield Rule("not reached", environments=environments, variant=OFF)


def _from(minimum: str, tiers: Sequence[str]) -> tuple[str, ...]:
    return tuple(tiers[tiers.index(minimum) :]) if minimum else ()


def _slices(key: str, plan: Plan, reach: Reach) -> tuple[Slice, ...]:
    own = (Slice(key, 0, reach.share),) if reach.share < WHOLE else ()
    return own if plan.exclusion is None else (plan.exclusion, *own)
