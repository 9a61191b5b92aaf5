"""Reads definitions from where they come from, on a schedule and when asked."""
