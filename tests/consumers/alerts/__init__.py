"""Tests of the alerts consumer."""
