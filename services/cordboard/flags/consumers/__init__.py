"""Who follows the flags, and how far each is."""
