"""Circuit breakers: keep calls from what is down, so that callers fail fast and it can recover."""
