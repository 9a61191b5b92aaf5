"""How soon a connection between two services that says nothing any more is given up.

A network that loses a connection tells nobody: without an answer to a question of its own, a channel would wait for
ever, and every call on it for its deadline.
"""

from __future__ import annotations

from typing import Final

# Servers refuse whoever asks more often than they allow: see core.server.
KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 5_000),
    # A process that gets no time of its machine for a moment is not gone.
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC asks for reasons of its own too, one question at a time, and waits a minute for its answer.
    ("grpc.http2.ping_timeout_ms", 5_000),
    # A watch may hear nothing for hours, and says nothing: after two questions gRPC would ask once a minute.
    ("grpc.http2.max_pings_without_data", 0),
    # How long one attempt to connect may take; gRPC's own bound is 20 seconds.
    ("grpc.min_reconnect_backoff_ms", 5_000),
)
"""The options of a channel that asks whether the other side is there."""
LEAST_PING_MS: Final = 2_000
"""How often whoever is connected may ask, Envoy too."""
