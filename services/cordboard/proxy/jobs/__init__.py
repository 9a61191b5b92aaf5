"""Calls that run later: jobs, their schedules, and what became of those that could not be done."""
