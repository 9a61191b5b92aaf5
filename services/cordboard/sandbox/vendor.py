"""The vendor as a whole: every part of its state, made anew on reset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cordboard.sandbox import seed
from cordboard.sandbox.access import Access
from cordboard.sandbox.desk import Desk, Event
from cordboard.sandbox.document import Document
from cordboard.sandbox.faults import Faults
from cordboard.sandbox.grants import Client, Grants
from cordboard.sandbox.hooks import Hooks
from cordboard.sandbox.idempotency import Ledger
from cordboard.sandbox.oauth1 import Register
from cordboard.sandbox.ratelimit import RateLimit
from cordboard.sandbox.settings import Settings
from cordboard.sandbox.traffic import Traffic


class Vendor:
    """Acme Desk, reached at `url` (no slash at the end), listening on `port`; with certificates at `tls_url`."""

    def __init__(self, settings: Settings, *, url: str, port: int, clock: Callable[[], float] = time.time) -> None:
        self.url = url
        self.port = port
        self.tls_url = ""
        self.document = Document(url)
        self._started_with = settings
        self._clock = clock
        self.hooks = Hooks(self._told)
        self.reset()

    def reset(self) -> None:
        """Makes the vendor as it was when it started: records, credentials, settings, faults and counts."""
        settings = self.settings = self._started_with
        self.desk = Desk(seed.records(settings.seed), self._now)
        self.grants = Grants(
            self._clock,
            scopes=self.document.scopes,
            access_seconds=settings.access_token_seconds,
            refresh_seconds=settings.refresh_token_seconds,
        )
        self.grants.register(Client(settings.client_id, settings.client_secret, settings.redirect_uris, "Cordboard"))
        self.register = Register(self._clock, settings.oauth1_key, settings.oauth1_secret, settings.redirect_uris)
        self.access = Access(
            self.grants, self.register, settings, self._clock, scopes=self.document.scopes, url=self.url
        )
        self._apply()
        self.ledger = Ledger()
        self.faults = Faults(settings.seed)
        self.forget_traffic()
        self._limit()

    def _told(self) -> list[Event]:
        # The desk of now: a reset makes another one.
        return self.desk.events()

    def change(self, changes: dict[str, Any]) -> None:
        """Changes settings while running, by their field names; rate-limit windows begin anew."""
        self.settings = self.settings.with_changes(changes)
        self.grants.access_seconds = self.settings.access_token_seconds
        self.access.settings = self.settings
        self._apply()
        self._limit()

    def forget_traffic(self) -> None:
        """Sets the counts to zero, and forgets the requests that were seen."""
        self.traffic = Traffic(self._clock)

    def stats(self, *, last: int) -> dict[str, Any]:
        """Returns the counts of requests and OAuth acts, and the `last` requests seen, oldest first."""
        return {**self.traffic.as_json(last=last), "oauth": asdict(self.grants.tally)}

    def _apply(self) -> None:
        self.grants.pkce_required = self.settings.pkce_required
        self.grants.device_interval = float(self.settings.device_interval)

    def _limit(self) -> None:
        self.rate_limit = RateLimit(
            self._clock, limit=self.settings.rate_limit, window_seconds=self.settings.rate_window_seconds
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock()), UTC)
