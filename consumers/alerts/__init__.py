"""The alerts consumer: errors by the sender's own escalation, and every complaint."""

from consumers.alerts.handlers import consumer

__all__ = ["consumer"]
