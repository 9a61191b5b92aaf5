"""Alembic's entry to this service's chain."""

from __future__ import annotations

from cordboard.core.migrate import run_environment

run_environment()
