"""Runs the migrations of the Proxy."""

from __future__ import annotations

from cordboard.core.migrate import run_environment

run_environment()
