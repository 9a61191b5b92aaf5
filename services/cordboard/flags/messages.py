"""Flags between their proto messages and the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.flagging import TO_DEFAULT
from cordboard.core.names import parse
from cordboard.core.structs import from_value, to_value
from cordboard.core.times import to_timestamp
from cordboard.flags.content import Content, Prerequisite, Rule, Share, Slice, is_key, variant_path, violations
from cordboard.flags.v1 import flag_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.struct_pb2 import Value

    from cordboard.flags.store import FlagRecord

# Beyond int64 no revision was ever counted.
MAX_REVISION_DIGITS = 18


def key_of(name: str, field: str = "name") -> str:
    """Returns the key in `flags/{key}`; raises InvalidFields naming `field`."""
    return _checked(parse(name, "flags/*", field=field)[0], field)


def revision_of(name: str) -> tuple[str, int]:
    """Returns key and number in `flags/{key}/revisions/{number}`; raises InvalidFields."""
    key, number = parse(name, "flags/*/revisions/*")
    if not is_number(number):
        raise InvalidFields.one("name", "must end in the number of a revision", "RESOURCE_NAME")
    return _checked(key, "name"), int(number)


def key_after(key: str) -> str:
    """Returns the key after which a page of flags begins, empty for the first page; raises InvalidFields."""
    if key and not is_key(key):
        raise InvalidFields.one("page_token", "is not a token of this list")
    return key


def content_of(flag: pb.Flag) -> tuple[str, Content]:
    """Returns key and content of a flag that is to be put; raises InvalidFields with all that is wrong with it."""
    problems: list[Violation] = []
    key = ""
    try:
        key = key_of(flag.name, "flag.name")
    except InvalidFields as error:
        problems += error.violations
    variants, unreadable = _variants(flag.variants)
    content = Content(
        description=flag.description,
        variants=variants,
        rules=tuple(_rule(rule) for rule in flag.rules),
        default_variant=flag.default_variant,
        off_variant=flag.off_variant,
        when_stale=TO_DEFAULT if flag.when_stale == pb.WHEN_STALE_DEFAULT else "",
        prerequisites=tuple(
            prerequisite_of(each, f"flag.prerequisites[{index}]") for index, each in enumerate(flag.prerequisites)
        ),
    )
    if flag.when_stale not in pb.WhenStale.values():
        problems.append(Violation("flag.when_stale", "must be one of WhenStale", "OUT_OF_RANGE"))
    seen_already = {variant_path(name) for name in unreadable}
    problems += [violation for found in unreadable.values() for violation in found]
    problems += [violation for violation in violations(key, content) if violation.field not in seen_already]
    if problems:
        raise InvalidFields(problems)
    return key, content


def prerequisite_of(message: pb.Prerequisite, path: str) -> Prerequisite:
    """Returns a prerequisite; raises InvalidFields for what is no flag."""
    return Prerequisite(key_of(message.flag, f"{path}.flag"), tuple(message.variants))


def prerequisite_message(prerequisite: Prerequisite) -> pb.Prerequisite:
    """Returns a prerequisite as it is answered."""
    return pb.Prerequisite(flag=f"flags/{prerequisite.key}", variants=prerequisite.variants)


def flag_message(record: FlagRecord) -> pb.Flag:
    """Returns a flag as it is from `record` on."""
    content = record.content
    message = pb.Flag(
        name=record.name,
        description=content.description,
        rules=[_rule_message(rule) for rule in content.rules],
        default_variant=content.default_variant,
        off_variant=content.off_variant,
        when_stale=pb.WHEN_STALE_DEFAULT if content.when_stale else pb.WHEN_STALE_UNSPECIFIED,
        prerequisites=map(prerequisite_message, content.prerequisites),
        killed=record.killed,
        revision=record.revision,
        etag=record.etag,
        create_time=to_timestamp(record.create_time),
        update_time=to_timestamp(record.update_time),
    )
    for name, value in content.variants.items():
        message.variants[name].CopyFrom(to_value(value))
    return message


def revision_message(record: FlagRecord) -> pb.FlagRevision:
    """Returns the change that made `record`."""
    return pb.FlagRevision(
        name=f"{record.name}/revisions/{record.revision}",
        flag=flag_message(record),
        creator=record.creator,
        reason=record.reason,
        create_time=to_timestamp(record.update_time),
    )


def is_number(text: str) -> bool:
    """Tells whether a text is the number of a revision or of a proposal."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_REVISION_DIGITS


def _checked(key: str, field: str) -> str:
    if not is_key(key):
        description = "must be `flags/` and at most 200 letters, digits, dots, underscores and hyphens"
        raise InvalidFields.one(field, description, "RESOURCE_NAME")
    return key


def _variants(values: Mapping[str, Value]) -> tuple[dict[str, Any], dict[str, tuple[Violation, ...]]]:
    """Returns the values that are JSON, with None for the others, and what is wrong with each of those."""
    variants: dict[str, Any] = {}
    unreadable: dict[str, tuple[Violation, ...]] = {}
    for name, value in sorted(values.items()):
        try:
            variants[name] = from_value(value, variant_path(name))
        except InvalidFields as error:
            variants[name] = None
            unreadable[name] = error.violations
    return variants, unreadable


def _rule(rule: pb.Rule) -> Rule:
    return Rule(
        description=rule.description,
        tiers=tuple(rule.tiers),
        workspaces=tuple(rule.workspaces),
        customers=tuple(rule.customers),
        environments=tuple(rule.environments),
        regions=tuple(rule.regions),
        variant=rule.variant,
        split=tuple(Share(share.variant, share.weight) for share in rule.split),
        slices=tuple(Slice(each.group, each.begin, each.end) for each in rule.slices),
        segments=tuple(rule.segments),
        opt_in=rule.opt_in,
    )


def _rule_message(rule: Rule) -> pb.Rule:
    return pb.Rule(
        description=rule.description,
        tiers=rule.tiers,
        workspaces=rule.workspaces,
        customers=rule.customers,
        environments=rule.environments,
        regions=rule.regions,
        variant=rule.variant,
        split=[pb.WeightedVariant(variant=share.variant, weight=share.weight) for share in rule.split],
        slices=[pb.Slice(group=each.group, begin=each.begin, end=each.end) for each in rule.slices],
        segments=rule.segments,
        opt_in=rule.opt_in,
    )
