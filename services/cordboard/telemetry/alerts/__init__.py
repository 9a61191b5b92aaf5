"""Alerts from stored figures: rules, who evaluates them when, what becomes of them, and how people are told."""
