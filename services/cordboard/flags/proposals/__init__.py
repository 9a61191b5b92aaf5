"""Proposals: changes of flags that wait for a second person."""
