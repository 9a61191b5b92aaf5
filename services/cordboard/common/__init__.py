"""What every proto shares: only generated stubs live below here."""
