"""Auth: who may do what, and with which secret."""

from __future__ import annotations
