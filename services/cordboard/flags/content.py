"""The content of a flag: its typed variants and rules, as a person decides them, and what makes one valid."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# flagd's evaluators add the weights of a split in 31 bits.
MAX_WEIGHT_SUM: Final = 2**31 - 1
MAX_VARIANTS: Final = 100
# Readers of protobuf give up at 100 messages inside each other, and a Value takes two for each level.
MAX_DEPTH: Final = 20
MAX_RULES: Final = 200
MAX_SLICES: Final = 10
MAX_PREREQUISITES: Final = 10
MAX_SEGMENTS: Final = 20
SEGMENT: Final = "segment."
# Flags that say what workspaces have chosen about another flag.
CHOICE: Final = "choice."
# Flags about which workspaces choose.
CHOOSABLE: Final = "integration."
# Hundredths of a percent.
WHOLE: Final = 10_000
MAX_CONDITION_VALUES: Final = 10_000
MAX_VALUE_LENGTH: Final = 255
MAX_DESCRIPTION_LENGTH: Final = 2_000
# The whole set travels in one message of a stream, so that no single flag may fill it.
MAX_CONTENT_BYTES: Final = 256 * 1024
# What workspaces choose names each of them: tens of thousands.
MAX_CHOICE_BYTES: Final = 1024 * 1024

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_VARIANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Share:
    """A variant's weight in a split."""

    variant: str
    weight: int


@dataclass(frozen=True)
class Slice:
    """The workspaces from `begin` up to `end`, in hundredths of a percent, in the order that the group puts them in."""

    group: str
    begin: int
    end: int


@dataclass(frozen=True)
class Rule:
    """Gives a variant, or a share of several, to those who fit all conditions; an empty condition fits everybody."""

    description: str = ""
    tiers: tuple[str, ...] = ()
    workspaces: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    variant: str = ""
    split: tuple[Share, ...] = ()
    slices: tuple[Slice, ...] = ()
    segments: tuple[str, ...] = ()
    """Whoever is in one of these fits."""
    opt_in: bool = False
    """Whether it is only for those who have chosen it themselves."""

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """Returns the conditions by their proto field, empty ones too."""
        return {
            "tiers": self.tiers,
            "workspaces": self.workspaces,
            "customers": self.customers,
            "environments": self.environments,
            "regions": self.regions,
        }


