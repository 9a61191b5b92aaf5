"""Alerts, turns, silences and deliveries in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text

from cordboard.telemetry.alerts.alert import Alert, AlertState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

MAX_ALERTS: Final = 1000
"""Alerts of one rule at most: an evaluation that finds more keeps the first ones."""
_READ: Final = (
    "SELECT id, rule, labels, state, value, summary, start_time, fire_time, resolve_time, trace, told, told_time "
    "FROM alert "
)

_ENTER = text("""
    INSERT INTO alert_turn (rule, due_time) SELECT name, :now FROM unnest(CAST(:rules AS text[])) AS name
    ON CONFLICT DO NOTHING""")
_CLAIM = text("""
    SELECT rule FROM alert_turn WHERE due_time <= :now AND rule = ANY(CAST(:rules AS text[]))
    ORDER BY due_time, rule FOR UPDATE SKIP LOCKED LIMIT 1""")
_EVALUATED = text("UPDATE alert_turn SET evaluate_time = :now, due_time = :due WHERE rule = :rule")
_POSTPONE = text("UPDATE alert_turn SET due_time = greatest(due_time, :due) WHERE rule = :rule")
_TURNS = text("SELECT rule, evaluate_time FROM alert_turn")
_OF_RULE = text(f"{_READ} WHERE rule = :rule")
_PAGE = text(f"""{_READ} WHERE (rule, id) > (:rule_after, CAST(:id_after AS uuid))
    AND (:state = 0 OR state = :state) AND (:rule = '' OR rule = :rule) ORDER BY rule, id LIMIT :limit""")
_OF_STATES = text(f"{_READ} WHERE state = ANY(CAST(:states AS smallint[])) ORDER BY rule, id LIMIT :limit")
# What was told is another transaction's to write, and may have been since this one read; an alert anew was not told.
_PUT = text("""
    INSERT INTO alert (id, rule, labels, state, value, summary, trace, start_time, fire_time, resolve_time)
    VALUES (:id, :rule, CAST(:labels AS jsonb), :state, :value, :summary, :trace, :start_time, :fire_time,
            :resolve_time)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, value = excluded.value, summary = excluded.summary,
        trace = excluded.trace, start_time = excluded.start_time, fire_time = excluded.fire_time,
        resolve_time = excluded.resolve_time,
        told = CASE WHEN alert.start_time = excluded.start_time THEN alert.told ELSE 0 END""")
_FORGET = text("DELETE FROM alert WHERE id = ANY(CAST(:ids AS uuid[]))")
_TELL = text("SELECT pg_try_advisory_xact_lock(hashtext('cordboard.telemetry.alerts'))")
# Both the last state told and the state itself: what changed meanwhile is told next time.
_TOLD = text("UPDATE alert SET told = :state, told_time = :now WHERE id = :id AND state = :state")
_SWEEP = text("""
    WITH gone AS (DELETE FROM alert WHERE state = 3 AND resolve_time < :before),
         ended AS (DELETE FROM silence WHERE end_time < :before)
    DELETE FROM alert_delivery WHERE end_time < :before""")

_PUT_SILENCE = text("""
    INSERT INTO silence (id, rule, labels, reason, creator, start_time, end_time)
    VALUES (:id, :rule, CAST(:labels AS jsonb), :reason, :creator, :start_time, :end_time)""")
_END_SILENCE = text("UPDATE silence SET end_time = :now WHERE id = :id AND end_time > :now")
_SILENCES = text("""
    SELECT id, rule, labels, reason, creator, start_time, end_time FROM silence
    WHERE (:before = '' OR id < :before) AND (CAST(:at AS timestamptz) IS NULL OR end_time > :at)
    ORDER BY id DESC LIMIT :limit""")

_QUEUE = text("""
    INSERT INTO alert_delivery (id, channel, message, create_time, due_time)
    VALUES (:id, :channel, CAST(:message AS jsonb), :now, :now)""")
_TAKE = text("""
    UPDATE alert_delivery SET attempts = attempts + 1, due_time = :again
    WHERE id = (SELECT id FROM alert_delivery WHERE end_time IS NULL AND due_time <= :now
                ORDER BY due_time FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING id, channel, message, attempts""")
_AGAIN = text("UPDATE alert_delivery SET due_time = :due, problem = :problem WHERE id = :id")
_END = text("UPDATE alert_delivery SET end_time = :now, problem = :problem WHERE id = :id")


@dataclass(frozen=True)
class Silence:
    """What is not told, and until when."""

    id: str
    rule: str
    """Empty: any."""
    labels: Mapping[str, str]
    reason: str
    creator: str
    start_time: datetime
    end_time: datetime

    def covers(self, alert: Alert, now: datetime) -> bool:
        """Tells whether it keeps the alert quiet now."""
        return (
            self.start_time <= now < self.end_time
            and self.rule in ("", alert.rule)
            and all(alert.labels.get(key) == value for key, value in self.labels.items())
        )


@dataclass(frozen=True)
class Delivery:
    """A message on its way to a channel."""

    id: UUID
    channel: str
    message: dict[str, Any]
    attempts: int


class AlertStore:
    """Keeps what the mesh knows of its alerts."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self.database = database

    async def enter(self, rules: Sequence[str], now: datetime) -> None:
        """Gives each rule a turn; one that has one keeps it."""
        async with self.database.shared() as connection:
            await connection.execute(_ENTER, {"rules": list(rules), "now": now})

    async def claim(self, connection: AsyncConnection, rules: Sequence[str], now: datetime) -> str | None:
        """Returns a rule that is due, which is nobody else's until the transaction ends; None when none is."""
        found = await connection.execute(_CLAIM, {"rules": list(rules), "now": now})
        rule: str | None = found.scalar_one_or_none()
        return rule

    async def evaluated(self, connection: AsyncConnection, rule: str, now: datetime, due: datetime) -> None:
        """Notes that a rule was evaluated, and when it is due again."""
        await connection.execute(_EVALUATED, {"rule": rule, "now": now, "due": due})

    async def postpone(self, rule: str, due: datetime) -> None:
        """Has a rule wait, that others have their turn."""
        async with self.database.shared() as connection:
            await connection.execute(_POSTPONE, {"rule": rule, "due": due})

    async def turns(self) -> dict[str, datetime | None]:
        """Returns when each rule was last evaluated."""
        async with self.database.shared() as connection:
            return {row.rule: row.evaluate_time for row in await connection.execute(_TURNS)}

    async def of_rule(self, connection: AsyncConnection, rule: str) -> list[Alert]:
        """Returns the alerts of a rule."""
        return [_alert(row) for row in await connection.execute(_OF_RULE, {"rule": rule})]

    async def page(self, *, after: tuple[str, UUID], state: int, rule: str, limit: int) -> list[Alert]:
        """Returns alerts in order of rules and ids; `state` 0 and `rule` '' are any."""
        values = {"rule_after": after[0], "id_after": after[1], "state": state, "rule": rule, "limit": limit}
        async with self.database.shared() as connection:
            return [_alert(row) for row in await connection.execute(_PAGE, values)]

    async def firing(self) -> list[Alert]:
        """Returns the alerts that fire, in order of rules."""
        async with self.database.shared() as connection:
            found = await connection.execute(_OF_STATES, {"states": [AlertState.FIRING], "limit": MAX_ALERTS})
            return [_alert(row) for row in found]

    async def put(self, connection: AsyncConnection, alerts: Sequence[Alert]) -> None:
        """Keeps alerts as they are now."""
        for alert in alerts:
            values = {name: value for name, value in vars(alert).items() if name not in ("told", "told_time")}
            values |= {"labels": orjson.dumps(dict(alert.labels)).decode(), "state": int(alert.state)}
            await connection.execute(_PUT, values)

    async def forget(self, connection: AsyncConnection, ids: Collection[UUID]) -> None:
        """Deletes alerts that never fired."""
        if ids:
            await connection.execute(_FORGET, {"ids": list(ids)})

    async def may_tell(self, connection: AsyncConnection) -> bool:
        """Tells whether nobody else is telling; nobody else will, until the transaction ends."""
        return bool((await connection.execute(_TELL)).scalar_one())

    async def tellable(self, connection: AsyncConnection) -> list[Alert]:
        """Returns the alerts that fire or were resolved, in order of rules."""
        states = [AlertState.FIRING, AlertState.RESOLVED]
        found = await connection.execute(_OF_STATES, {"states": states, "limit": 10 * MAX_ALERTS})
        return [_alert(row) for row in found]

    async def told(self, connection: AsyncConnection, alerts: Sequence[Alert], now: datetime) -> None:
        """Notes that these were told as they are."""
        for alert in alerts:
            await connection.execute(_TOLD, {"id": alert.id, "state": int(alert.state), "now": now})

    async def sweep(self, before: datetime) -> None:
        """Deletes what was over before then."""
        async with self.database.shared() as connection:
            await connection.execute(_SWEEP, {"before": before})

    async def put_silence(self, connection: AsyncConnection, silence: Silence) -> None:
        """Keeps a silence."""
        labels = orjson.dumps(dict(silence.labels)).decode()
        await connection.execute(_PUT_SILENCE, vars(silence) | {"labels": labels})

    async def end_silence(self, connection: AsyncConnection, silence_id: str, now: datetime) -> bool:
        """Ends a silence; tells whether it was there and had not ended."""
        return bool((await connection.execute(_END_SILENCE, {"id": silence_id, "now": now})).rowcount)

    async def silences(self, *, at: datetime | None, before: str = "", limit: int = 1000) -> list[Silence]:
        """Returns the silences that had not ended `at` a time (None: all), newest first, with ids below `before`."""
        async with self.database.shared() as connection:
            found = await connection.execute(_SILENCES, {"before": before, "at": at, "limit": limit})
            return [Silence(**row._mapping) for row in found]

    async def queue(
        self, connection: AsyncConnection, channels: Sequence[str], message: Mapping[str, Any], now: datetime
    ) -> None:
        """Has a message sent to each of the channels."""
        for channel in channels:
            values = {"id": uuid4(), "channel": channel, "message": orjson.dumps(message).decode(), "now": now}
            await connection.execute(_QUEUE, values)

    async def take(self, now: datetime, again: datetime) -> Delivery | None:
        """Returns what is due to be sent, which is due `again` unless it is ended or put off before; None: nothing."""
        async with self.database.shared() as connection:
            row = (await connection.execute(_TAKE, {"now": now, "again": again})).one_or_none()
        return None if row is None else Delivery(row.id, row.channel, row.message, row.attempts)

    async def put_off(self, delivery: UUID, due: datetime, problem: str) -> None:
        """Has a delivery tried again later."""
        async with self.database.shared() as connection:
            await connection.execute(_AGAIN, {"id": delivery, "due": due, "problem": problem})

    async def end(self, delivery: UUID, now: datetime, problem: str = "") -> None:
        """Notes that a delivery arrived, or was given up for a problem."""
        async with self.database.shared() as connection:
            await connection.execute(_END, {"id": delivery, "now": now, "problem": problem})


def _alert(row: Any) -> Alert:
    return Alert(**{**row._mapping, "state": AlertState(row.state)})
