"""Forms are there before anyone asks: they are made as the Catalog announces definition versions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry.trace import SpanKind

from cordboard.core.copies import Copy
from cordboard.core.errors import CordboardError, DependencyUnavailable
from cordboard.core.telemetry import DEFINITION_VERSION, INTEGRATION, span
from cordboard.uqi.drafts import Draft, Draftsman, Failure

if TYPE_CHECKING:
    from cordboard.catalog.v1 import definition_pb2
    from cordboard.core.times import Clock
    from cordboard.uqi.progress import ProgressBoard
    from cordboard.uqi.store import FormStore

logger = logging.getLogger(__name__)

# Forms made in one go in the thread, between two looks at whether anybody still wants them.
FORMS_AT_ONCE: Final = 20
PROGRESS_SECONDS: Final = 1.0
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Release:
    """A definition version as the Catalog announces it."""

    integration: str
    version: str
    content_hash: str
    active: bool
    definition: definition_pb2.Definition
    sequence: int = 0
    """The Catalog's number of the change; 0 when the version was asked for and not announced."""


class Releases(Protocol):
    """Where definition versions come from."""

    def after(self, sequence: int) -> AsyncIterator[Release | None]:
        """Yields each live version, then each change with a number above `sequence`; raises DependencyUnavailable.

        None stands where everything that there was when it began has been said.
        """
        ...

    async def release(self, integration: str, version: str) -> Release:
        """Returns a version (`active` for the active one); raises NotFound and DependencyUnavailable."""
        ...


class Upkeep:
    """Makes the forms of definition versions, each set once, in a thread."""

    def __init__(
        self,
        store: FormStore,
        releases: Releases,
        clock: Clock,
        *,
        generator: str,
        on_change: Callable[[Release], None],
        board: ProgressBoard,
    ) -> None:
        """Takes the store, the source of versions, the generator's hash, whom to tell that a version is ready, and
        where it is shown how far it is.
        """
        self.copy = Copy("catalog", clock=clock.monotonic)
        # Until the Catalog has said what there is, what is stored may be old.
        self.copy.lost()
        self._store = store
        self._releases = releases
        self._clock = clock
        self._generator = generator
        self._on_change = on_change
        self._board = board
        self._making: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._followed = False

    async def run(self) -> None:
        """Follows the Catalog for ever; waits and goes on where it was when the Catalog or the database is away."""
        sequence = 0
        pause = FIRST_PAUSE
        while True:
            try:
                async for release in self._releases.after(sequence):
                    if release is None:
                        self._followed, pause = True, FIRST_PAUSE
                        self.copy.current()
                    else:
                        await self._follow(release)
                        sequence, pause = release.sequence, FIRST_PAUSE
            except DependencyUnavailable as error:
                logger.warning("following the catalog was interrupted", extra={"problem": error.text})
            if self._followed:
                # Until now everything was as the Catalog has it, however long ago it said something new.
                self._followed = False
                self.copy.current()
                self.copy.lost()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - to spread load, not to hide anything
            pause = min(pause * 2, LONGEST_PAUSE)

    def silence(self) -> float:
        """Returns for how many seconds the Catalog has not been heard; 0 while it is followed."""
        return 0.0 if self._followed else max(self.copy.age(), 0.001)

    async def _follow(self, release: Release) -> None:
        try:
            await self.take(release)
        except CordboardError:
            raise
        except Exception:
            # One definition that nothing can be made of must not keep the others from having forms.
            where = {"integration": release.integration, "version": release.version}
            logger.exception("the forms of a version cannot be made", extra=where)

    async def take(self, release: Release) -> None:
        """Makes the forms of a version unless they exist, and only then makes it the active one, where it is."""
        await self.ensure(release)
        if release.active:
            await self._store.activate(release.integration, release.version, sequence=release.sequence)
        self._on_change(release)

    async def fetch(self, integration: str, version: str) -> Release:
        """Asks the Catalog for a version and makes its forms now; raises NotFound and DependencyUnavailable."""
        release = await self._releases.release(integration, version)
        await self.ensure(release)
        return release

    async def ensure(self, release: Release) -> None:
        """Returns when the forms of a version are stored; those who ask at the same time share the work."""
        key = (release.integration, release.version)
        task = self._making.get(key)
        if task is None:
            task = asyncio.create_task(self._make(release))
            self._making[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # One caller that goes away does not take the work from the others.
        await asyncio.shield(task)

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._making.pop(key, None)
        # Seen here, in case everybody who waited for it went away.
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._board.done(*key)
        else:
            self._board.failed(*key, _problem(error))

    async def close(self) -> None:
        """Ends what is being made; nothing of it is stored."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, release: Release) -> None:
        known = await self._store.form_set(release.integration, release.version)
        if known and (known.content_hash, known.generator) == (release.content_hash, self._generator):
            return
        where = {"integration": release.integration, "version": release.version}
        self._board.begun(release.integration, release.version)
        attributes = {INTEGRATION: release.integration, DEFINITION_VERSION: release.version}
        started = self._clock.monotonic()
        with span("uqi.forms.make", SpanKind.INTERNAL, **attributes):
            made = await self._drawn(release, started)
            await self._store.put(
                release.integration,
                release.version,
                made,
                content_hash=release.content_hash,
                generator=self._generator,
                now=self._clock.now(),
            )
        failures = [each for each in made if isinstance(each, Failure)]
        for failure in failures[:10]:
            logger.error("a form cannot be made", extra={**where, "form": failure.id, "problem": failure.problem})
        seconds = round(self._clock.monotonic() - started, 2)
        forms = len(made) - len(failures)
        logger.info("forms made", extra={**where, "forms": forms, "failed": len(failures), "seconds": seconds})

    async def _drawn(self, release: Release, started: float) -> list[Draft | Failure]:
        draftsman = await asyncio.to_thread(Draftsman, release.definition)
        ids = draftsman.ids()
        self._board.reached(release.integration, release.version, 0, len(ids))
        made: list[Draft | Failure] = []
        said = started
        for start in range(0, len(ids), FORMS_AT_ONCE):
            made += await asyncio.to_thread(
                lambda chunk: list(draftsman.drafts(chunk)), ids[start : start + FORMS_AT_ONCE]
            )
            self._board.reached(release.integration, release.version, len(made), len(ids))
            if self._clock.monotonic() - said > PROGRESS_SECONDS:
                said = self._clock.monotonic()
                logger.info(
                    "making forms",
                    extra={
                        "integration": release.integration,
                        "version": release.version,
                        "made": len(made),
                        "of": len(ids),
                    },
                )
        return made


def _problem(error: BaseException) -> str:
    # An error of ours has a text for people; of any other its text may say what is inside.
    return error.text if isinstance(error, CordboardError) else type(error).__name__
