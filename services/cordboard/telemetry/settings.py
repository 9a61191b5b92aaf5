"""What Telemetry is told by its environment."""

from __future__ import annotations

from pydantic import Field

from cordboard.core.settings import Settings


class TelemetrySettings(Settings):
    """Settings of the Telemetry service."""

    retention_days: int = Field(7, ge=1, le=365, description="days before today whose spans are kept")
    retention_max_bytes: int = Field(
        8 * 1024**3, ge=64 * 1024**2, description="disk that spans may take; the oldest days go first, today never"
    )
    queue_max_spans: int = Field(20_000, ge=1, description="spans that may wait to be stored; more are refused")
    queue_max_bytes: int = Field(
        32 * 1024**2, ge=65536, description="bytes of exports that may wait to be stored; more are refused"
    )
    usage_days: int = Field(
        400, ge=1, le=3650, description="days before today whose figures by hour are kept: 13 months and a few days"
    )
    max_series: int = Field(
        50_000, ge=100, description="series of metrics at most; points of more are refused, and senders are told"
    )
    max_message_bytes: int = Field(16 * 1024**2, ge=65536, description="the largest export taken")
