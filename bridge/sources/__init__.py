"""Sources: one file for each sender's format."""
