"""What Telemetry is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from cordboard.core.settings import OptionalAddress, Settings
from cordboard.telemetry.prices import read_price_file


class TelemetrySettings(Settings):
    """Settings of the Telemetry service."""

    retention_days: int = Field(7, ge=1, le=365, description="days before today whose spans and log lines are kept")
    retention_max_bytes: int = Field(
        8 * 1024**3, ge=64 * 1024**2, description="disk that spans may take; the oldest days go first, today never"
    )
    log_retention_max_bytes: int = Field(
        1024**3, ge=16 * 1024**2, description="disk that log lines may take; the oldest days go first, today never"
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
    price_file: Path | None = Field(
        None, description="YAML file with what calls cost, in units of your own; it is read again when it changes"
    )
    max_message_bytes: int = Field(16 * 1024**2, ge=65536, description="the largest export taken")
    jaeger_url: str = Field(
        "", description="http(s) URL of a Jaeger's query API, from which traces are read; empty: from Telemetry itself"
    )
    jaeger_token: SecretStr = Field(SecretStr(""), description="the bearer token that Jaeger asks for; empty: none")
    alert_interval_seconds: float = Field(15.0, gt=0, le=300, description="how often alert rules are evaluated")
    alert_group_seconds: float = Field(
        60.0, ge=0, le=86_400, description="how long after a message about a rule the next one comes at the earliest"
    )
    alert_repeat_seconds: float = Field(
        14_400.0, gt=0, le=30 * 86_400, description="after how long people are told again of what still fires"
    )
    alert_webhook_url: SecretStr = Field(
        SecretStr(""), description="http(s) URL that gets alerts as Alertmanager's webhooks have them; empty: none"
    )
    alert_slack_url: SecretStr = Field(
        SecretStr(""), description="http(s) URL of an incoming webhook as Slack has them; empty: none"
    )
    alert_email_to: tuple[str, ...] = Field((), description="who gets alerts by e-mail; empty: nobody")
    alert_email_from: str = Field("", description="whom e-mails about alerts are from")
    alert_smtp_address: OptionalAddress = Field("", description="HOST:PORT of the mail server")
    alert_smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="how the mail server is spoken to; none: in the clear"
    )
    alert_smtp_user: str = Field("", description="who logs in at the mail server; empty: nobody does")
    alert_smtp_password: SecretStr = Field(SecretStr(""), description="the password for it")
    runbook_url: str = Field("docs/runbook.md", description="where the runbook is, for the links of alerts")

    @field_validator("alert_webhook_url", "alert_slack_url")
    @classmethod
    def _webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return value

    @field_validator("price_file")
    @classmethod
    def _prices(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_price_file(value)
        return value

    @field_validator("jaeger_url")
    @classmethod
    def _jaeger(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        if "?" in value or "#" in value or "@" in value:
            raise ValueError("must have no query, no fragment and no user")
        return value

    @field_validator("alert_email_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        return _mailbox(value) if value else value

    @field_validator("alert_email_to")
    @classmethod
    def _recipients(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_mailbox(each) for each in value)

    @model_validator(mode="after")
    def _mail(self) -> TelemetrySettings:
        if self.alert_email_to and not (self.alert_smtp_address and self.alert_email_from):
            raise ValueError(
                "CORDBOARD_ALERT_EMAIL_TO needs CORDBOARD_ALERT_SMTP_ADDRESS and CORDBOARD_ALERT_EMAIL_FROM"
            )
        return self


def _mailbox(value: str) -> str:
    if "@" not in value or any(character in value for character in "\r\n,<>"):
        raise ValueError("must be an address like alerts@example.com")
    return value