@dataclass(frozen=True)
class Prerequisite:
    """What another flag has to give: one of some variants."""

    key: str
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """What a flag decides between, and for whom: the first rule that matches decides."""

    variants: Mapping[str, Any]
    default_variant: str
    rules: tuple[Rule, ...] = ()
    off_variant: str = ""
    description: str = ""
    when_stale: str = ""
    """What a copy gives that is too old: TO_DEFAULT, or empty for what was known last."""
    prerequisites: tuple[Prerequisite, ...] = ()
    """Where one does not hold, everybody gets the variant of a kill."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Returns the keys of the flags that decide this one too: its prerequisites, and its rules' segments."""
        segments = (segment_key(name) for rule in self.rules for name in rule.segments)
        return tuple(dict.fromkeys([*(each.key for each in self.prerequisites), *segments]))

    @property
    def variant_when_killed(self) -> str:
        """Returns the off variant, which is the default variant where none is named."""
        return self.off_variant or self.default_variant

    def to_json(self) -> dict[str, Any]:
        """Returns the content as JSON, for keeping."""
        return {
            "description": self.description,
            "variants": dict(self.variants),
            "rules": [
                {
                    "description": rule.description,
                    **{name: list(values) for name, values in rule.conditions.items()},
                    "variant": rule.variant,
                    "split": [[share.variant, share.weight] for share in rule.split],
                    "slices": [[each.group, each.begin, each.end] for each in rule.slices],
                    **({"segments": list(rule.segments)} if rule.segments else {}),
                    **({"opt_in": True} if rule.opt_in else {}),
                }
                for rule in self.rules
            ],
            "default_variant": self.default_variant,
            "off_variant": self.off_variant,
            **({"when_stale": self.when_stale} if self.when_stale else {}),
            # What the store finds those by that need others.
            **({"segmented": True} if any(rule.segments for rule in self.rules) else {}),
            **({"prerequisites": prerequisites_json(self.prerequisites)} if self.prerequisites else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Content:
        """Returns the content that `to_json` wrote."""
        return cls(
            description=document["description"],
            variants=document["variants"],
            rules=tuple(_rule(rule) for rule in document["rules"]),
            default_variant=document["default_variant"],
            off_variant=document["off_variant"],
            # Revisions of before it could be said have none.
            when_stale=document.get("when_stale", ""),
            prerequisites=prerequisites_of(document.get("prerequisites", ())),
        )


def segment_key(name: str) -> str:
    """Returns the key of the flag that says who is in a segment."""
    return f"{SEGMENT}{name}"


def choice_key(key: str) -> str:
    """Returns the key of the flag that says what workspaces have chosen about a flag; empty where nobody chooses."""
    return f"{CHOICE}{key}" if key.startswith(CHOOSABLE) else ""


def prerequisites_json(prerequisites: Sequence[Prerequisite]) -> list[Any]:
    """Returns prerequisites as JSON, for keeping."""
    return [[each.key, list(each.variants)] for each in prerequisites]


def prerequisites_of(document: Sequence[Any]) -> tuple[Prerequisite, ...]:
    """Returns the prerequisites that `prerequisites_json` wrote."""
    return tuple(Prerequisite(key, tuple(variants)) for key, variants in document)


def is_key(text: str) -> bool:
    """Tells whether `text` can be the key of a flag."""
    return _KEY.fullmatch(text) is not None


def variant_path(name: str) -> str:
    """Returns the field path of a variant's value."""
    return f"flag.variants[{json.dumps(name)}]"


def violations(key: str, content: Content) -> list[Violation]:
    """Returns everything that is wrong with the content of flag `key`, with paths as in PutFlagRequest."""
    return [
        *_description("flag.description", content.description),
        *_variants(content.variants),
        *_named("flag.default_variant", content.default_variant, content.variants, required=True),
        *_named("flag.off_variant", content.off_variant, content.variants, required=False),
        *_rules(key, content),
        *_prerequisites(key, content.prerequisites),
        *_steering(key, content),
        *_size(key, content),
    ]


def _rule(document: Mapping[str, Any]) -> Rule:
    return Rule(
        description=document["description"],
        tiers=tuple(document["tiers"]),
        workspaces=tuple(document["workspaces"]),
        customers=tuple(document["customers"]),
        environments=tuple(document["environments"]),
        regions=tuple(document["regions"]),
        variant=document["variant"],
        split=tuple(Share(variant, weight) for variant, weight in document["split"]),
        # Revisions of before there were slices have none.
        slices=tuple(Slice(*each) for each in document.get("slices", ())),
        segments=tuple(document.get("segments", ())),
        opt_in=document.get("opt_in", False),
    )


def _description(field: str, text: str) -> Iterator[Violation]:
    if len(text) > MAX_DESCRIPTION_LENGTH:
        yield Violation(field, f"must be at most {MAX_DESCRIPTION_LENGTH} characters long", "TOO_LONG")


def _variants(variants: Mapping[str, Any]) -> Iterator[Violation]:
    if not variants:
        yield Violation("flag.variants", "must hold at least one variant", "REQUIRED")
    if len(variants) > MAX_VARIANTS:
        yield Violation("flag.variants", f"must hold at most {MAX_VARIANTS} variants", "TOO_MANY")
    for name, value in variants.items():
        if not _VARIANT.fullmatch(name):
            yield Violation(
                variant_path(name),
                "must be named by 1 to 100 letters, digits and any of . _ + -, and begin with a letter or a digit",
            )
        if value is None:
            yield Violation(variant_path(name), "must have a value: null is of no type", "REQUIRED")
        if _depth(value) > MAX_DEPTH:
            yield Violation(variant_path(name), f"must be nested at most {MAX_DEPTH} levels deep", "TOO_DEEP")
    kinds = sorted({_kind(value) for value in variants.values() if value is not None})
    if len(kinds) > 1:
        yield Violation("flag.variants", f"must all be of one JSON type, and are: {', '.join(kinds)}", "MIXED_TYPES")


def _depth(value: Any) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, members), default=0)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


def _named(field: str, name: str, variants: Mapping[str, Any], *, required: bool) -> Iterator[Violation]:
    if not name:
        if required:
            yield Violation(field, "must name a variant", "REQUIRED")
    elif name not in variants:
        yield Violation(field, f"names {name[:100]!r}, which is none of the variants", "UNKNOWN_VARIANT")


def _rules(key: str, content: Content) -> Iterator[Violation]:
    if len(content.rules) > MAX_RULES:
        yield Violation("flag.rules", f"must be at most {MAX_RULES}", "TOO_MANY")
        return
    for index, rule in enumerate(content.rules):
        path = f"flag.rules[{index}]"
        yield from _description(f"{path}.description", rule.description)
        for name, values in rule.conditions.items():
            yield from _condition(f"{path}.{name}", values)
        if rule.variant and rule.split:
            yield Violation(f"{path}.variant", "must be empty where a split is given", "AMBIGUOUS")
        elif not rule.split:
            yield from _named(f"{path}.variant", rule.variant, content.variants, required=True)
        yield from _split(f"{path}.split", rule.split, content.variants)
        yield from _slices(f"{path}.slices", rule.slices)
        yield from _segments(f"{path}.segments", rule.segments)
        if rule.opt_in and (rule.split or not key.startswith(CHOOSABLE)):
            text = f"must be left out unless the key begins with {CHOOSABLE!r}, and the rule gives one variant"
            yield Violation(f"{path}.opt_in", text, "WRONG_KEY")


