"""Telemetry's rules and those for Prometheus say the same of the same series, word for word, at the same times."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson
import pytest
import yaml

from cordboard.core.database import Database
from cordboard.telemetry.alerts.alert import Alert, AlertState, advance
from cordboard.telemetry.alerts.figures import Figures
from cordboard.telemetry.alerts.rules import RULES, Rule
from cordboard.telemetry.metric_store import MetricStore
from cordboard.telemetry.points import GAUGE, HISTOGRAM, Measured, Point, Series
from tests.fixtures.postgres import Databases

RULES_FILE: Final = Path(__file__).resolve().parents[2] / "deploy/prometheus/rules.yaml"
NAMES: Final = {
    "cordboard.call.duration": "cordboard_call_duration_seconds",
    "cordboard.refresh.duration": "cordboard_refresh_duration_seconds",
    "rpc.server.call.duration": "rpc_server_call_duration_seconds",
    "cordboard.breaker.state": "cordboard_breaker_state",
    "cordboard.dead_letters": "cordboard_dead_letters",
    "cordboard.drift.actions": "cordboard_drift_actions",
    "cordboard.edge.staleness": "cordboard_edge_staleness_seconds",
    "cordboard.certificate.remaining": "cordboard_certificate_remaining_seconds",
    "cordboard.telemetry.items": "cordboard_telemetry_items",
}


@dataclass
class World:
    """Series as both have them: counted by the minute for Telemetry, added up since the start for Prometheus."""

    minutes: int
    counts: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[tuple[int, float]]] = field(default_factory=dict)
    gauges: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[float | None]] = field(default_factory=dict)

    def counted(self, metric: str, each: Sequence[tuple[int, float]], service: str = "proxy", **labels: str) -> None:
        """Adds what was counted: how many and their sum, for each minute from the first one on."""
        assert len(each) == self.minutes
        self.counts[metric, service, _sorted(labels)] = list(each)

    def stood(self, metric: str, each: Sequence[float | None], service: str = "proxy", **labels: str) -> None:
        """Adds how a gauge stood in each minute; None: it said nothing."""
        assert len(each) == self.minutes
        self.gauges[metric, service, _sorted(labels)] = list(each)

    def series(self) -> list[dict[str, str]]:
        """Returns the series as promtool takes them, one sample a minute."""
        found = []
        for (metric, service, labels), each in self.counts.items():
            for suffix, number in (("_count", 0), ("_sum", 1)):
                total, values = 0.0, []
                for amounts in [(0, 0.0), *each]:
                    total += amounts[number]
                    values.append(repr(total))
                found.append({"series": _name(metric + suffix, service, labels), "values": " ".join(values)})
        for (metric, service, labels), states in self.gauges.items():
            values = ["_", *("_" if state is None else repr(state) for state in states)]
            found.append({"series": _name(metric, service, labels), "values": " ".join(values)})
        return found

    async def keep(self, store: MetricStore, start: int) -> None:
        """Stores the same; the first minute is the one after `start`."""
        measured = Measured()
        for (metric, service, labels), each in self.counts.items():
            one = _series(metric, service, labels, HISTOGRAM)
            for minute, (count, total) in enumerate(each, start + 1):
                if count:
                    measured.keep(one, Point(minute, count, total, 0.0, total, [count]))
        for (metric, service, labels), states in self.gauges.items():
            one = _series(metric, service, labels, GAUGE)
            for minute, state in enumerate(states, start + 1):
                if state is not None:
                    measured.keep(one, Point(minute, 1, state, state, state, []))
        assert await store.put(uuid4(), measured) == 0


def _sorted(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name.replace("__", "."), value) for name, value in labels.items()))


def _name(metric: str, service: str, labels: Sequence[tuple[str, str]]) -> str:
    base, _, suffix = metric.rpartition("_") if metric.endswith(("_count", "_sum")) else (metric, "", "")
    name = NAMES[base] + (f"_{suffix}" if suffix else "")
    named = {"service_name": service} | {label.replace(".", "_"): value for label, value in labels}
    return f"{name}{{{','.join(f'{label}={chr(34)}{value}{chr(34)}' for label, value in named.items())}}}"


def _series(metric: str, service: str, labels: Sequence[tuple[str, str]], kind: int) -> Series:
    attributes = orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS).decode()
    return Series(uuid4(), service, metric, "", kind, (), attributes)


async def said(figures: Figures, rule: Rule, start: int, minutes: Sequence[int]) -> dict[int, list[Alert]]:
    """Returns the alerts of a rule that fire after each of the minutes, evaluated every minute."""
    found = {}
    for minute in minutes:
        known: dict[Any, Alert] = {}
        # What held for as long as the rule asks for, up to this minute.
        for at in range(minute - int(rule.hold) // 60, minute + 1):
            now = datetime.fromtimestamp((start + at) * 60, UTC)
            result = advance(rule, known.values(), await rule.condition.breaches(figures, start + at + 1), now)
            known = {alert.id: alert for alert in result.changed}
        found[minute] = [alert for alert in known.values() if alert.state is AlertState.FIRING]
    return found


def promtool(tmp_path: Path, world: World, told: Mapping[str, Mapping[int, Sequence[Alert]]]) -> str:
    """Returns what promtool finds wrong with these words; empty: it agrees."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("NOT TESTED: promtool is missing; install Debian's package prometheus")
    severities = {rule.name: rule.severity for rule in RULES}
    cases = [
        {
            "eval_time": f"{minute}m",
            "alertname": rule,
            "exp_alerts": [
                {
                    "exp_labels": {"severity": severities[rule], **alert.labels},
                    "exp_annotations": {"summary": alert.summary, "runbook": f"docs/runbook.md#{rule.lower()}"},
                }
                for alert in alerts
            ],
        }
        for rule, times in told.items()
        for minute, alerts in times.items()
    ]
    file = tmp_path / f"{uuid4().hex}.yaml"
    test = {"interval": "1m", "input_series": world.series(), "alert_rule_test": cases}
    content = {"rule_files": [str(RULES_FILE)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(content, width=1_000_000))
    done = subprocess.run([program, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture
async def kept(database: Databases) -> AsyncIterator[tuple[Figures, MetricStore]]:
    opened = Database(database("telemetry").url)
    yield Figures(opened), MetricStore(opened, max_series=10_000)
    await opened.close()


def drawn(random_: random.Random, minutes: int) -> World:
    """Draws a few hours of a mesh whose parts are well and unwell in turn, near enough to the bounds to matter."""
    world = World(minutes)

    def phases(*levels: float) -> list[float]:
        found: list[float] = []
        while len(found) < minutes:
            found += [random_.choice(levels)] * random_.randint(3, 50)
        return found[:minutes]

    for integration in ("pipedrive", "zendesk", "github"):
        calls = [random_.randint(0, 60) for _ in range(minutes)]
        shares = phases(0.0, 0.01, 0.05, 0.1, 0.2, 0.5)
        failed = [
            sum(random_.random() < share for _ in range(count)) for count, share in zip(calls, shares, strict=True)
        ]
        for version in ("1.0.0", "2.0.0"):
            labels = {"cordboard__integration": integration, "cordboard__definition__version": version}
            well = [(count - bad, 0.1 * (count - bad)) for count, bad in zip(calls, failed, strict=True)]
            world.counted("cordboard.call.duration", well, **labels, cordboard__outcome="ok")
            bad = [(count, 0.2 * count) for count in failed]
            world.counted("cordboard.call.duration", bad, **labels, error__type="VENDOR_ERROR")
        refreshes = [int(random_.random() < 0.1) for _ in range(minutes)]
        each = [(count, 0.3 * count) for count in refreshes]
        world.counted(
            "cordboard.refresh.duration", each, "auth", cordboard__integration=integration, error__type="timeout"
        )
        world.stood("cordboard.breaker.state", phases(0.0, 1.0, 2.0), cordboard__integration=integration)
        # Silent for longer than Prometheus looks back, or not at all: what lies between depends on its version.
        silent = [None] * 12 if random_.random() < 0.5 else []
        letters = [*silent, *phases(0.0, 1.0, 5.0, 6.0)][:minutes]
        world.stood("cordboard.dead_letters", letters, cordboard__integration=integration)
    for service in ("auth", "uqi"):
        rpcs = [(random_.randint(0, 40), 0.0) for _ in range(minutes)]
        faults = [(count if share else 0, 0.0) for (count, _), share in zip(rpcs, phases(0, 0, 1), strict=True)]
        world.counted("rpc.server.call.duration", rpcs, service, rpc__method="a.B/Get")
        world.counted("rpc.server.call.duration", faults, service, rpc__method="a.B/Get", error__type="UNAVAILABLE")
        world.stood("cordboard.certificate.remaining", phases(7199.0, 7201.0, 40_000.0), service)
    for integration in ("pipedrive", "zendesk"):
        world.stood("cordboard.drift.actions", phases(0.0, 1.0, 3.0), "catalog", cordboard__integration=integration)
    for edge in ("berlin", "paris"):
        world.stood("cordboard.edge.staleness", phases(3.0, 599.0, 601.0, 90_000.0), "catalog", cordboard__edge=edge)
    for state in ("stored", "shed", "failed"):
        total, grown = 0.0, []
        for step in phases(0.0, 0.0, 1.0):
            total += step
            grown.append(total)
        world.stood("cordboard.telemetry.items", grown, "telemetry", cordboard__state=state)
    return world


async def test_telemetry_and_promtool_say_the_same(kept: tuple[Figures, MetricStore], tmp_path: Path) -> None:
    figures, store = kept
    random_ = random.Random(1)
    minutes = 420
    world = drawn(random_, minutes)
    start = int((datetime.now(UTC) - timedelta(minutes=minutes + 60)).timestamp()) // 60
    await world.keep(store, start)
    looks = sorted({*random_.sample(range(20, minutes), 9), minutes})
    told = {rule.name: await said(figures, rule, start, looks) for rule in RULES}
    assert promtool(tmp_path, world, told) == ""
    # The control: all of them but the one of weeks did fire, and a single wrong word is found.
    spoken = {name for name, times in told.items() if any(times.values())}
    assert spoken >= {rule.name for rule in RULES} - {"IntegrationSlower"}
    lie = {name: {minute: alerts[1:] for minute, alerts in told[name].items()} for name in spoken}
    found = promtool(tmp_path, world, lie)
    assert all(f"alertname:{name}," in found.replace(" ", "") for name in spoken), found


async def test_both_say_the_same_of_weeks(kept: tuple[Figures, MetricStore], tmp_path: Path) -> None:
    figures, store = kept
    hours = 2 * 168
    means = {"slower": (0.1, 0.125), "same": (0.1, 0.119), "rare": (0.1, 0.2)}
    measured, rows = Measured(), []
    # The end of an hour, so that both take the same whole ones.
    start = int(datetime.now(UTC).timestamp()) // 3600 - hours - 1
    for name, (first, second) in means.items():
        series = _series("cordboard.call.duration", "proxy", [("cordboard.integration", name)], HISTOGRAM)
        count = 10 if name != "rare" else 0
        totals, counts = [0.0], [0.0]
        for hour in range(1, hours + 1):
            amount = count or int(hour % 4 == 0)
            total = amount * (first if hour <= 168 else second)
            totals.append(totals[-1] + total)
            counts.append(counts[-1] + amount)
            if amount:
                measured.keep(series, Point((start + hour) * 60, amount, total, 0.0, total, [amount]))
        for suffix, each in (("count", counts), ("sum", totals)):
            name_ = _name(f"cordboard.call.duration_{suffix}", "proxy", [("cordboard.integration", name)])
            rows.append({"series": name_, "values": " ".join(map(repr, each))})
    await store.put(uuid4(), measured)
    [rule] = [rule for rule in RULES if rule.name == "IntegrationSlower"]
    found = await rule.condition.breaches(figures, (start + hours) * 60 + 1)
    assert found == {"slower": pytest.approx(0.125)}

    class Hours(World):
        def series(self) -> list[dict[str, str]]:
            return rows

    alerts = advance(rule, (), found, datetime.now(UTC)).changed
    text = promtool_hours(tmp_path, Hours(0), alerts, hours)
    assert text == ""
    assert promtool_hours(tmp_path, Hours(0), (), hours) != ""


def promtool_hours(tmp_path: Path, world: World, alerts: Sequence[Alert], hours: int) -> str:
    """Has promtool judge series of one sample an hour."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("NOT TESTED: promtool is missing; install Debian's package prometheus")
    case = {
        "eval_time": f"{hours}h",
        "alertname": "IntegrationSlower",
        "exp_alerts": [
            {
                "exp_labels": {"severity": "ticket", **alert.labels},
                "exp_annotations": {"summary": alert.summary, "runbook": "docs/runbook.md#integrationslower"},
            }
            for alert in alerts
        ],
    }
    test = {"interval": "1h", "input_series": world.series(), "alert_rule_test": [case]}
    content = {"rule_files": [str(RULES_FILE)], "evaluation_interval": "1h", "tests": [test]}
    file = tmp_path / f"{uuid4().hex}.yaml"
    file.write_text(yaml.safe_dump(content, width=1_000_000))
    done = subprocess.run([program, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_rule_has_the_same_bounds_and_holds_in_both() -> None:
    [group] = yaml.safe_load(RULES_FILE.read_text())["groups"]
    theirs = {rule["alert"]: (rule["labels"]["severity"], rule.get("for", "0m")) for rule in group["rules"]}
    assert theirs == {rule.name: (rule.severity, f"{int(rule.hold) // 60}m") for rule in RULES}
