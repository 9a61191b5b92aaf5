"""What is told: the alerts of one rule together, in the shape that Alertmanager's webhooks have, and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.telemetry.alerts.alert import Alert, AlertState
from cordboard.telemetry.alerts.rules import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TOLD: Final = 20
"""Alerts of one message; how many more there are is said."""
NEVER: Final = "0001-01-01T00:00:00Z"
"""The end of what has not ended, as Alertmanager writes it."""


class Wording:
    """Writes messages. Links lead to the mesh's public address, where it has one."""

    def __init__(self, public_url: str, runbook: str) -> None:
        """Takes the public URL (empty: traces are told by name) and where the runbook is."""
        self._public_url = public_url.rstrip("/")
        self._runbook = runbook

    def runbook(self, rule: str) -> str:
        """Returns where the runbook has what to do."""
        return f"{self._runbook}#{rule.lower()}"

    def trace(self, trace_id: str) -> str:
        """Returns where a trace is; empty: there is none."""
        if not trace_id:
            return ""
        name = f"traces/{trace_id}"
        return f"{self._public_url}/v1/{name}" if self._public_url else name

    def message(self, rule: str, alerts: Sequence[Alert]) -> dict[str, Any]:
        """Returns the message about alerts of one rule, fired and resolved ones."""
        severity = BY_NAME[rule].severity
        told = [self._told(alert, severity) for alert in alerts[:MAX_TOLD]]
        firing = any(alert.state is AlertState.FIRING for alert in alerts)
        labels = {"alertname": rule, "severity": severity}
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{rule}"}}',
            "truncatedAlerts": max(0, len(alerts) - MAX_TOLD),
            "status": "firing" if firing else "resolved",
            "receiver": "cordboard",
            "groupLabels": {"alertname": rule},
            "commonLabels": labels,
            "commonAnnotations": {"runbook": self.runbook(rule)},
            "externalURL": self._public_url,
            "alerts": told,
        }

    def _told(self, alert: Alert, severity: str) -> dict[str, Any]:
        resolved = alert.state is AlertState.RESOLVED and alert.resolve_time is not None
        return {
            "status": "resolved" if resolved else "firing",
            "labels": {"alertname": alert.rule, "severity": severity, **alert.labels},
            "annotations": {
                "summary": alert.summary,
                "runbook": self.runbook(alert.rule),
                "trace": self.trace(alert.trace),
            },
            "startsAt": (alert.fire_time or alert.start_time).isoformat(),
            "endsAt": alert.resolve_time.isoformat() if resolved and alert.resolve_time else NEVER,
            "generatorURL": self.trace(alert.trace),
            "fingerprint": alert.id.hex[:16],
        }


def heading(message: dict[str, Any]) -> str:
    """Returns a message in one line."""
    count = len(message["alerts"]) + message["truncatedAlerts"]
    name = message["groupLabels"]["alertname"]
    return f"[{message['status'].upper()}{f':{count}' if count > 1 else ''}] {name}"


def lines(message: dict[str, Any]) -> list[str]:
    """Returns a message as lines of text."""
    found = []
    for alert in message["alerts"]:
        said = alert["annotations"]
        found.append(f"{alert['status']}: {said['summary']}")
        if said.get("trace"):
            found.append(f"  trace: {said['trace']}")
    if message["truncatedAlerts"]:
        found.append(f"and {message['truncatedAlerts']} more")
    if runbook := message["commonAnnotations"].get("runbook"):
        found.append(f"runbook: {runbook}")
    return found