def _prerequisites(key: str, prerequisites: Sequence[Prerequisite]) -> Iterator[Violation]:
    if len(prerequisites) > MAX_PREREQUISITES:
        yield Violation("flag.prerequisites", f"must be at most {MAX_PREREQUISITES}", "TOO_MANY")
        return
    seen: set[str] = set()
    for index, each in enumerate(prerequisites):
        path = f"flag.prerequisites[{index}]"
        if each.key == key:
            yield Violation(f"{path}.flag", "must be another flag", "CYCLE")
        if each.key in seen:
            yield Violation(f"{path}.flag", "is among the prerequisites already", "DUPLICATE")
        seen.add(each.key)
        if not 1 <= len(each.variants) <= MAX_VARIANTS:
            yield Violation(
                f"{path}.variants", f"must be 1 to {MAX_VARIANTS}", "TOO_MANY" if each.variants else "REQUIRED"
            )


def _condition(path: str, values: Sequence[str]) -> Iterator[Violation]:
    if len(values) > MAX_CONDITION_VALUES:
        yield Violation(path, f"must hold at most {MAX_CONDITION_VALUES} values", "TOO_MANY")
        return
    for index, value in enumerate(values):
        if not value:
            yield Violation(f"{path}[{index}]", "must not be empty", "REQUIRED")
        elif len(value) > MAX_VALUE_LENGTH:
            yield Violation(f"{path}[{index}]", f"must be at most {MAX_VALUE_LENGTH} characters long", "TOO_LONG")


def _split(path: str, split: Sequence[Share], variants: Mapping[str, Any]) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, share in enumerate(split):
        yield from _named(f"{path}[{index}].variant", share.variant, variants, required=True)
        if share.variant in seen:
            yield Violation(f"{path}[{index}].variant", "is in this split already", "DUPLICATE")
        seen.add(share.variant)
        if share.weight < 1:
            yield Violation(f"{path}[{index}].weight", "must be at least 1", "OUT_OF_RANGE")
    total = sum(share.weight for share in split)
    if total > MAX_WEIGHT_SUM:
        yield Violation(path, f"the weights must add up to at most {MAX_WEIGHT_SUM}, not {total}", "OUT_OF_RANGE")


def _slices(path: str, slices: Sequence[Slice]) -> Iterator[Violation]:
    if len(slices) > MAX_SLICES:
        yield Violation(path, f"must be at most {MAX_SLICES}", "TOO_MANY")
        return
    for index, each in enumerate(slices):
        if not is_key(each.group):
            yield Violation(
                f"{path}[{index}].group", "must be at most 200 letters, digits, dots, underscores and hyphens"
            )
        if not 0 <= each.begin < each.end <= WHOLE:
            yield Violation(f"{path}[{index}].end", f"must be above begin, both from 0 to {WHOLE}", "OUT_OF_RANGE")


def _segments(path: str, segments: Sequence[str]) -> Iterator[Violation]:
    if len(segments) > MAX_SEGMENTS:
        yield Violation(path, f"must be at most {MAX_SEGMENTS}", "TOO_MANY")
    for index, name in enumerate(segments[:MAX_SEGMENTS]):
        if not is_key(segment_key(name)):
            yield Violation(f"{path}[{index}]", "must be letters, digits, dots, underscores and hyphens")


def _steering(key: str, content: Content) -> Iterator[Violation]:
    """Yields what the Proxy could not use, and a kill that would not switch off."""
    values = [value for value in content.variants.values() if value is not None]
    if key.startswith("version.") and not all(isinstance(value, str) for value in values):
        yield Violation("flag.variants", "a flag `version.*` has text variants: definition versions", "WRONG_TYPE")
    if not key.startswith(("integration.", "action.", SEGMENT)):
        return
    if not all(isinstance(value, bool) for value in values):
        text = "a flag `integration.*`, `action.*` or `segment.*` has boolean variants"
        yield Violation("flag.variants", text, "WRONG_TYPE")
    elif content.variants.get(content.variant_when_killed) is True:
        yield Violation(
            "flag.off_variant",
            "must name a variant that is false, or else a kill would switch on what it shall switch off",
            "UNSAFE",
        )


def _size(key: str, content: Content) -> Iterator[Violation]:
    size = len(json.dumps(content.to_json()))
    most = MAX_CHOICE_BYTES if key.startswith(CHOICE) else MAX_CONTENT_BYTES
    if size > most:
        yield Violation("flag", f"is {size} bytes as JSON, and must be at most {most}", "TOO_LONG")
