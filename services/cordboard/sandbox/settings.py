"""What a sandbox vendor is started with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any

DEMO_CLIENT_ID = "cordboard-demo"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The vendor's credentials and limits; secrets that are not given are made up."""

    client_id: str = DEMO_CLIENT_ID
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    redirect_uris: tuple[str, ...] = ()
    api_key: str = field(default_factory=lambda: f"acme_key_{secrets.token_urlsafe(24)}", repr=False)
    basic_user: str = "agent"
    basic_password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    # A second key that every request must bring beside its credential, once `app_key_required` says so.
    app_key: str = field(default_factory=lambda: f"acme_app_{secrets.token_urlsafe(24)}", repr=False)
    app_key_required: bool = False
    aws_access_key: str = "AKIAACMEDESK00000001"
    aws_secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)
    oauth1_key: str = "acme-consumer"
    oauth1_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    pkce_required: bool = True
    device_interval: int = 1
    session_seconds: int = 900
    access_token_seconds: int = 3600
    refresh_token_seconds: int = 30 * 24 * 3600
    # High, so that a benchmark measures its subject and not this limit.
    rate_limit: int = 10_000_000
    rate_window_seconds: int = 60
    seed: int = 20260105

    def with_changes(self, changes: dict[str, Any]) -> Settings:
        """Returns these settings with `changes`, by field name."""
        return replace(self, **changes)
