"""Typed models of the eight notification types, and how a message is read into one.

Reading is lenient: keys match in any case, unknown ones are kept, missing and garbled values are
None or empty. Only a body that is no JSON object at all is `Undecodable`.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bridge import message as wire
from bridge.message import Message
from consumers.decoding import Undecodable, decode, storable
from consumers.parts import (
    BounceError,
    ComplaintInfo,
    ContactData,
    OptinField,
    ProductionError,
    QuarantineInfo,
    SendLog,
    optin_fields,
    project_fields,
)
from consumers.values import Flag, SenderTime, find, identifier, mapping, text

__all__ = [
    "UNKNOWN_TIME",
    "ContactComplaint",
    "ContactCreated",
    "ContactData",
    "ContactModified",
    "ContactOptin",
    "ContactOptout",
    "ContactQuarantine",
    "EventOrder",
    "Notification",
    "SenderTime",
    "SendingBounce",
    "SendingProductionError",
    "Undecodable",
    "read",
]

UNKNOWN_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""`received_at` of a message that does not say: older than anything real."""
MAX_CLOCK_AHEAD: Final = timedelta(days=1)
"""A date further past the time of reception is a wrong clock: it would win for years."""


class EventOrder(NamedTuple):
    """What "newer" compares: event time, then dtExecution, then event id."""

    event_time: datetime
    executed: datetime
    id: str


class Notification(BaseModel):
    """One notification as handlers get it; of a type without a model it is of this class.

    Attributes:
        type: as sent.
        id: the sender's EventUniqueID.
        company: idCompany as text, empty when absent.
        project: idProject as text, empty when absent.
        contact: idContact as text, empty when absent.
        is_test: the source decided; a test must never touch a real contact.
        replayed: an operator handed it back from the dead letters.
        executed_at: dtExecution, when the sender sent it; a repeat may carry a new one.
        received_at: when the ingress received it, UTC; `UNKNOWN_TIME` when the message lacks it.
        contact_fields: the project's key fields (`f_*`) in ContactID, as sent.
        data: the whole body.
        message: what lay on the broker.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    type: str
    id: str
    company: str
    project: str
    contact: str
    is_test: bool
    replayed: bool
    executed_at: SenderTime | None
    received_at: datetime
    contact_fields: Mapping[str, Any] = Field(repr=False)
    data: Mapping[str, Any] = Field(repr=False)
    message: Message = Field(repr=False)

    def email(self, field: str) -> str | None:
        """The address in ContactID, else in ContactData, under the project's field name.

        None when it is absent or empty: the key of a project need not hold an address.
        """
        inside = (self.contact_fields, mapping(find(self.data, "ContactData")))
        return next(filter(None, (text(find(values, field)) for values in inside)), None)

    def event_time(self, field: str | None = None) -> datetime:
        """When what it tells of happened, aware UTC: the time that "newer" means.

        The date of the thing itself where there is one (OptinDate, dtModified, dtCreated,
        dtBounce), else dtExecution, else the time of reception. A date without an offset counts
        as absent; one more than a day past the reception is replaced by the reception.

        Args:
            field: an opt-in field, for its own date. Without it, the latest of them.
        """
        for moment in (self._own_time(field), self.executed_at):
            if moment is not None and moment.utc is not None:
                return self._believed(moment.utc)
        return self.received_at

    def order(self, field: str | None = None) -> EventOrder:
        """For "newer wins" between notifications of one contact: the greater order is newer."""
        executed = self.executed_at.utc if self.executed_at else None
        return EventOrder(
            self.event_time(field), self._believed(executed or self.received_at), self.id
        )

    def _own_time(self, field: str | None) -> SenderTime | None:  # noqa: ARG002 - for subclasses
        return None

    def _believed(self, moment: datetime) -> datetime:
        known = self.received_at != UNKNOWN_TIME
        ahead = known and moment > self.received_at + MAX_CLOCK_AHEAD
        return self.received_at if ahead else moment


class SendingBounce(Notification):
    """A delivery error. A quarantine for the same mailing comes as a notification of its own."""

    send_log: SendLog = Field(SendLog(), alias="SendLog")
    error: BounceError = Field(BounceError(), alias="DeliveryErrorInfo")


class SendingProductionError(Notification):
    """A message that could not be produced."""

    send_log: SendLog = Field(SendLog(), alias="SendLog")
    error: ProductionError = Field(ProductionError(), alias="ProductionErrorInfo")


class ContactCreated(Notification):
    """A contact made by hand or by a form; imports notify nothing."""

    contact_data: ContactData = Field(ContactData(), alias="ContactData", repr=False)

    def _own_time(self, field: str | None) -> SenderTime | None:  # noqa: ARG002 - one date for all
        modified = self.contact_data.modified_at
        return modified if modified and modified.utc else self.contact_data.created_at


class ContactModified(Notification):
    """A contact's values after a change by hand or by a form."""

    contact_data: ContactData = Field(ContactData(), alias="ContactData", repr=False)

    def _own_time(self, field: str | None) -> SenderTime | None:  # noqa: ARG002 - one date for all
        # Not dtCreated: it would make the change older than every earlier one.
        return self.contact_data.modified_at


