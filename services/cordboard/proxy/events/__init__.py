"""What happened at vendors: taken, kept in order, and handed on."""
