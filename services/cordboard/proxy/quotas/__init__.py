"""What vendors let be called: declared limits, shared by all replicas."""
