"""Why an edge refuses what it was sent."""

from __future__ import annotations

from cordboard.catalog.v1.sync_service_pb2 import RejectionReason
from cordboard.core.errors import StateConflict


class Rejected(Exception):
    """What came is not applied, and what was there stays."""

    def __init__(self, reason: RejectionReason.ValueType, text: str) -> None:
        """Takes why, for programs and in words."""
        super().__init__(text)
        self.reason = reason
        self.text = text

    @property
    def word(self) -> str:
        """Returns the reason as people read it: `out-of-order`."""
        return RejectionReason.Name(self.reason).removeprefix("REJECTION_REASON_").lower().replace("_", "-")


def no_hub() -> StateConflict:
    """Returns the error of a mesh that keeps no key to sign with, and so has no edges."""
    text = "this mesh is no hub: it was given no file with a key for its signing keys, or another one than before"
    return StateConflict("hub", "absent", text)
