"""Notifications for tests: posted to the real source, read by the real reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bridge.sources.dialog_insight import DialogInsight
from bridge.topics import Topics
from consumers.notifications import Notification, read

if TYPE_CHECKING:
    from bridge.message import Message

RECEIVED = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)


def at(minutes: int) -> str:
    """A date of the sender, so many minutes after noon in Montreal of one summer day."""
    return f"2026.08.{1 + minutes // 60:02} 12:{minutes % 60:02}:00-04:00"


def utc(minutes: int) -> datetime:
    """What `at` means."""
    return datetime(2026, 8, 1 + minutes // 60, 16, minutes % 60, tzinfo=UTC)


def message(body: bytes, received: datetime = RECEIVED) -> Message:
    """The one message that the source makes of a request with one element."""
    (made,) = DialogInsight(Topics()).messages(body, received)
    return made


def notification(
    type_: str,
    id_: str = "e1",
    *,
    contact: object = 1,
    email: str | None = "jo@example.com",
    minutes: int = 0,
    **rest: Any,
) -> Notification:
    """A notification with these values; `minutes` is dtExecution, `rest` further keys."""
    contact_id = {"idContact": contact, "f_EMail": email}
    body = {
        "type": type_,
        "EventUniqueID": id_,
        "dtExecution": at(minutes),
        "idCompany": 1,
        "idProject": 1234,
        "ContactID": {key: value for key, value in contact_id.items() if value is not None},
    }
    return read(message(json.dumps([body | rest]).encode()))


def optin_info(**dates: int | None) -> dict[str, Any]:
    """OptinInfo with a date, in minutes, for each field; None for a null date."""
    return {
        "Fields": [
            {"OptinField": field, "OptinDate": None if minutes is None else at(minutes)}
            for field, minutes in dates.items()
        ]
    }
