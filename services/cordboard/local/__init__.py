"""Runs the whole mesh on one machine: PostgreSQL, Envoy, certificates, six services, and the supervisor over them."""

from __future__ import annotations
