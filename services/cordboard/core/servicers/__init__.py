"""The RPCs that every service serves."""
