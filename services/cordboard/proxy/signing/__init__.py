"""Signatures of requests, for the vendors that want more than a secret in a place."""
