"""Tests of the suppression consumer."""
