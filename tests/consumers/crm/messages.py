"""Messages as the ingress stores them, for the consumers' tests."""

import json
from datetime import UTC, datetime
from typing import Any

from bridge import message as wire
from bridge.message import Message
from consumers.notifications import Notification, read


def sender_time(at: datetime) -> str:
    """As the sender writes it."""
    return at.astimezone(UTC).strftime("%Y.%m.%d %H:%M:%S+00:00")


def notification(
    type_: str,
    event_id: str,
    *,
    executed: datetime,
    contact: int | str = 1,
    project: int = 1234,
    test: bool = False,
    received: datetime | None = None,
    **parts: Any,
) -> Notification:
    """A notification, read from the message that the ingress would have stored.

    Args:
        type_: as the sender spells it.
        event_id: EventUniqueID.
        executed: dtExecution.
        contact: idContact.
        project: idProject.
        test: whether it is marked as a test.
        received: when the ingress got it; by default at `executed`.
        parts: further members of the body, e.g. `ContactData`.
    """
    body: dict[str, Any] = {
        "type": type_,
        "EventUniqueID": event_id,
        "dtExecution": sender_time(executed),
        "idCompany": 1,
        "idProject": project,
        "ContactID": {"idContact": contact, "f_EMail": f"c{contact}@example.com"},
        **parts,
    }
    headers = [
        (wire.CE_ID, event_id),
        (wire.CE_TYPE, type_),
        (wire.CE_RECEIVEDTIME, (received or executed).isoformat()),
    ]
    if test:
        body["isTest"] = True
        headers.append((wire.CE_TEST, "true"))
    return read(
        Message(
            topic=f"notifications.{type_}",
            key=f"{project}|{contact}".encode(),
            body=json.dumps(body).encode(),
            headers=tuple((name, value.encode()) for name, value in headers),
        )
    )


def optin_info(*fields: tuple[str, datetime | None]) -> dict[str, Any]:
    """OptinInfo of these fields with their dates."""
    return {
        "Fields": [
            {"OptinField": name, "OptinDate": None if date is None else sender_time(date)}
            for name, date in fields
        ]
    }


def modified(event_id: str, at: datetime, *, contact: int = 1, **fields: object) -> Notification:
    """A contact modified at a moment: `fields` are the project's, without their `f_`."""
    data = {f"f_{name}": value for name, value in fields.items()}
    data["dtModified"] = sender_time(at)
    return notification(
        "contact_modified", event_id, executed=at, contact=contact, ContactData=data
    )
