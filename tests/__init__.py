"""Tests mirror the packages; brokers and databases are real ones (`tests.services`)."""
