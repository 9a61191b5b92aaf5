"""Flags as documents: ours, flagd's flag definitions and Unleash's export, as far as ours can say the same."""

from __future__ import annotations
