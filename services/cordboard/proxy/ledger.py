"""The ledger of idempotency keys: each runs a request at most once, and says so honestly when nobody can know.

A key is started (a call has it, for as long as its lease), done (its answer is kept for a day), or indeterminate: the
request may have had an effect, and is never sent again by itself. Only a request that may reach the vendor twice, by
its nature or because the vendor takes a key, is sent again after doubt. Kept answers stand in the Proxy's own schema
behind row-level security, sealed under a key of their workspace, and are deleted after the day.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import orjson

from cordboard.core.errors import CallInProgress, IdempotencyKeyReused, Indeterminate, InvalidFields
from cordboard.planning.answers import Answer
from cordboard.proxy.sealing import SealingKeys, Unreadable
from cordboard.proxy.store import DONE, INDETERMINATE, done, doubtful

if TYPE_CHECKING:
    from cordboard.proxy.calls import Call, Order
    from cordboard.proxy.store import ProxyStore

# A call ends by its deadline; after this many seconds more its key counts as abandoned.
LEASE_MARGIN: Final = 5.0
MAX_KEY: Final = 255
KIND: Final = "idempotency"


def check_key(key: str) -> None:
    """Raises InvalidFields when an idempotency key is not 1 to 255 visible ASCII characters."""
    if len(key) > MAX_KEY or not all("!" <= character <= "~" for character in key):
        raise InvalidFields.one("idempotency_key", "must be 1 to 255 visible ASCII characters")


def fingerprint(order: Order) -> bytes:
    """Returns what tells one request from another under the same key; raises InvalidFields."""
    try:
        asked = orjson.dumps([order.connection, order.action, order.given], option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise InvalidFields.one("input", "is nested too deeply or holds a number that JSON cannot carry") from None
    return hashlib.sha256(asked).digest()


class Ledger:
    """Who has which key."""

    def __init__(self, store: ProxyStore, keys: SealingKeys) -> None:
        """Takes where idempotency keys are kept, and what their answers are sealed under."""
        self._store = store
        self._keys = keys

    async def begin(self, call: Call, *, repeatable: bool) -> Answer | None:
        """Gives the order's key to the call and returns None, or returns the answer that is kept under it.

        Raises IdempotencyKeyReused, CallInProgress or Indeterminate, and DependencyUnavailable where the answer could
        not be sealed: then nothing is begun.
        """
        order, mark = call.order, fingerprint(call.order)
        await self._keys.current(order.workspace)
        known = await self._store.claim_key(
            order.workspace,
            order.idempotency_key,
            fingerprint=mark,
            call_id=call.id,
            lease=max(0.0, call.left()) + LEASE_MARGIN,
            repeatable=repeatable,
            taken=call.take_key,
        )
        if known is None:
            return None
        if known.fingerprint != mark:
            raise IdempotencyKeyReused(order.idempotency_key)
        if known.state == DONE:
            return Answer(known.status, known.content_type, await self._opened(order, mark, known.body))
        if known.state == INDETERMINATE or known.lease_left <= 0:
            raise Indeterminate(order.idempotency_key)
        raise CallInProgress(order.idempotency_key, min(known.lease_left, 1.0))

    async def keep(self, call: Call, answer: Answer) -> None:
        """Keeps the answer: the key gives it again for a day."""
        order = call.order
        key = await self._keys.current(order.workspace)
        sealed = key.seal(KIND, _place(order, fingerprint(order)), answer.body)
        await self._finish(call, done(answer.status, answer.content_type, sealed))

    async def release(self, call: Call, *, repeatable: bool) -> None:
        """Frees the key of a call that failed, where it is certain that nothing was done; else notes the doubt."""
        await self._finish(call, doubtful(repeatable=repeatable) if call.doubtful else None)

    async def _opened(self, order: Order, mark: bytes, record: bytes) -> bytes:
        try:
            return await self._keys.opened(order.workspace, KIND, _place(order, mark), record)
        except Unreadable:
            # It was done, and what came of it nobody can read any more.
            raise Indeterminate(order.idempotency_key) from None

    async def _finish(self, call: Call, changes: dict[str, object] | None) -> None:
        await self._store.finish_key(call.order.workspace, call.order.idempotency_key, call.id, changes)


def _place(order: Order, mark: bytes) -> str:
    return f"{mark.hex()}/{order.idempotency_key}"
