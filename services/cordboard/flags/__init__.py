"""Flags: who gets what."""
