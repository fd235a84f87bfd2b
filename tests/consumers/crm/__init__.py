"""Tests of the CRM consumer."""
