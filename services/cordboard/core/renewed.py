"""OpenTelemetry's exporters over the mesh's mutual TLS, with the certificate of the moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import grpc

from cordboard.core.liveness import KEEPALIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.core.identity import Identity

Batch_contra = TypeVar("Batch_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

# The exporters are typed for one option of text.
TO_TELEMETRY: Final[Any] = (("grpc.ssl_target_name_override", "telemetry.cordboard.internal"), *KEEPALIVE)
"""The options of a channel to Telemetry, whatever its address is."""


class Exporter(Protocol[Batch_contra, Result_co]):
    """What sends batches on one channel."""

    def export(self, batch: Batch_contra, /) -> Result_co:
        """Sends a batch."""

    def shutdown(self) -> None:
        """Closes the channel."""

    def force_flush(self, timeout_millis: int = ..., /) -> bool:
        """Sends what waits."""


class Renewed(Generic[Batch_contra, Result_co]):
    """Exports; a channel made with a certificate that was replaced is made again first."""

    def __init__(
        self, identity: Identity, make: Callable[[grpc.ChannelCredentials], Exporter[Batch_contra, Result_co]]
    ) -> None:
        """Takes who we are, and what opens a channel."""
        self._identity = identity
        self._make = make
        self._version = ""
        self._inner: Exporter[Batch_contra, Result_co] | None = None
        self._lock = threading.Lock()

    def export(self, batch: Batch_contra) -> Result_co:
        """Sends a batch."""
        with self._lock:
            material = self._identity.current()
            if self._inner is None or material.version != self._version:
                self.shutdown()
                self._inner = self._make(grpc.ssl_channel_credentials(material.ca, material.key, material.certificate))
                self._version = material.version
            return self._inner.export(batch)

    def shutdown(self) -> None:
        """Closes the channel."""
        if self._inner is not None:
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int) -> bool:
        """Has nothing to flush."""
        return self._inner is None or self._inner.force_flush(timeout_millis)
