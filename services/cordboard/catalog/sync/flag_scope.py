"""Which part of the flags an edge may see: rules for other tenants' workspaces stay at the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.flags.v1.flag_service_pb2 import Flag
from cordboard.flags.v1.replica_service_pb2 import FlagRecords

if TYPE_CHECKING:
    from collections.abc import Collection


def scoped(records: bytes, workspaces: Collection[str]) -> bytes:
    """Returns a set of flags as an edge with these workspaces may have it.

    A rule for named workspaces keeps those of the edge; one that names none of them can never fit there, and goes.
    """
    flags = FlagRecords.FromString(records)
    for flag in flags.flags:
        _narrow(flag, workspaces)
    return flags.SerializeToString(deterministic=True)


def _narrow(flag: Flag, workspaces: Collection[str]) -> None:
    kept = []
    for rule in flag.rules:
        if rule.workspaces:
            own = [one for one in rule.workspaces if one in workspaces]
            if not own:
                continue
            del rule.workspaces[:]
            rule.workspaces.extend(own)
        kept.append(rule)
    if len(kept) != len(flag.rules):
        narrowed = Flag()
        narrowed.CopyFrom(flag)
        del narrowed.rules[:]
        narrowed.rules.extend(kept)
        flag.CopyFrom(narrowed)
