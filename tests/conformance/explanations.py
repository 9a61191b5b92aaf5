"""Why a scenario fails for what a client does, by its own source, and not for what it is answered."""

from __future__ import annotations

import re
from typing import Final

LOSS: Final = r"Provider reconnection|on connection error|Provider events chain|Stale and Error stage"
# Client, way, scenario and problem, each a pattern, and what the source says.
_KNOWN: Final[tuple[tuple[str, str, str, str, str], ...]] = (
    (
        "^@openfeature/flagd-provider$",
        ".",
        r"^rpc-caching\.feature: Stale and Error stage$",
        "reason of boolean-flag is .*ERROR",
        "@openfeature/flagd-provider 0.16.1 gives nothing from its cache while it is stale. In `index.esm.js`\n"
        "`GRPCService.handleError` empties the cache as soon as the stream ends, and `_cacheActive` wants a channel\n"
        "that is ready.",
    ),
    (
        "^openfeature-provider-flagd$",
        "^Envoy$",
        LOSS,
        "no (stale|error) event",
        "openfeature-provider-flagd 0.6.1 does not see that a service behind a proxy is gone. In `resolvers/grpc.py`\n"
        "and `resolvers/process/connector/grpc_watcher.py` nothing but `_state_change_callback` makes it stale, which\n"
        "hears of its connection, and that to Envoy goes on. When a stream ends, `_handle_rpc_error` opens the next.",
    ),
)


def explanation(client: str, way: str, name: str, problem: str) -> str:
    """Returns what in the client's source explains a failure; nothing where none is known."""
    for *patterns, why in _KNOWN:
        given = (client, way, name, problem)
        if all(re.search(pattern, text) for pattern, text in zip(patterns, given, strict=True)):
            return why
    return ""
