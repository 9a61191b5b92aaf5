"""Looks at a mesh from outside, through its own RPCs: what ends soon, what fell behind, what is not right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import jwt

from cordboard.auth.v1 import api_key_service_pb2, token_service_pb2, workspace_service_pb2
from cordboard.catalog.v1 import sync_service_pb2
from cordboard.client import Client, CordboardError
from cordboard.client.paging import list_all
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from cordboard.telemetry.v1 import metrics_service_pb2 as metrics

CERTIFICATE_SECONDS: Final = 2 * 3600.0
SKEW_SECONDS: Final = 2.0
STALE_SECONDS: Final = 600.0
KEY_ENDS_SOON: Final = timedelta(days=7)
SIGNING_KEY_OLD: Final = timedelta(days=90)
HELD_TRACES: Final = "cordboard.traces"
REPORTING: Final = ("auth", "catalog", "flags", "proxy", "telemetry", "uqi")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    well: bool
    text: str
    remedy: str = ""


async def diagnose(mesh: Client, token: str) -> AsyncIterator[Finding]:
    """Yields what was found in a mesh by its operator; a question that cannot be asked is a finding too."""
    if (skew := clock_skew(token, time.time())) is not None:
        yield skew
    questions: Sequence[tuple[str, Callable[[Client], AsyncIterator[Finding]]]] = (
        ("figures", _readings),
        ("edges", _edges),
        ("signing keys", _signing_keys),
        ("API keys", _api_keys),
        ("rollouts", _rollouts),
    )
    for subject, ask in questions:
        try:
            async for finding in ask(mesh):
                yield finding
        except CordboardError as error:
            yield Finding(subject, False, f"could not be asked for: {error}", "cordboard status, then cordboard logs")


def clock_skew(token: str, now: float) -> Finding | None:
    """Returns how far this machine's clock is from Auth's, by a token issued a moment ago; None for an older one."""
    try:
        issued = float(jwt.decode(token, options={"verify_signature": False}).get("iat", 0))
    except jwt.InvalidTokenError:
        return None
    skew = now - issued
    if skew > 60:
        return None
    return Finding(
        "clock",
        # The time of issue is in whole seconds.
        -SKEW_SECONDS <= skew <= SKEW_SECONDS + 1,
        f"{abs(skew):.0f} s {'behind' if skew < 0 else 'ahead of'} the mesh's",
        "let both machines follow NTP: tokens and certificates are refused when clocks differ",
    )


async def _readings(mesh: Client) -> AsyncIterator[Finding]:
    names = ("cordboard.certificate.remaining", "cordboard.breaker.state", "cordboard.telemetry.items", HELD_TRACES)
    readings = await list_all(mesh.metrics.ListReadings, metrics.ListReadingsRequest(metrics=names))
    by_name: dict[str, list[metrics.Reading]] = {name: [] for name in names}
    for reading in readings:
        by_name[reading.metric].append(reading)
    certificates = by_name[names[0]]
    silent = sorted(set(REPORTING) - {reading.service for reading in certificates})
    yield Finding(
        "figures",
        not silent,
        f"none from {', '.join(silent)} in five minutes" if silent else "every service sends them",
        "set CORDBOARD_TELEMETRY_ADDRESS there, and look for `measures could not be sent` in its log",
    )
    if certificates:
        soonest = min(certificates, key=lambda reading: reading.lowest)
        yield Finding(
            "served certificates",
            soonest.value > CERTIFICATE_SECONDS,
            f"the first to end is {soonest.service}'s, in {soonest.value / 3600:.1f} h",
            "put a new certificate into its identity directory; it is read within a second (docs/runbook.md)",
        )
    tripped = sorted(reading.attributes["cordboard.integration"] for reading in by_name[names[1]] if reading.value >= 2)
    yield Finding(
        "breakers",
        not tripped,
        f"open for {', '.join(tripped)}" if tripped else "none is open",
        "cordboard health shows a failed call of each; cordboard trace show opens it",
    )
    lost = {r.attributes.get("cordboard.state", ""): r.highest - r.lowest for r in by_name[names[2]]}
    dropped = lost.get("shed", 0.0) + lost.get("failed", 0.0)
    yield Finding(
        "traces",
        dropped == 0,
        f"{dropped:.0f} spans were shed or failed in five minutes" if dropped else "no span was shed",
        "give Telemetry's database more disk time, or raise CORDBOARD_QUEUE_MAX_SPANS",
    )
    if sampled := by_name[HELD_TRACES]:
        yield sampling(sampled)


def sampling(readings: Sequence[metrics.Reading]) -> Finding:
    """Tells whether all services keep a share of the traces, where any does, and have the room that it takes."""
    without = sorted(set(REPORTING) - {reading.service for reading in readings})
    if without:
        return Finding(
            "sampled traces",
            False,
            f"not at {', '.join(without)}: traces there are kept by another rule than elsewhere",
            "set CORDBOARD_TRACE_SAMPLE_RATE to one share for every service, Telemetry too",
        )
    crowded = sorted(
        reading.service
        for reading in readings
        if reading.attributes.get("cordboard.state") == "crowded_out" and reading.highest > reading.lowest
    )
    return Finding(
        "sampled traces",
        not crowded,
        f"spans at {', '.join(crowded)} had no room to wait for a failure"
        if crowded
        else "what fails or is slow is kept whole",
        "raise CORDBOARD_TRACE_HELD_SPANS there: some 2 KB of memory for each",
    )


async def _edges(mesh: Client) -> AsyncIterator[Finding]:
    for edge in await list_all(mesh.sync.ListEdges, sync_service_pb2.ListEdgesRequest()):
        if edge.HasField("revoke_time"):
            continue
        stale = edge.staleness.ToTimedelta().total_seconds()
        text = f"{stale:.0f} s behind" if edge.HasField("acknowledge_time") else "never connected"
        yield Finding(
            edge.name,
            edge.HasField("acknowledge_time") and stale < STALE_SECONDS,
            f"{text}; its last error: {edge.last_error}" if edge.last_error else text,
            "look at the link and at `cordboard edges state` there; without a link, carry what "
            "`cordboard edges bundle` writes",
        )


async def _signing_keys(mesh: Client) -> AsyncIterator[Finding]:
    keys = (await mesh.tokens.ListSigningKeys(token_service_pb2.ListSigningKeysRequest())).signing_keys
    signing = [key for key in keys if key.state == token_service_pb2.SigningKey.STATE_SIGNING]
    age = max((datetime.now(UTC) - key.create_time.ToDatetime(UTC) for key in signing), default=timedelta())
    yield Finding(
        "signing keys",
        bool(signing) and age < SIGNING_KEY_OLD,
        f"one signs and is {age.days} days old; {len(keys)} in all" if signing else "none signs",
        "cordboard signing-keys rotate; Auth does it by itself, so look at its log",
    )


async def _api_keys(mesh: Client) -> AsyncIterator[Finding]:
    soon: list[str] = []
    deadline = datetime.now(UTC) + KEY_ENDS_SOON
    for workspace in await list_all(mesh.workspaces.ListWorkspaces, workspace_service_pb2.ListWorkspacesRequest()):
        request = api_key_service_pb2.ListApiKeysRequest(parent=workspace.name)
        for key in await list_all(mesh.api_keys.ListApiKeys, request):
            ends = key.expire_time.ToDatetime(UTC) if key.HasField("expire_time") else None
            if ends is not None and not key.HasField("revoke_time") and datetime.now(UTC) < ends < deadline:
                soon.append(f"{key.name} ({ends:%Y-%m-%d})")
    yield Finding(
        "API keys",
        not soon,
        f"end within a week: {', '.join(soon)}" if soon else "none ends within a week",
        "cordboard keys create for the same workspace, hand it over, then cordboard keys revoke the old one",
    )


async def _rollouts(mesh: Client) -> AsyncIterator[Finding]:
    yield guarded(await list_all(mesh.rollouts.ListRollouts, rollouts.ListRolloutsRequest()))


def guarded(found: Sequence[rollouts.Rollout]) -> Finding:
    """Returns which rollouts their guards have taken back, and wait for somebody."""
    locked = [f"{each.name.partition('/')[2]} for its {each.lock.reason}" for each in found if each.HasField("lock")]
    return Finding(
        "rollouts",
        not locked,
        f"taken back by a guard: {', '.join(locked)}" if locked else "none was taken back by its guard",
        "cordboard rollout show has the evidence; cordboard rollout unlock lets it go on",
    )
