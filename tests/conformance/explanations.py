"""Why a scenario fails for what a client does, by its own source, and not for what it is answered."""

from __future__ import annotations

import re
from typing import Final

# Client, way, scenario and problem, each a pattern, and what the source says.
_KNOWN: Final[tuple[tuple[str, str, str, str, str], ...]] = (
    (
        "@openfeature",
        ".",
        r"rpc-caching\.feature: Stale and Error stage",
        "reason of boolean-flag is .*ERROR",
        "In `index.esm.js` `GRPCService.handleError` empties the cache as soon as the stream ends, and `_cacheActive` asks "
        "for a channel that is ready: it gives nothing from the cache while it is stale.",
    ),
    (
        "provider-flagd",
        "Envoy",
        ".",
        "no (stale|error) event",
        "In `resolvers/grpc.py` and `grpc_watcher.py` `_state_change_callback` is all that makes it stale, and hears of the "
        "connection alone: that to Envoy goes on. When a stream ends, `_handle_rpc_error` only opens the next one.",
    ),
)


def explanation(client: str, way: str, name: str, problem: str) -> str:
    """Returns what in the client's source explains a failure; nothing where none is known."""
    for *patterns, why in _KNOWN:
        given = (client, way, name, problem)
        if all(re.search(pattern, text) for pattern, text in zip(patterns, given, strict=True)):
            return why
    return ""
