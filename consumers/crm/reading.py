"""From a notification to a change: which values of a contact it tells, and how new each is.

| Notification | Fields | Opt-ins |
|---|---|---|
| created, modified | the project's fields, dates, `isActive`, `isInvalidMailbox` | none |
| opt-in, opt-out | the project's key fields, `isActive` where sent | each field that is listed |

Left out: the sender's internal ids of sources, and `clKey`, which opens a contact's own pages.
"""

from collections.abc import Iterator
from typing import Any, Final

from consumers.consumer import Reject
from consumers.crm.change import Change, Field, Version
from consumers.notifications import (
    ContactCreated,
    ContactData,
    ContactModified,
    ContactOptin,
    ContactOptout,
    EventOrder,
    Notification,
    SenderTime,
)
from consumers.values import find, mapping

MAX_NAME: Final = 200
"""Bytes of an id or of a field's name. No CRM has a place for longer ones, nor has an index."""
_ACTIVE: Final = "isActive"
_DATES: Final = (
    "created_at",
    "modified_at",
    "activated_at",
    "deactivated_at",
    "invalid_mailbox_at",
)
_FLAGS: Final = ("is_active", "is_invalid_mailbox")


def change_of(notification: Notification) -> Change:
    """What the CRM is to be told.

    Raises:
        Reject: without a project or a contact, or with an id or a name no CRM could hold.
    """
    if not notification.contact or not notification.project:
        raise Reject("no idProject or no idContact: it says nothing about a contact")
    fields = {field.slot: field for field in _fields(notification)}
    names = (field.name for field in fields.values())
    if any(
        len(name.encode()) > MAX_NAME
        for name in (notification.id, notification.project, notification.contact, *names)
    ):
        raise Reject(f"an id or the name of a field is longer than {MAX_NAME} bytes")
    return Change(
        event_id=notification.id,
        company=notification.company,
        project=notification.project,
        contact=notification.contact,
        fields=tuple(fields.values()),
    )


def _fields(notification: Notification) -> Iterator[Field]:
    """The values; where two have one slot, the later one counts."""
    order = notification.order()
    for name, value in notification.contact_fields.items():
        yield _field(name, value, order)
    if isinstance(notification, ContactCreated | ContactModified):
        for name, value in notification.contact_data.fields.items():
            yield _field(name, value, order)
        for name, value in _own_values(notification):
            yield _field(name, value, order)
    if isinstance(notification, ContactOptin | ContactOptout):
        if notification.is_active is not None:
            yield _field(_ACTIVE, notification.is_active, order)
        subscribed = isinstance(notification, ContactOptin)
        for entry in notification.fields:
            yield _optin(entry.name, notification.order(entry.name), subscribed=subscribed)


def _own_values(notification: ContactCreated | ContactModified) -> Iterator[tuple[str, Any]]:
    """The sender's own values. A date of null no longer holds; a flag of null says nothing."""
    sent = {key.casefold() for key in mapping(find(notification.data, "ContactData"))}
    for attribute in (*_DATES, *_FLAGS):
        name = ContactData.model_fields[attribute].alias or attribute
        value = getattr(notification.contact_data, attribute)
        if isinstance(value, SenderTime):
            value = value.text if value.utc is None else value.utc.isoformat()
        if name.casefold() in sent and (value is not None or attribute in _DATES):
            yield name, value


def _field(name: str, value: object, order: EventOrder) -> Field:
    suppresses = name == _ACTIVE and value is False
    return Field(
        kind="field", name=name, value=value, version=_version(order, suppresses=suppresses)
    )


def _optin(name: str, order: EventOrder, *, subscribed: bool) -> Field:
    return Field(
        kind="optin",
        name=name,
        value=subscribed,
        version=_version(order, suppresses=not subscribed),
        date=order.event_time.isoformat(),
    )


def _version(order: EventOrder, *, suppresses: bool) -> Version:
    return Version(
        time=order.event_time,
        suppresses=suppresses,
        executed=order.executed,
        event_id=order.id,
    )
