"""Write a consumer of your own.

    from consumers import Consumer, ContactCreated

    consumer = Consumer(group="loyalty")

    @consumer.on("contact_created")
    async def enroll(notification: ContactCreated) -> None:
        ...

`bridge topology apply loyalty:consumer` once, then `bridge consume loyalty:consumer`.
"""

from bridge.topics import KNOWN_TYPES
from consumers.consumer import Consumer, Reject, Unavailable
from consumers.notifications import (
    ContactComplaint,
    ContactCreated,
    ContactModified,
    ContactOptin,
    ContactOptout,
    ContactQuarantine,
    Notification,
    SendingBounce,
    SendingProductionError,
)

__all__ = [
    "KNOWN_TYPES",
    "Consumer",
    "ContactComplaint",
    "ContactCreated",
    "ContactModified",
    "ContactOptin",
    "ContactOptout",
    "ContactQuarantine",
    "Notification",
    "Reject",
    "SendingBounce",
    "SendingProductionError",
    "Unavailable",
]
