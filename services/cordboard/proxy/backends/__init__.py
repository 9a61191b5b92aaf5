"""The ways to a vendor, and how a workspace's calls move from one to another."""
