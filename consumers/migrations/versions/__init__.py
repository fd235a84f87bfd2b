"""One file per migration: see `consumers.migrations`."""
