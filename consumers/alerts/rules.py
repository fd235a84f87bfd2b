"""What is alerted, and when: pure rules, no I/O.

Errors escalate as the sender's own alerts do: the 1st, 10th, 100th, 1,000th and 10,000th of a day,
for each project, notification type and kind of error. A complaint is alerted every time.

Quarantines are not counted: the sender raises a bounce for the same failed mailing.
"""

import re
from datetime import date, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from consumers.columns import key_text

STEPS: Final = (1, 10, 100, 1000, 10000)
"""Counts of a day at which an error is alerted."""

FRESH: Final = timedelta(hours=24)
"""Older than this is recorded but not alerted: a replay of last week must wake nobody."""

_ENHANCED: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")  # no address
_BASIC: Final = re.compile(r"(?:^|;)\s*([245])\d\d\b")  # a reply begins with it
# RFC 3463 calls a full mailbox permanent; senders retry it, for people empty their mailboxes.
_SOFT_ALL_THE_SAME: Final = frozenset({("5", "2", "2")})


class Signal(msgspec.Struct, frozen=True):
    """What an alert is about, taken from one notification.

    Attributes:
        event_id: the notification's id.
        company, project: where it comes from.
        type: the notification type.
        error: the kind of error within the type, e.g. `hard`, `NoContent`, `complaint`.
        at: event time.
        every: whether each one is alerted, instead of the escalation.
    """

    event_id: str
    company: str
    project: str
    type: str
    error: str
    at: datetime
    every: bool = False

    @property
    def key(self) -> str:
        """What is counted and grouped together: project, type, kind of error."""
        return key_text(f"{self.project}|{self.type}|{self.error}")


def step_due(count: int, *, alerted: int) -> int | None:
    """The step to alert now, or None.

    Args:
        count: how many there are today.
        alerted: the greatest step alerted today, 0 for none.
    """
    due = max((step for step in STEPS if step <= count), default=0)
    return due if due > alerted else None


def day_of(at: datetime, zone: tzinfo) -> date:
    """The day of the escalation that a moment belongs to."""
    return at.astimezone(zone).date()


def is_fresh(at: datetime, *, now: datetime) -> bool:
    """Whether something that happened at `at` may still wake somebody."""
    return now - at <= FRESH


def hardness(code: str, diagnostic: str, *, invalid_mailbox: bool) -> str:
    """`hard`, `soft` or `unknown`, by the status code and not by BounceType.

    The guide leaves BounceType's two words undefined, so the RFC 3463 code decides: the one in
    `BounceCode`, else the one in the server's words, else the class of the basic SMTP reply.

    Args:
        code: BounceCode as sent.
        diagnostic: dsnDiag as sent.
        invalid_mailbox: isInvalidMailbox; true settles it.
    """
    if invalid_mailbox:
        return "hard"
    for text in (code, diagnostic):
        if match := _ENHANCED.search(text):
            if match.groups() in _SOFT_ALL_THE_SAME:
                return "soft"
            return _CLASSES[match[1]]
    for text in (code, diagnostic):
        if match := _BASIC.search(text):
            return _CLASSES[match[1]]
    return "unknown"


_CLASSES: Final = {"2": "unknown", "4": "soft", "5": "hard"}
