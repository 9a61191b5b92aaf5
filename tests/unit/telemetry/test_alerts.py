"""What becomes of an alert, what is told of it when, and how it reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cordboard.telemetry.alerts.alert import Advance, Alert, AlertState, advance, identity
from cordboard.telemetry.alerts.message import Wording, heading, lines
from cordboard.telemetry.alerts.rules import BY_NAME, Rule, duration, percent
from cordboard.telemetry.alerts.store import Silence
from cordboard.telemetry.alerts.telling import Pace, due

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT_ONCE, HELD = BY_NAME["BreakerOpen"], BY_NAME["EdgeStale"]
PACE = Pace(group=60.0, repeat=14_400.0)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def evaluated(rule: Rule, known: tuple[Alert, ...], *subjects: str, at: datetime = NOW, value: float = 2.0) -> Advance:
    return advance(rule, known, dict.fromkeys(subjects, value), at)


def an_alert(rule: str = "BreakerOpen", state: AlertState = AlertState.FIRING, **fields: object) -> Alert:
    labels = {"cordboard_integration": "pipedrive"}
    made = Alert(identity(rule, labels), rule, labels, state, 2.0, "it is open", NOW, NOW)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_rule_without_a_hold_fires_at_once_and_is_resolved_when_it_is_over() -> None:
    [fired] = (first := evaluated(AT_ONCE, (), "pipedrive")).changed
    assert (fired.state, fired.start_time, fired.fire_time) == (AlertState.FIRING, NOW, NOW)
    assert dict(fired.labels) == {"cordboard_integration": "pipedrive"}
    assert first.fired == frozenset({fired.id})
    [still] = (second := evaluated(AT_ONCE, (fired,), "pipedrive", at=after(15))).changed
    assert (still.state, still.fire_time, second.fired) == (AlertState.FIRING, NOW, frozenset())
    [over] = evaluated(AT_ONCE, (still,), at=after(30)).changed
    assert (over.state, over.resolve_time) == (AlertState.RESOLVED, after(30))
    assert evaluated(AT_ONCE, (over,), at=after(45)) == Advance((), frozenset(), ())
    [again] = evaluated(AT_ONCE, (over,), "pipedrive", at=after(60)).changed
    assert (again.id, again.state, again.start_time) == (fired.id, AlertState.FIRING, after(60))
    assert (again.told, again.resolve_time) == (0, None)


def test_a_rule_with_a_hold_waits_and_forgets_what_did_not_last() -> None:
    [pending] = evaluated(HELD, (), "berlin", value=700.0).changed
    assert (pending.state, pending.fire_time) == (AlertState.PENDING, None)
    [waiting] = evaluated(HELD, (pending,), "berlin", at=after(59), value=759.0).changed
    assert waiting.state is AlertState.PENDING
    [fired] = evaluated(HELD, (waiting,), "berlin", at=after(60), value=760.0).changed
    assert (fired.state, fired.start_time, fired.fire_time) == (AlertState.FIRING, NOW, after(60))
    assert evaluated(HELD, (waiting,), at=after(60)) == Advance((), frozenset(), (pending.id,))


def test_one_subject_does_not_stand_for_another() -> None:
    result = evaluated(AT_ONCE, (an_alert(),), "zendesk", at=after(15))
    states = {one.labels["cordboard_integration"]: one.state for one in result.changed}
    assert states == {"zendesk": AlertState.FIRING, "pipedrive": AlertState.RESOLVED}


def test_what_is_new_is_told_with_all_that_fires_and_what_is_known_is_not() -> None:
    fresh, known = an_alert(), an_alert("BreakerOpen", told=2, told_time=NOW)
    assert due([fresh], PACE, NOW) == [fresh]
    assert due([known], PACE, after(120)) == []
    other = replace(known, id=identity("BreakerOpen", {"cordboard_integration": "zendesk"}))
    assert due([fresh, other], PACE, after(61)) == [fresh, other]


def test_a_rule_has_at_most_one_message_in_a_while_and_another_when_it_lasts() -> None:
    known = an_alert(told=2, told_time=NOW)
    fresh = an_alert()
    assert due([fresh, known], PACE, after(59)) == []
    assert due([fresh, known], PACE, after(60)) == [fresh, known]
    assert due([known], PACE, after(14_399)) == []
    assert due([known], PACE, after(14_400)) == [known]


def test_that_it_is_over_is_told_once_and_only_to_those_who_knew() -> None:
    over = an_alert(state=AlertState.RESOLVED, resolve_time=after(90))
    assert due([over], PACE, after(100)) == []
    assert due([replace(over, told=2, told_time=NOW)], PACE, after(100)) == [replace(over, told=2, told_time=NOW)]
    assert due([replace(over, told=3, told_time=after(100))], PACE, after(99_999)) == []


@pytest.mark.parametrize(
    ("rule", "labels", "covered"),
    [
        ("", {"cordboard_integration": "pipedrive"}, True),
        ("BreakerOpen", {}, True),
        ("BreakerOpen", {"cordboard_integration": "zendesk"}, False),
        ("BreakerOpen", {"cordboard_edge": "pipedrive"}, False),
        ("EdgeStale", {}, False),
    ],
)
def test_a_silence_covers_what_it_names(rule: str, labels: dict[str, str], covered: bool) -> None:
    silence = Silence("s", rule, labels, "moving", "somebody", NOW, after(60))
    assert silence.covers(an_alert(), NOW) is covered
    assert not silence.covers(an_alert(), after(60)), "it has ended"


def test_a_message_says_what_where_and_how_to_go_on() -> None:
    wording = Wording("https://mesh.example", "https://wiki.example/runbook")
    message = wording.message("BreakerOpen", [an_alert(trace="ab" * 16)])
    assert heading(message) == "[FIRING] BreakerOpen"
    assert lines(message) == [
        "firing: it is open",
        f"  trace: https://mesh.example/v1/traces/{'ab' * 16}",
        "runbook: https://wiki.example/runbook#breakeropen",
    ]
    [told] = message["alerts"]
    assert told["labels"] == {
        "alertname": "BreakerOpen",
        "severity": "page",
        "cordboard_integration": "pipedrive",
    }
    over = wording.message("BreakerOpen", [an_alert(state=AlertState.RESOLVED, resolve_time=after(90))])
    assert (heading(over), over["alerts"][0]["endsAt"]) == ("[RESOLVED] BreakerOpen", after(90).isoformat())


def test_a_storm_is_one_message_of_bounded_length() -> None:
    message = Wording("", "docs/runbook.md").message("BreakerOpen", [an_alert()] * 5000)
    assert (len(message["alerts"]), message["truncatedAlerts"]) == (20, 4980)
    assert heading(message) == "[FIRING:5000] BreakerOpen"
    assert "and 4980 more" in lines(message)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3540, "59m 0s"), (86_400 + 61, "1d 0h 1m 1s"), (7322.9, "2h 2m 2s"), (1.5, "1.5s"), (-90, "-1m 30s")],
)
def test_times_read_as_prometheus_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_shares_read_as_prometheus_writes_them() -> None:
    assert [percent(share) for share in (0.25, 0.123456, 1.0)] == ["25%", "12.35%", "100%"]
