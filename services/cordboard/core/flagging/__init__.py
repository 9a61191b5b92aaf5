"""Sets of flags in flagd's JSON, and their evaluation in process, for every service that asks one."""

from __future__ import annotations

from cordboard.core.flagging.bucketing import ALGORITHMS, BUCKETING, OWN
from cordboard.core.flagging.decisions import (
    CHOICE,
    DEFAULT,
    DISABLED,
    ERROR,
    FLAG_NOT_FOUND,
    GENERAL,
    KILLED,
    PARSE_ERROR,
    REVISION,
    STALE,
    STATIC,
    TARGETING_MATCH,
    TO_DEFAULT,
    WHEN_STALE,
    Decision,
)
from cordboard.core.flagging.gates import integration_key, is_on
from cordboard.core.flagging.rules import RuleBroken, compiled, inlined, specialised
from cordboard.core.flagging.sets import FlagSet

__all__ = [
    "ALGORITHMS",
    "BUCKETING",
    "CHOICE",
    "DEFAULT",
    "DISABLED",
    "ERROR",
    "FLAG_NOT_FOUND",
    "GENERAL",
    "KILLED",
    "OWN",
    "PARSE_ERROR",
    "REVISION",
    "STALE",
    "STATIC",
    "TARGETING_MATCH",
    "TO_DEFAULT",
    "WHEN_STALE",
    "Decision",
    "FlagSet",
    "RuleBroken",
    "compiled",
    "inlined",
    "integration_key",
    "is_on",
    "specialised",
]
