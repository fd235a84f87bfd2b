"""The sender's own samples, one for each known type, and notifications made from them.

The files are the samples of the sender's guide; the line breaks of its print are taken out.
"""

import json
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from bridge.errors import ConfigurationError
from bridge.topics import KNOWN_TYPES

_PRODUCTION_TO_EVENT: Final = timedelta(minutes=10)
"""Between the start of a mailing and what the sender reports of it, as in the samples."""
_AGE_OF_A_MODIFIED_CONTACT: Final = timedelta(days=365)
_ADDRESSES_IN_REPORT: Final = ("<user@example.com>", "Removal-Recipient: user@example.com")


@lru_cache(maxsize=len(KNOWN_TYPES))
def sample(type_: str) -> bytes:
    """The body of the guide's sample: an array with one test notification.

    Raises:
        ConfigurationError: the type has no sample; names those that have one.
    """
    if type_ not in KNOWN_TYPES:
        raise ConfigurationError(f"no sample of type {type_!r}: use {', '.join(KNOWN_TYPES)}")
    return files(__package__).joinpath(f"{type_}.json").read_bytes()


def notification(
    type_: str,
    *,
    id: str,  # noqa: A002 - the CloudEvents name, as everywhere in the contract
    at: datetime,
    contact: int = 1,
    email: str = "someone@example.com",
    test: bool = True,
    email_field: str = "f_EMail",
) -> dict[str, Any]:
    """One notification in the form of its sample, as the sender would post it at some moment.

    Args:
        type_: one of the known types.
        id: EventUniqueID.
        at: aware time of what happened; every date of the notification follows from it and is
            written with its offset.
        contact: idContact.
        email: the contact's address.
        test: whether it is marked as a test; real notifications carry no mark at all.
        email_field: the project field that holds the address.

    Raises:
        ConfigurationError: the type has no sample.
    """
    made: dict[str, Any] = json.loads(sample(type_))[0]
    made["EventUniqueID"] = id
    made["dtExecution"] = sender_date(at)
    made["ContactID"] = {email_field: email, "idContact": contact}
    if not test:
        del made["isTest"]
    _fill(made, at=at, email=email)
    return made


def sender_date(at: datetime) -> str:
    """A moment as the sender writes it, e.g. `2016.09.19 10:54:49-04:00`.

    Args:
        at: aware; its own offset is kept, fractions of a second are dropped.
    """
    return at.strftime("%Y.%m.%d %H:%M:%S") + at.isoformat(timespec="seconds")[19:25]


def _fill(made: dict[str, Any], *, at: datetime, email: str) -> None:
    """Give the parts that differ from type to type their dates and addresses."""
    now, started = sender_date(at), sender_date(at - _PRODUCTION_TO_EVENT)
    match made:
        case {"SendLog": mailing}:
            mailing["dtProcessed"] = started
        case {"QuarantineInfo": quarantine}:
            quarantine |= {"dtProcessed": started, "dtBounce": now}
        case {"OptinInfo": {"Fields": fields}}:
            for field in fields:
                field["OptinDate"] = now
        case {"ContactData": contact, "type": type_}:
            age = _AGE_OF_A_MODIFIED_CONTACT if type_ == "contact_modified" else timedelta()
            created = sender_date(at - age)
            contact |= {
                "dtCreated": created,
                "dtActivated": created,
                "dtModified": now,
                "isActive": True,
                "isInvalidMailbox": False,
                "Domain": email.rpartition("@")[2],
            }
        case {"ComplaintInfo": complaint}:
            for text in _ADDRESSES_IN_REPORT:
                mine = text.replace("user@example.com", email)
                complaint["FBL_Report"] = complaint["FBL_Report"].replace(text, mine)
