"""Rollouts: plans that are taken through their stages, each of which is a revision of a flag."""
