"""Telemetry: takes spans by OTLP, keeps them in PostgreSQL, and answers questions about traces."""
