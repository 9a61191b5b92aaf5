"""What the Proxy is told by its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from cordboard.core.egress import MAX_RESPONSE_BYTES
from cordboard.core.settings import MAX_STALENESS, Address, MaxStaleness, OptionalAddress, Settings
from cordboard.proxy.breakers.standing import BreakerPolicy
from cordboard.proxy.retry_budget import BudgetPolicy


class ProxySettings(Settings):
    """The settings of the Proxy."""

    catalog_address: Address = Field(description="HOST:PORT of the Catalog")
    auth_address: Address = Field(description="HOST:PORT of Auth")
    flags_address: Address = Field(description="HOST:PORT of Flags")
    forward_address: OptionalAddress = Field(
        "",
        description="HOST:PORT to serve /proxy/ and /webhooks/ on for Envoy, as HTTP/1.1 mutual TLS; empty: nowhere",
    )
    flag_max_staleness_seconds: MaxStaleness = MAX_STALENESS
    breaker_window_seconds: float = Field(10.0, gt=0, le=600, description="how long a breaker remembers a call")
    breaker_min_calls: int = Field(20, ge=1, le=10_000, description="calls in the window before a breaker may open")
    breaker_failure_ratio: float = Field(0.5, gt=0, le=1, description="the share of failed calls that opens a breaker")
    breaker_open_seconds: float = Field(5.0, gt=0, le=600, description="how long a breaker stays open at first")
    breaker_longest_open_seconds: float = Field(60.0, gt=0, le=3600, description="how long it stays open at most")
    retry_ratio: float = Field(
        0.1, ge=0, le=1, description="second attempts at a vendor's host, as a share of its calls in ten seconds"
    )
    retry_floor: int = Field(10, ge=0, le=10_000, description="second attempts in ten seconds where calls are few")
    process_calls: int = Field(
        256, ge=2, description="calls at once in this process, batches and jobs half of them at most"
    )
    workspace_rate: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="calls of one workspace in a second, over all replicas; more get RESOURCE_EXHAUSTED",
    )
    caller_rate: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="calls of one caller in a second, over all replicas; more get RESOURCE_EXHAUSTED",
    )
    workspace_calls: int = Field(256, ge=1, description="calls of one workspace at once; more get RESOURCE_EXHAUSTED")
    integration_calls: int = Field(128, ge=1, description="calls of one workspace to one integration at once")
    batch_calls: int = Field(32, ge=1, description="calls of one workspace's batches at once; more wait")
    max_response_bytes: int = Field(
        MAX_RESPONSE_BYTES, ge=1024, le=1 << 30, description="the largest answer of a vendor that is taken"
    )
    call_retention_days: int = Field(30, ge=1, le=3650, description="how long the record of a call is kept")

    job_workers: int = Field(16, ge=2, le=256, description="jobs that a process runs at once")
    job_lease_seconds: float = Field(
        15.0, ge=1, le=600, description="how long a process may give no sign before its jobs are another's"
    )
    job_first_wait_seconds: float = Field(
        2.0, gt=0, le=600, description="how long a job that failed waits at first, and twice as long each time"
    )
    job_retention_days: int = Field(7, ge=1, le=3650, description="how long a job that succeeded is kept")
    dead_letter_retention_days: int = Field(30, ge=1, le=3650, description="how long a dead letter is kept")

    max_webhook_bytes: int = Field(1 << 20, ge=1024, le=4 << 20, description="the largest webhook that is taken")
    event_retention_days: int = Field(7, ge=1, le=3650, description="how long an event is kept")
    nats_url: SecretStr = Field(
        SecretStr(""), description="the NATS server that events may go to, nats:// or tls://, with a password if any"
    )
    nats_stream: str = Field("cordboard", description="the JetStream stream for events; it is made where it is missing")
    event_acknowledge_seconds: float = Field(
        60.0, ge=1, le=3600, description="how long a reader may take over an event before it is told again"
    )
    event_send_seconds: float = Field(15.0, gt=0, le=120, description="how long a target may take to answer an event")
    event_first_wait_seconds: float = Field(
        2.0,
        gt=0,
        le=600,
        description="how long an event that was not taken waits at first, then twice as long",
    )
    drift_look_seconds: float = Field(
        1.0,
        ge=0,
        le=86_400,
        description="how often an answer of one action is compared with its definition; 0: never",
    )

    @property
    def budget_policy(self) -> BudgetPolicy:
        """Returns how many second attempts a vendor's host gets."""
        return BudgetPolicy(ratio=self.retry_ratio, floor=self.retry_floor)

    @property
    def breaker_policy(self) -> BreakerPolicy:
        """Returns when breakers open, and for how long."""
        return BreakerPolicy(
            window=self.breaker_window_seconds,
            min_calls=self.breaker_min_calls,
            failure_ratio=self.breaker_failure_ratio,
            open_time=self.breaker_open_seconds,
            longest_open_time=self.breaker_longest_open_seconds,
        )
