"""The vendor's webhooks: every event of the desk, signed, in order, again until it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from cordboard.sandbox.desk import Event

SIGNATURE: Final = "X-Acme-Signature"
TIMEOUT: Final = 5.0
LOOK_EVERY: Final = 0.05
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0


@dataclass
class Hook:
    """An address that events are sent to."""

    url: str
    secret: str = field(repr=False)
    tls: ssl.SSLContext | None = None
    sent: int = 0
    """How many events of the desk it has had, those before it was added included."""
    attempts: int = 0


class Hooks:
    """Sends events to the addresses that were added."""

    def __init__(self, events: Callable[[], list[Event]]) -> None:
        """Takes what tells the events so far, oldest first."""
        self._events = events
        self._hooks: list[tuple[Hook, asyncio.Task[None]]] = []

    @property
    def added(self) -> list[Hook]:
        """Returns the addresses."""
        return [hook for hook, _ in self._hooks]

    def add(self, url: str, secret: str, tls: ssl.SSLContext | None = None) -> Hook:
        """Sends events to a URL from now on; `tls` says whom to trust there."""
        hook = Hook(url, secret, tls, sent=len(self._events()))
        self._hooks.append((hook, asyncio.create_task(self._run(hook))))
        return hook

    async def close(self) -> None:
        """Sends nothing any more."""
        tasks = [task for _, task in self._hooks]
        self._hooks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, hook: Hook) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
            wait = FIRST_WAIT
            while True:
                events = self._events()
                if hook.sent >= len(events):
                    await asyncio.sleep(LOOK_EVERY)
                elif await self._send(session, hook, events[hook.sent]):
                    hook.sent += 1
                    wait = FIRST_WAIT
                else:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LONGEST_WAIT)

    async def _send(self, session: aiohttp.ClientSession, hook: Hook, event: Event) -> bool:
        body = json.dumps(event.as_json()).encode()
        hook.attempts += 1
        headers = {"Content-Type": "application/json", SIGNATURE: signature(hook.secret, body, int(time.time()))}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.post(hook.url, data=body, headers=headers, ssl=hook.tls or True) as answer:
                return answer.ok
        return False


def signature(secret: str, body: bytes, at: int) -> str:
    """Returns the header that proves a body: its time, and the HMAC-SHA256 of the time and the body."""
    proof = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    return f"t={at},v1={proof}"
