"""From a notification to the signal that is counted."""

from datetime import UTC, datetime

from consumers.alerts.rules import Signal
from consumers.bounces import hardness
from consumers.notifications import (
    ContactComplaint,
    Notification,
    SendingBounce,
    SendingProductionError,
)

_MAX_ERROR = 100  # characters; an unlisted code is free text of the sender
_UNKNOWN = "unknown"
# Dates outside are no dates (.NET sends 0001-01-01 for none) and have no day in some zones.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2999, 1, 1, tzinfo=UTC)


def signal_of(notification: Notification) -> Signal:
    """What is counted: bounces by hardness, production errors by code, complaints each."""
    return Signal(
        event_id=notification.id,
        company=notification.company,
        project=notification.project,
        type=notification.type,
        error=_error(notification),
        at=min(max(notification.event_time(), _EARLIEST), _LATEST),
        every=isinstance(notification, ContactComplaint),
    )


def _error(notification: Notification) -> str:
    if isinstance(notification, SendingBounce):
        error = notification.error
        return hardness(
            error.code, error.diagnostic, invalid_mailbox=error.is_invalid_mailbox is True
        )
    if isinstance(notification, SendingProductionError):
        code = notification.error.code
        if code is None:
            return _UNKNOWN
        return (code.name or str(code.number))[:_MAX_ERROR]
    return "complaint" if isinstance(notification, ContactComplaint) else _UNKNOWN
