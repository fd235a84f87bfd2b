"""What a user does, with real processes, on every broker."""
