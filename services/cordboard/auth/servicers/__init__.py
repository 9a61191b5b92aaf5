"""The RPCs of Auth for operators: the vault and incidents."""
