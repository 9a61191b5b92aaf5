"""What OpenFeature's clients speak: flagd's evaluation and sync protocols, on the same flags as `FlagService`."""
