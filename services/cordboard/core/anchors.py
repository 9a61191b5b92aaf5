"""Anchors: how far each chain of the journal is, noted outside of the database on a schedule.

An administrator of the database can compute a whole chain anew. What was noted where that person has no hand shows it,
up to the last anchor.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from cordboard.core.egress import Egress
from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.core.audit_chains import Chains, Head
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

WEBHOOK_SECONDS: Final = 10.0


class Anchors:
    """Notes heads in a file that only grows, and at a webhook."""

    def __init__(
        self, service: str, chains: Chains, clock: Clock, *, file: Path | None, url: str, egress: Egress
    ) -> None:
        """Takes the service whose journal it is, and either or both of the places."""
        self._service = service
        self._chains = chains
        self._clock = clock
        self._file = file
        self._url = url
        self._egress = egress
        self._noted: dict[str, int] = {}

    async def run(self, seconds: float) -> None:
        """Notes what is new, every so many seconds, for ever."""
        while True:
            try:
                await self.note()
            except (CordboardError, aiohttp.ClientError, OSError, TimeoutError) as error:
                # Nothing is lost: the next anchor covers what this one would have.
                logger.error("the journal was not anchored", extra={"problem": type(error).__name__})
            await asyncio.sleep(seconds)

    async def note(self) -> int:
        """Notes the chains that grew since the last time; returns how many.

        Raises OSError, aiohttp.ClientError, EgressDenied, and DependencyUnavailable.
        """
        grown = [head for head in await self._chains.heads() if self._noted.get(head.chain, 0) < head.sequence]
        if grown:
            lines = self._lines(grown)
            if self._file is not None:
                await asyncio.to_thread(_append, self._file, lines)
            if self._url:
                await self._post(lines)
            self._noted |= {head.chain: head.sequence for head in grown}
        return len(grown)

    def _lines(self, heads: Sequence[Head]) -> bytes:
        now = self._clock.now().isoformat(timespec="seconds")
        return b"".join(
            orjson.dumps(
                {
                    "time": now,
                    "service": self._service,
                    "chain": head.chain,
                    "sequence": head.sequence,
                    "hash": head.hash.hex(),
                }
            )
            + b"\n"
            for head in heads
        )

    async def _post(self, lines: bytes) -> None:
        async with (
            self._egress.session(timeout=WEBHOOK_SECONDS, connections=2) as session,
            session.post(
                self._url, data=lines, headers={"content-type": "application/x-ndjson"}, allow_redirects=False
            ) as response,
        ):
            response.raise_for_status()
            if response.status >= 300:
                raise aiohttp.ClientResponseError(response.request_info, (), status=response.status)


def _append(path: Path, lines: bytes) -> None:
    # One write at the end of the file: several services may note into one. `chattr +a` makes that the only way.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, lines)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
