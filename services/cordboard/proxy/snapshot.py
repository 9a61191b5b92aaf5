"""What the Proxy knows of definitions and flags: local copies, kept current by streams that never stay closed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import Pin, RetiredVersion
from cordboard.core.channel import Channels
from cordboard.core.copies import Copy
from cordboard.core.errors import DependencyUnavailable, NotFound, StateConflict, SwitchedOff
from cordboard.core.flag_copy import FlagCopy
from cordboard.core.flagging import Decision, integration_key, is_on
from cordboard.core.following import follow
from cordboard.core.ownership import owner_of
from cordboard.core.telemetry import mark_decided
from cordboard.proxy.calls import Led
from cordboard.proxy.definitions import Definition

# Rules may look at the time, so a decision is not kept for longer than a change may take.
_DECISION_LIVES: Final = 1.0
_DECISIONS: Final = 8192


class Definitions:
    """Every live definition version, and which one each environment of a workspace is pinned to."""

    def __init__(self, channels: Channels) -> None:
        """Takes the way to the Catalog; `run` has to run."""
        self._channels = channels
        self._versions: dict[str, dict[str, Definition]] = {}
        self._active: dict[str, str] = {}
        self._retired: dict[tuple[str, str], str] = {}
        self._pins: dict[tuple[str, str, str], str] = {}
        self._sequence = 0
        self._complete = False
        self.copy = Copy("catalog")

    async def run(self) -> None:
        """Keeps the copy current, for ever."""
        await follow(self.copy, self._watch)

    async def check(self) -> None:
        """Raises DependencyUnavailable until the copy was complete once."""
        if not self._complete:
            raise DependencyUnavailable("catalog")

    def resolve(self, slug: str, version: str = "", *, workspace: str = "", environment: str = "") -> Definition:
        """Returns the version of an integration's definition that a workspace's environment uses: the one that it is
        pinned to, else the one that is named, as by a rollout, else the active one.

        Raises NotFound where the integration has no active version or is another workspace's alone, StateConflict where
        the version is not live, and DependencyUnavailable before the first copy is complete.
        """
        if owner_of(slug) not in ("", workspace):
            raise NotFound(f"integrations/{slug}")
        pinned = self._pins.get((workspace, environment, slug), "")
        named = pinned or version
        wanted = named or self._active.get(slug, "")
        found = self._versions.get(slug, {}).get(wanted)
        if found is not None:
            return found
        if not self._complete:
            raise DependencyUnavailable("catalog")
        if not named:
            raise self._gone(slug)
        name, source = f"integrations/{slug}/versions/{named}", "pin" if pinned else "flag"
        successor = self._retired.get((slug, named))
        if successor is None:
            raise StateConflict(name, "unknown", f"the version {named!r} that a {source} names is not live")
        instead = f": use {successor}" if successor else ""
        raise StateConflict(name, "retired", f"the version {named!r} that a {source} names is retired{instead}")

    def _gone(self, slug: str) -> NotFound | StateConflict:
        """Returns why an integration has no active version."""
        ended = [successor for (known, _), successor in self._retired.items() if known == slug]
        if not ended or self._versions.get(slug):
            return NotFound(f"integrations/{slug}")
        instead = f": use {ended[-1]}" if ended[-1] else ""
        return StateConflict(f"integrations/{slug}", "retired", f"the integration {slug!r} is retired{instead}")

    def pinned(self, slug: str, *, workspace: str, environment: str) -> bool:
        """Tells whether a workspace's environment is pinned to a version, whatever flags say."""
        return (workspace, environment, slug) in self._pins

    async def _watch(self) -> AsyncIterator[None]:
        stub = CatalogServiceStub(self._channels.to("catalog"))
        async for message in stub.WatchDefinitions(
            catalog_pb.WatchDefinitionsRequest(after_sequence=self._sequence), wait_for_ready=False
        ):
            event = message.WhichOneof("event")
            if event == "definition_version":
                self._take(message.definition_version)
            elif event == "retired_version":
                self._retire(message.retired_version)
            elif event == "pin":
                self._pin(message.pin)
            elif message.caught_up:
                self._complete = True
            self._sequence = max(self._sequence, message.sequence)
            yield

    def _take(self, message: catalog_pb.DefinitionVersion) -> None:
        definition = Definition(message.definition)
        slug, version = definition.slug, definition.version
        versions = self._versions.setdefault(slug, {})
        known = versions.get(version)
        # A version never changes, so one that is known keeps what was prepared of it.
        if known is None:
            versions[version] = definition
        if message.active:
            self._active[slug] = version
        elif self._active.get(slug) == version:
            del self._active[slug]

    def _retire(self, message: RetiredVersion) -> None:
        _, slug, _, version = message.name.split("/")
        self._versions.get(slug, {}).pop(version, None)
        if self._active.get(slug) == version:
            del self._active[slug]
        self._retired[slug, version] = message.successor

    def _pin(self, message: Pin) -> None:
        _, workspace, _, environment, _, slug = message.name.split("/")
        if message.version:
            self._pins[workspace, environment, slug] = message.version
        else:
            self._pins.pop((workspace, environment, slug), None)


class Flags:
    """The whole set of flags."""

    def __init__(self, channels: Channels, max_staleness: float) -> None:
        """Takes the way to Flags, and after how many seconds without it the set is too old; `run` has to run."""
        self._decisions: dict[tuple[str, tuple[str, ...]], tuple[float, Decision]] = {}
        self._flags = FlagCopy(channels, "proxy", max_staleness=max_staleness, changed=self._decisions.clear)
        self.copy = self._flags.copy

    async def run(self) -> None:
        """Keeps the copy current, for ever."""
        await self._flags.run()

    async def check(self) -> None:
        """Raises DependencyUnavailable until a set has come."""
        _ = self._flags.flags

    def version(self, slug: str, context: Mapping[str, str]) -> tuple[str, Led | None]:
        """Returns the definition version that `version.{slug}` gives in this context, and which variant says so.

        An empty version is the active one; None means that no flag says anything.
        """
        key = f"version.{slug}"
        decision = self._decide(key, context)
        if not isinstance(decision.value, str) or decision.variant is None:
            return "", None
        return decision.value, Led(key, decision.revision or 0, decision.variant, context)

    def gate(self, slug: str, action: str, context: Mapping[str, str]) -> None:
        """Returns when the integration and the action are on in this context; raises SwitchedOff.

        An integration without a flag is off, an action without one is on.
        """
        key = integration_key(slug)
        decision = self._decide(key, context)
        if not is_on(decision):
            mark_decided(key, decision.variant, decision.reason)
            raise SwitchedOff(key, slug, decision.variant or "")
        key = f"action.{slug}.{action}"
        decision = self._decide(key, context)
        if decision.found and decision.value is not True:
            mark_decided(key, decision.variant, decision.reason)
            raise SwitchedOff(key, slug, decision.variant or "")

    def _decide(self, key: str, context: Mapping[str, str]) -> Decision:
        now = time.monotonic()
        question = (key, tuple(context.values()))
        known = self._decisions.get(question)
        if known is not None and known[0] > now:
            return known[1]
        decision = self._flags.evaluate(key, dict[str, Any](context))
        if len(self._decisions) >= _DECISIONS:
            self._decisions.clear()
        self._decisions[question] = (now + _DECISION_LIVES, decision)
        return decision
