"""Gives the answer of an earlier POST again when the same request comes with the same `Idempotency-Key`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cordboard.sandbox.answers import Answer
from cordboard.sandbox.refusals import Invalid, KeyReused, Violation


class Ledger:
    """Remembers answers by caller and key.

    Only a success is kept, so that a refused request may be mended and sent again with the same key.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[bytes, Answer]] = {}

    def answer(self, caller_id: str, key: str, fingerprint: bytes, act: Callable[[], Answer]) -> Answer:
        """Returns the answer kept for the key, marked as such, or else that of `act`; raises KeyReused or Invalid.

        `act` does not wait for anything, so two requests with one key cannot both be under way.
        """
        if not 1 <= len(key) <= 255:
            raise Invalid(Violation("Idempotency-Key", "must have between 1 and 255 characters"))
        place = (caller_id, key)
        if place not in self._kept:
            answer = act()
            self._kept[place] = (fingerprint, answer)
            return answer
        known, answer = self._kept[place]
        if known != fingerprint:
            raise KeyReused
        return replace(answer, headers={**answer.headers, "Idempotency-Replayed": "true"})
