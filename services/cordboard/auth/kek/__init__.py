"""Key-encryption keys: who wraps the workspaces' keys, one module for each kind of provider."""

from __future__ import annotations

from cordboard.auth.kek.files import FileKeys
from cordboard.auth.kek.health import ProviderHealth
from cordboard.auth.kek.provider import KeyProvider, KeysRefused
from cordboard.auth.kek.ring import KeyRing, open_ring

__all__ = ["FileKeys", "KeyProvider", "KeyRing", "KeysRefused", "ProviderHealth", "open_ring"]
