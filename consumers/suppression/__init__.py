"""See the module for its parts."""
