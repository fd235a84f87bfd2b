"""The rules of the suppression list, as pure functions.

1. An entry is kept per project, subject (an address, or a contact), scope (`*` or one opt-in
   field) and reason. Never one status.
2. A scope may be sent to only if no entry of it, nor of `*`, is active.
3. An opt-out sets its fields, each at its own date, and `*` when the contact became inactive. An
   opt-in clears opt-outs only, of its fields only, and of `*` when the contact became active.
4. A complaint, a hard bounce, a quarantine set `*` and survive an opt-in.
5. A soft bounce is history only.
6. The newest event time wins per entry, whatever the order of arrival: what clears an entry stays
   as a tombstone. A tie stays suppressed.

An entry is therefore the greatest of the statements made on it, and `apply` is a maximum: any
order, any number of times, gives the same state.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import singledispatch
from typing import Final

import msgspec

from consumers.bounces import hardness
from consumers.columns import key_text
from consumers.notifications import (
    ContactComplaint,
    ContactOptin,
    ContactOptout,
    ContactQuarantine,
    EventOrder,
    Notification,
    SendingBounce,
)
from consumers.suppression.addresses import normalise
from consumers.values import find, mapping, text

ALL: Final = "*"
"""The scope of everything."""


class Kind(StrEnum):
    """What an entry is about."""

    ADDRESS = "address"
    CONTACT = "contact"


class Reason(StrEnum):
    """Why."""

    OPT_OUT = "opt_out"
    COMPLAINT = "complaint"
    HARD_BOUNCE = "hard_bounce"
    QUARANTINE = "quarantine"
    SOFT_BOUNCE = "soft_bounce"
    """History only: it suppresses nothing."""


_OF_THE_ADDRESS: Final = frozenset({Reason.HARD_BOUNCE, Reason.QUARANTINE, Reason.SOFT_BOUNCE})
"""A dead mailbox says nothing of the contact's next address."""

Key = tuple[str, str, str, str, str]
"""Project, kind, subject, scope, reason."""
Rank = tuple[datetime, bool, datetime, str]
State = Mapping[Key, "Statement"]


class Statement(msgspec.Struct, frozen=True):
    """What one notification says of one entry.

    Attributes:
        project: idProject as text.
        kind: what `subject` is.
        subject: a normalised address, or idContact.
        scope: `*` or an opt-in field.
        reason: why.
        suppressed: False clears the entry, and stays as its tombstone.
        order: event time, dtExecution and id of the notification.
        source: the notification's type.
        address: as the sender spelled it, empty when the notification has none.
        contact: idContact, empty when absent.
    """

    project: str
    kind: Kind
    subject: str
    scope: str
    reason: Reason
    suppressed: bool
    order: EventOrder
    source: str
    address: str
    contact: str

    @property
    def key(self) -> Key:
        """The entry it is about."""
        return self.project, self.kind, self.subject, self.scope, self.reason

    @property
    def rank(self) -> Rank:
        """The greatest rank wins: newer, then suppressed, then dtExecution and id."""
        return self.order.event_time, self.suppressed, self.order.executed, self.order.id


class Sighting(msgspec.Struct, frozen=True):
    """A contact was seen under an address."""

    project: str
    contact: str
    address_key: str
    address: str
    order: EventOrder


def decide(notification: Notification, *, email_field: str) -> list[Statement]:
    """What a notification says: one statement for each entry, none of two on the same.

    Empty for types that say nothing, and for one that names neither contact nor address.
    """
    return [
        Statement(
            project=key_text(notification.project),
            kind=kind,
            subject=subject,
            scope=key_text(scope),
            reason=reason,
            suppressed=suppressed,
            order=_order(notification, None if scope == ALL else scope),
            source=notification.type,
            address=notification.email(email_field) or "",
            contact=notification.contact,
        )
        for scope, reason, suppressed in _says(notification)
        for kind, subject in _subjects(notification, reason, email_field)
    ]


def names_somebody(notification: Notification, *, email_field: str) -> bool:
    """Whether it names a contact or an address: otherwise there is nothing to suppress."""
    return bool(notification.contact or notification.email(email_field))


def sightings(notification: Notification, *, email_field: str) -> list[Sighting]:
    """The addresses under which it shows its contact."""
    if not notification.contact:
        return []
    data = mapping(find(notification.data, "ContactData"))
    seen = (notification.email(email_field) or "", text(find(data, email_field)))
    return [
        Sighting(
            project=key_text(notification.project),
            contact=key_text(notification.contact),
            address_key=address_key,
            address=address,
            order=_order(notification, None),
        )
        for address_key, address in {key_text(normalise(a)): a for a in seen if a}.items()
    ]


def apply(state: State, statements: Iterable[Statement]) -> dict[Key, Statement]:
    """The state after some statements. Commutative, associative and idempotent."""
    after = dict(state)
    for statement in statements:
        if statement.reason is Reason.SOFT_BOUNCE:
            continue
        before = after.get(statement.key)
        if before is None or before.rank < statement.rank:
            after[statement.key] = statement
    return after


def _subjects(
    notification: Notification, reason: Reason, email_field: str
) -> Iterator[tuple[Kind, str]]:
    address = notification.email(email_field)
    if address:
        yield Kind.ADDRESS, key_text(normalise(address))
    if notification.contact and not (address and reason in _OF_THE_ADDRESS):
        yield Kind.CONTACT, key_text(notification.contact)


def _order(notification: Notification, field: str | None) -> EventOrder:
    order = notification.order(field)
    return order._replace(id=key_text(order.id))


_Saying = tuple[str, Reason, bool]  # scope, reason, suppressed


@singledispatch
def _says(notification: Notification) -> Iterable[_Saying]:  # noqa: ARG001 - other types
    return ()


@_says.register
def _(notification: ContactOptout) -> Iterable[_Saying]:
    fields = dict.fromkeys(entry.name for entry in notification.fields)
    if notification.is_active is False or not fields:
        fields[ALL] = None  # one that names no field is taken for all of them
    return [(field, Reason.OPT_OUT, True) for field in fields]


@_says.register
def _(notification: ContactOptin) -> Iterable[_Saying]:
    fields = dict.fromkeys(entry.name for entry in notification.fields if entry.name != ALL)
    if notification.is_active is True:
        fields[ALL] = None
    return [(field, Reason.OPT_OUT, False) for field in fields]


@_says.register
def _(_notification: ContactComplaint) -> Iterable[_Saying]:
    return [(ALL, Reason.COMPLAINT, True)]


@_says.register
def _(_notification: ContactQuarantine) -> Iterable[_Saying]:
    return [(ALL, Reason.QUARANTINE, True)]


@_says.register
def _(notification: SendingBounce) -> Iterable[_Saying]:
    error = notification.error
    invalid = error.is_invalid_mailbox is True
    final = hardness(error.code, error.diagnostic, invalid_mailbox=invalid) == "hard"
    return [(ALL, Reason.HARD_BOUNCE if final else Reason.SOFT_BOUNCE, True)]
