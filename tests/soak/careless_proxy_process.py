"""A Proxy that looks whether a key is done and takes it then, whoever else has it: what the ledger is there against."""

from __future__ import annotations

from typing import Any

from cordboard.proxy.store import DONE, KeyRecord, ProxyStore
from tests.soak import proxy_process

_claim_key = ProxyStore.claim_key


async def careless(store: ProxyStore, workspace: str, key: str, **given: Any) -> KeyRecord | None:
    """Gives the key to whoever asks, unless its answer is there."""
    known = await _claim_key(store, workspace, key, **given)
    return known if known is not None and known.state == DONE else None


def main() -> None:
    """Serves with the settings in the environment."""
    setattr(ProxyStore, "claim_key", careless)  # noqa: B010 - a method is replaced
    proxy_process.main()
