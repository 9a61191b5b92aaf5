"""Carries the catalog from a hub to its edges."""
