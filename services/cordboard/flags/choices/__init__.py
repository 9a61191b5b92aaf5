"""What workspaces choose themselves, beside what operators decide."""