class _Consent(Notification):
    fields: Annotated[tuple[OptinField, ...], BeforeValidator(optin_fields)] = Field(
        (), alias="OptinInfo"
    )
    is_active: Flag = Field(None, alias="isActive")

    def _own_time(self, field: str | None) -> SenderTime | None:
        dated = [
            entry.date
            for entry in self.fields
            if (field is None or entry.name == field) and entry.date and entry.date.utc
        ]
        return max(dated, key=lambda date: date.utc or UNKNOWN_TIME, default=None)


class ContactOptin(_Consent):
    """A contact subscribed to `fields`; `is_active` is its global state."""


class ContactOptout(_Consent):
    """A contact unsubscribed from `fields`; `is_active` false: from everything."""


class ContactQuarantine(Notification):
    """A contact's address was put into quarantine after a mailing."""

    quarantine: QuarantineInfo = Field(QuarantineInfo(), alias="QuarantineInfo")

    def _own_time(self, field: str | None) -> SenderTime | None:  # noqa: ARG002 - one date for all
        return self.quarantine.bounced_at


class ContactComplaint(Notification):
    """A contact reported a message as spam."""

    complaint: ComplaintInfo = Field(ComplaintInfo(), alias="ComplaintInfo")


MODELS: Final[Mapping[str, type[Notification]]] = {
    "sending_Bounce": SendingBounce,
    "sending_ProductionError": SendingProductionError,
    "contact_created": ContactCreated,
    "contact_modified": ContactModified,
    "contact_optin": ContactOptin,
    "contact_optout": ContactOptout,
    "contact_quarantine": ContactQuarantine,
    "contact_complaint": ContactComplaint,
}
"""Type as sent -> its model."""


def read(message: Message) -> Notification:
    """Read a message into the model of its type (`MODELS`), or into a plain `Notification`.

    Raises:
        Undecodable: see `consumers.decoding.decode`.
    """
    data = decode(message.body)
    type_ = storable(message.text(wire.CE_TYPE)) or text(find(data, "type"))
    model = MODELS.get(type_, Notification)
    contact_id = mapping(find(data, "ContactID"))
    parts = [field.alias for field in model.model_fields.values() if field.alias]
    received = SenderTime.parse(message.text(wire.CE_RECEIVEDTIME))
    return model.model_validate(
        {
            "type": type_,
            "id": storable(message.text(wire.CE_ID))
            or identifier(find(data, "EventUniqueID"))
            or hashlib.sha256(message.body).hexdigest(),
            "company": identifier(find(data, "idCompany")),
            "project": identifier(find(data, "idProject")),
            "contact": identifier(find(contact_id, "idContact")),
            "is_test": message.is_test,
            "replayed": message.header(wire.REPLAYED_TIME) is not None,
            "executed_at": SenderTime.parse(find(data, "dtExecution")),
            "received_at": (received.utc if received else None) or UNKNOWN_TIME,
            "contact_fields": project_fields(contact_id),
            "data": data,
            "message": message,
            **{part: find(data, part) for part in parts},
        }
    )
