"""What events are sent to, one event at a time.

Webhooks are signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, and `webhook-signature` with the
HMAC-SHA256 of both and the body.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp

from cordboard.core.errors import EgressDenied, NotFound
from cordboard.planning.dialect import Dialect
from cordboard.proxy.events.subscription import SECRET
from cordboard.proxy.events.subscription_secrets import KEY_PREFIX, Secrets
from cordboard.proxy.sealing import Unreadable

if TYPE_CHECKING:
    from cordboard.core.times import Clock
    from cordboard.proxy.events.event import Event
    from cordboard.proxy.events.subscription import Subscription
    from cordboard.proxy.sealing import SealingKeys

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
UNREADABLE: Final = "UNREADABLE"
UNREACHABLE: Final = "UNREACHABLE"
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Answered:
    """How a target took an event: an empty reason means that it did."""

    reason: str = ""
    retry_after: float | None = None
    busy: bool = False
    """It is not the event's fault: nothing else is to be sent for a while, and the attempt does not count."""


class Target(Protocol):
    """Takes events."""

    async def send(self, found: Subscription, event: Event, body: bytes) -> Answered:
        """Sends an event, in the JSON format of CloudEvents; raises DependencyUnavailable."""
        ...


class WebhookTarget:
    """The URLs of subscriptions."""

    def __init__(self, session: aiohttp.ClientSession, keys: SealingKeys, clock: Clock) -> None:
        """Takes the guarded session to call them with, what opens their secrets, and what dates signatures."""
        self._session = session
        self._keys = keys
        self._clock = clock
        self._dialect = Dialect()

    async def send(self, found: Subscription, event: Event, body: bytes) -> Answered:
        """Sends an event to a URL; a redirect is no answer."""
        try:
            secrets = Secrets.read(await self._keys.opened(found.workspace_id, SECRET, found.id, found.secret))
        except (NotFound, Unreadable):
            # The workspace was shredded.
            return Answered(UNREADABLE)
        identity, stamp = f"{event.workspace_id}-{event.number}", str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": CONTENT_TYPE,
            "webhook-id": identity,
            "webhook-timestamp": stamp,
            # One for each that is good, as Standard Webhooks has it: a target looks for one that it can make itself.
            "webhook-signature": " ".join(
                signature(secret, identity, stamp, body) for secret in secrets.good(self._clock.now())
            ),
        }
        try:
            async with self._session.post(found.url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
                wait = self._dialect.retry_after(response.headers, self._clock.now())
        except EgressDenied:
            return Answered("EGRESS_DENIED")
        except TimeoutError:
            return Answered("TIMEOUT")
        except (aiohttp.ClientError, OSError, ValueError):
            return Answered(UNREACHABLE)
        if response.ok and status < 300:
            return Answered()
        busy = status == _TOO_MANY or (status == _UNAVAILABLE and wait is not None)
        return Answered(f"HTTP_{status}", wait, busy)


def signature(secret: str, identity: str, stamp: str, body: bytes) -> str:
    """Returns the `webhook-signature` of a message."""
    key = base64.b64decode(secret.removeprefix(KEY_PREFIX))
    proof = hmac.digest(key, f"{identity}.{stamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(proof).decode()}"
