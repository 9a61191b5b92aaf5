"""Runs the statements of definitions on databases: named parameters alone, and reads unless an action says so."""
