"""An alert and what becomes of it: pending, firing, resolved. Pure: what is known and what is found, in and out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cordboard.telemetry.alerts.rules import Rule


class AlertState(IntEnum):
    """How far an alert is."""

    PENDING = 1
    FIRING = 2
    RESOLVED = 3


@dataclass(frozen=True)
class Alert:
    """A rule that is or was broken by what its labels name."""

    id: UUID
    rule: str
    labels: Mapping[str, str]
    state: AlertState
    value: float
    summary: str
    start_time: datetime
    fire_time: datetime | None = None
    resolve_time: datetime | None = None
    trace: str = ""
    """The trace that shows it, in hex; empty: none."""
    told: int = 0
    """The state that was told last; 0: none."""
    told_time: datetime | None = None


@dataclass(frozen=True)
class Advance:
    """What an evaluation changes: alerts as they are now, those that just began to fire, and those that are none."""

    changed: tuple[Alert, ...]
    fired: frozenset[UUID]
    gone: tuple[UUID, ...]


def identity(rule: str, labels: Mapping[str, str]) -> UUID:
    """Returns the id of a rule's alert with these labels: the same for ever."""
    material = orjson.dumps([rule, dict(labels)], option=orjson.OPT_SORT_KEYS)
    return UUID(bytes=hashlib.sha256(material).digest()[:16])


def advance(rule: Rule, known: Iterable[Alert], breaches: Mapping[str, float], now: datetime) -> Advance:
    """Returns what becomes of a rule's alerts when these subjects break it now."""
    before = {alert.id: alert for alert in known}
    changed, fired = [], set()
    for subject, value in breaches.items():
        labels = rule.labels(subject)
        key = identity(rule.name, labels)
        alert = before.pop(key, None)
        if alert is None or alert.state is AlertState.RESOLVED:
            alert = Alert(key, rule.name, labels, AlertState.PENDING, value, "", now)
        alert = replace(alert, value=value, summary=rule.told(subject, value))
        if alert.state is AlertState.PENDING and (now - alert.start_time).total_seconds() >= rule.hold:
            alert = replace(alert, state=AlertState.FIRING, fire_time=now)
            fired.add(key)
        changed.append(alert)
    over = [alert for alert in before.values() if alert.state is AlertState.FIRING]
    changed += [replace(alert, state=AlertState.RESOLVED, resolve_time=now) for alert in over]
    gone = tuple(alert.id for alert in before.values() if alert.state is AlertState.PENDING)
    return Advance(tuple(changed), frozenset(fired), gone)
