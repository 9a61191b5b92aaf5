"""Which part of the flags an edge may see: what is for other tenants stays at the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.core.ownership import owner_of
from cordboard.flags.v1.replica_service_pb2 import FlagRecords

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from google.protobuf.internal.containers import RepeatedScalarFieldContainer

    from cordboard.flags.v1.flag_service_pb2 import Flag, Rule

WITHHELD: Final = "flags/withheld"
ABOUT_INTEGRATIONS: Final = ("integration", "action", "version")


def scoped(records: bytes, workspaces: Collection[str], owners: Mapping[str, str]) -> bytes:
    """Returns a set of flags as an edge may have it that has these workspaces; `owners` are the customers of those
    whose customer is known, empty for none.

    A rule for named workspaces or customers keeps those of the edge; one that names none of them can never fit there,
    and goes. A rule that lost names loses its description, which may say them. Flags about the private integrations of
    other workspaces go. A rule that switches off for customers is kept for the workspaces whose customer is not known,
    in place of the customers: they may be the ones. Everything else in a flag names nobody: it decides at the edge as
    it does here.
    """
    flags = FlagRecords.FromString(records)
    kept = [flag for flag in flags.flags if _owner(flag) in ("", *workspaces)]
    for flag in kept:
        for needed in flag.prerequisites:
            if _owner_of(needed.flag) not in ("", *workspaces):
                # It gives nothing there, whatever it is called.
                needed.flag = WITHHELD
        for rule in flag.rules:
            if rule.customers and rule.variant and rule.variant == (flag.off_variant or flag.default_variant):
                _withhold(rule, workspaces, owners)
        rules = [rule for rule in flag.rules if _narrow(rule, workspaces, {*owners.values()})]
        del flag.rules[:]
        flag.rules.extend(rules)
    return FlagRecords(sequence=flags.sequence, flags=kept).SerializeToString(deterministic=True)


def _owner(flag: Flag) -> str:
    return _owner_of(flag.name)


def _owner_of(name: str) -> str:
    # What workspaces have chosen is about what they have chosen about.
    kind, _, rest = name.removeprefix("flags/").removeprefix("choice.").partition(".")
    return owner_of(rest.partition(".")[0]) if kind in ABOUT_INTEGRATIONS else ""


def _withhold(rule: Rule, workspaces: Collection[str], owners: Mapping[str, str]) -> None:
    """Has a rule name its customers' workspaces, and with them those that may be theirs, where there are such."""
    if owners.keys() >= {*workspaces}:
        return
    concerned = [one for one in workspaces if one not in owners or owners[one] in rule.customers]
    if rule.workspaces:
        concerned = [one for one in concerned if one in rule.workspaces]
    for field in ("customers", "workspaces", "description"):
        rule.ClearField(field)
    # Of none it would be for all: one that is nobody's leaves the rule out.
    rule.workspaces.extend(sorted(concerned) or [""])


def _narrow(rule: Rule, workspaces: Collection[str], customers: Collection[str]) -> bool:
    """Takes the names of others out of a rule, and tells whether it can still fit anybody."""
    # Both, whatever the first says: a rule that stays has no foreign name.
    return all([_keep(rule, rule.workspaces, workspaces), _keep(rule, rule.customers, customers)])


def _keep(rule: Rule, named: RepeatedScalarFieldContainer[str], own: Collection[str]) -> bool:
    if not named:
        return True
    kept = [one for one in named if one in own]
    if len(kept) < len(named):
        del named[:]
        named.extend(kept)
        rule.ClearField("description")
    return bool(kept)
