"""The CRM consumer: keeps a CRM's contacts and their opt-ins in step with the sender's."""

from consumers.crm.handlers import consumer

__all__ = ["consumer"]
