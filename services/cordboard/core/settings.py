"""Settings from the environment: typed, frozen, and strict. A service with a wrong one does not start.

Every process has an environment of its own, so there is one prefix, `CORDBOARD_`, and no part for the service.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "CORDBOARD_"


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not (separator and host and port.isascii() and port.isdigit() and 0 <= int(port) <= 65535):
        raise ValueError("must be HOST:PORT")
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be a network as CIDR, without host bits") from None


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
Network = Annotated[str, AfterValidator(_network), PlainSerializer(str)]


MaxStaleness = Annotated[
    float,
    Field(
        ge=1,
        le=31_536_000,
        description="seconds after which a copy of the flags whose source is away is too old: flags that say so give "
        "their default then",
    ),
]
# What a copy of the flags may be old where nothing else is set, in seconds.
MAX_STALENESS = 300.0


class Settings(BaseSettings):
    """What every service is told by its environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    profile: Literal["production", "development"] = Field(
        "production", description="development adds server reflection; everything else is the same"
    )
    listen_address: Address = Field(description="HOST:PORT to serve on, always with mutual TLS")
    database_url: SecretStr = Field(description="postgresql+asyncpg://ROLE:PASSWORD@HOST:PORT/DATABASE of this service")
    database_pool_size: int = Field(8, ge=1, le=100, description="connections to PostgreSQL at most")
    identity_dir: Path = Field(description="directory with tls.crt, tls.key and ca.crt; read again when it changes")
    trust_domain: str = Field("cordboard", min_length=1, description="the trust domain of the mesh's SPIFFE ids")
    telemetry_address: OptionalAddress = Field("", description="HOST:PORT that takes OTLP/gRPC; empty: no export")
    catalog_address: OptionalAddress = Field("", description="HOST:PORT of the Catalog")
    auth_address: OptionalAddress = Field("", description="HOST:PORT of Auth")
    uqi_address: OptionalAddress = Field("", description="HOST:PORT of UQI")
    flags_address: OptionalAddress = Field("", description="HOST:PORT of Flags")
    proxy_address: OptionalAddress = Field("", description="HOST:PORT of the Proxy")
    public_url: str = Field("", description="https URL of Envoy's public listener")
    token_issuer: str = Field("https://auth.cordboard.internal", description="the `iss` of workspace tokens")
    token_audience: str = Field("cordboard", description="the `aud` of workspace tokens")
    egress_allowed_networks: tuple[Network, ...] = Field(
        (), description="private networks, as CIDR, that outbound requests may reach all the same"
    )
    audit_anchor_file: Path | None = Field(
        None, description="file outside of the database to which the audit journal's heads are appended"
    )
    audit_anchor_url: str = Field(
        "", description="http(s) URL to which the audit journal's heads are posted, as lines of JSON"
    )
    audit_anchor_seconds: float = Field(60.0, gt=0, le=86_400, description="how often the audit journal is anchored")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least severe log line")
    log_export: bool = Field(
        True, description="send log lines by OTLP to CORDBOARD_TELEMETRY_ADDRESS as well, which keeps them for searches"
    )
    access_log: Literal["failures", "all"] = Field(
        "failures", description="which calls get a log line; every call has a span whatever this says"
    )
    trace_sample_rate: float = Field(
        1.0, ge=0, le=1, description="share of the calls whose traces are kept whatever becomes of them"
    )
    trace_slow_seconds: float = Field(
        1.0, gt=0, le=3600, description="a call that takes so long is kept though its trace was not picked"
    )
    trace_held_spans: int = Field(
        8192, ge=0, le=1_000_000, description="spans of traces that were not picked which wait in memory for a failure"
    )
    trace_callers_decide: bool = Field(
        False,
        description="do what a caller's traceparent asks for: a record, or none; for callers who are all trusted. "
        "Envoy has to be told as well",
    )
    max_concurrent_calls: int = Field(512, ge=1, description="calls at once; more are refused: RESOURCE_EXHAUSTED")
    max_message_bytes: int = Field(4 * 1024 * 1024, ge=65536, description="the largest message taken")
    grace_seconds: float = Field(10.0, ge=0, le=300, description="how long running calls may take to end at shutdown")

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith("postgresql+asyncpg://"):
            raise ValueError("must begin with postgresql+asyncpg://")
        try:
            make_url(value.get_secret_value())
        except (ValueError, ArgumentError):
            raise ValueError("must be postgresql+asyncpg://ROLE:PASSWORD@HOST:PORT/DATABASE") from None
        return value

    @field_validator("identity_dir")
    @classmethod
    def _identity_dir(cls, value: Path) -> Path:
        missing = [name for name in ("tls.crt", "tls.key", "ca.crt") if not (value / name).is_file()]
        if missing:
            raise ValueError(f"must be a directory with {', '.join(missing)}")
        return value

    @field_validator("audit_anchor_url")
    @classmethod
    def _audit_anchor_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return value

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        if value and not value.startswith("https://"):
            raise ValueError("must begin with https://")
        return value

    @model_validator(mode="after")
    def _one_decides(self) -> Self:
        if self.trace_callers_decide and self.trace_sample_rate < 1:
            raise ValueError("CORDBOARD_TRACE_CALLERS_DECIDE needs CORDBOARD_TRACE_SAMPLE_RATE=1: only one can decide")
        return self


SettingsType = TypeVar("SettingsType", bound=Settings)


def load(kind: type[SettingsType]) -> SettingsType:
    """Reads the settings from the environment; on any problem prints all of them and exits with code 2."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            name = ".".join(str(part) for part in problem["loc"]).upper()
            text = problem["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"{PREFIX}{name}: {text}\n" if name else f"{text}\n")
        raise SystemExit(2) from None
    except SettingsError as error:
        # Lists are read as JSON before anything is checked, and the library's error names the field in its text alone.
        name = next(iter(re.findall(r'field "(\w+)"', str(error))), "").upper()
        sys.stderr.write(f"{PREFIX}{name}: must be a JSON array\n")
        raise SystemExit(2) from None


def schema(*kinds: type[Settings]) -> dict[str, Any]:
    """Returns a JSON Schema of the environment of each kind of service, by class name."""
    described = {}
    for kind in kinds:
        own = kind.model_json_schema(mode="validation")
        own["properties"] = {f"{PREFIX}{name.upper()}": field for name, field in own["properties"].items()}
        own["required"] = [f"{PREFIX}{name.upper()}" for name in own.get("required", [])]
        described[kind.__name__] = own
    return described
