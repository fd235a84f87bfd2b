"""Brokers: one contract for all of them, and tests of what is each one's own."""
