"""Drills: failures that are made on purpose, to see that they are noticed, and that the runbook mends them."""

from __future__ import annotations
