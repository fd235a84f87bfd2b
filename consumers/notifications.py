"""Typed models of the eight notification types, and how a message is read into one."""


class Notification:
    """One notification as handlers get it."""

    type: str
    is_test: bool
