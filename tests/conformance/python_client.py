"""Plays flagd-testbed's scenarios with the provider for Python, as it is on PyPI."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import CacheType, ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.provider import ProviderStatus

from tests.conformance.acts import Act
from tests.conformance.launchpad import Door, credentials
from tests.conformance.steps import Answer, Failed

EVENT_SECONDS: Final = 30.0
EVENTS: Final = {
    "ready": ProviderEvent.PROVIDER_READY,
    "stale": ProviderEvent.PROVIDER_STALE,
    "error": ProviderEvent.PROVIDER_ERROR,
    "change": ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
}
OPTIONS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "deadlineMs": ("deadline_ms", int),
    "retryBackoffMs": ("retry_backoff_ms", int),
    "retryBackoffMaxMs": ("retry_backoff_max_ms", int),
    "retryGracePeriod": ("retry_grace_period", int),
    "fatalStatusCodes": ("fatal_status_codes", list),
    "cache": ("cache", CacheType),
}
Ward = Callable[[Act], None]
"""Does what a scenario asks of the server: loses the connection, changes the flag."""


class Events:
    """What a client was told of, in order. Each is taken once, and none before one that was taken."""

    def __init__(self) -> None:
        self._told: list[tuple[str, EventDetails]] = []
        self._taken = 0
        self._news = threading.Condition()

    def tell(self, event: str, details: EventDetails) -> None:
        with self._news:
            self._told.append((event, details))
            self._news.notify_all()

    def take(self, event: str, seconds: float) -> EventDetails:
        """Returns the next event of a kind; raises Failed where none comes in time."""
        ends = time.monotonic() + seconds
        with self._news:
            while True:
                for place in range(self._taken, len(self._told)):
                    if self._told[place][0] == event:
                        self._taken = place + 1
                        return self._told[place][1]
                if not self._news.wait(ends - time.monotonic()):
                    after = ", ".join(kind for kind, _ in self._told[self._taken :]) or "nothing"
                    raise Failed(f"no {event} event within {seconds:g} s, but {after}")


class PythonClient:
    """Plays scenarios one after the other."""

    def __init__(self, mode: str) -> None:
        """Takes `rpc` or `in-process`."""
        self._mode = ResolverType(mode)

    def play(self, acts: list[Act], options: Mapping[str, Any], door: Door, ward: Ward) -> None:
        """Plays a scenario; raises Failed."""
        scene = _Scene(self._mode, dict(options), door, ward)
        try:
            for act in acts:
                scene.act(act)
        finally:
            api.shutdown()


class _Scene:
    def __init__(self, mode: ResolverType, options: dict[str, Any], door: Door, ward: Ward) -> None:
        self._mode = mode
        self._options = options
        self._door = door
        self._ward = ward
        self._events = Events()
        self._client: OpenFeatureClient = api.get_client()
        self._context: dict[str, Any] = {}
        self._flag: Act = {}
        self._answer = Answer(None)
        self._change: EventDetails | None = None

    def act(self, act: Act) -> None:
        {
            "option": self._option, "provider": self._provider, "flag": self._is_asked, "context": self._knows,
            "handler": self._handler, "fired": self._fired, "lost": self._ward, "change": self._ward,
            "evaluate": self._evaluate, "expect": self._expect, "metadata": self._metadata,
            "no metadata": self._no_metadata, "payload": self._payload, "fatal": self._fatal,
        }[act["do"]](act)  # fmt: skip

    def _option(self, act: Act) -> None:
        self._options[act["name"]] = act["value"]

    def _provider(self, _act: Act) -> None:
        named = {OPTIONS[name][0]: OPTIONS[name][1](value) for name, value in self._options.items()}
        provider = FlagdProvider(
            host="localhost", port=self._door.port, tls=True, resolver_type=self._mode,
            channel_credentials=credentials(self._door), **named,
        )  # fmt: skip
        # What becomes of one that cannot be ready is told by its events.
        with contextlib.suppress(Exception):
            api.set_provider_and_wait(provider)

    def _is_asked(self, act: Act) -> None:
        self._flag = act

    def _knows(self, act: Act) -> None:
        self._context[act["key"]] = act["value"]

    def _handler(self, act: Act) -> None:
        event: str = act["event"]
        self._client.add_handler(EVENTS[event], lambda details: self._events.tell(event, details))

    def _fired(self, act: Act) -> None:
        found = self._events.take(act["event"], act["within"] or EVENT_SECONDS)
        if act["event"] == "change":
            self._change = found

    def _evaluate(self, _act: Act) -> None:
        attributes = {name: value for name, value in self._context.items() if name != "targetingKey"}
        known = EvaluationContext(self._context.get("targetingKey"), attributes)
        ask = getattr(self._client, f"get_{self._flag['kind'].lower()}_details")
        found = ask(self._flag["key"], self._flag["default"], known)
        reason = None if found.reason is None else str(found.reason)
        error = None if found.error_code is None else str(found.error_code.value)
        self._answer = Answer(found.value, found.variant, reason, error, found.flag_metadata)

    def _expect(self, act: Act) -> None:
        found, wanted = getattr(self._answer, act["what"]), act["wanted"]
        if found != wanted and not (wanted == "" and found is None):
            raise Failed(f"{act['what']} of {self._flag['key']} is {found!r}, and not {wanted!r}")

    def _metadata(self, act: Act) -> None:
        found = dict(self._answer.metadata)
        if {key: found.get(key) for key in act["wanted"]} != act["wanted"]:
            raise Failed(f"metadata of {self._flag['key']} are {found!r}, and not {act['wanted']!r}")

    def _no_metadata(self, _act: Act) -> None:
        if self._answer.metadata:
            raise Failed(f"{self._flag['key']} has metadata {dict(self._answer.metadata)!r}")

    def _payload(self, _act: Act) -> None:
        changed = (self._change.flags_changed if self._change else None) or []
        # No other flag has changed, and none is to be told of.
        if changed != [self._flag["key"]]:
            raise Failed(f"{changed!r} changed, and not {self._flag['key']!r} alone")

    def _fatal(self, _act: Act) -> None:
        status = self._client.get_provider_status()
        if status != ProviderStatus.FATAL:
            raise Failed(f"the client's state is {status}, and not fatal")
