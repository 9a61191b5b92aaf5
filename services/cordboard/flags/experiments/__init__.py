"""Experiments: whether one variant of a flag is better than another, by what became of those who got it."""
