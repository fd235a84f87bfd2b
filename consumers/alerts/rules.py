"""What is alerted, and when: pure rules, no I/O.

Errors escalate as the sender's own alerts do: the 1st, 10th, 100th, 1,000th and 10,000th of a day,
for each project, notification type and kind of error. A complaint is alerted every time.

Quarantines are not counted: the sender raises a bounce for the same failed mailing.
"""

from datetime import date, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from consumers.columns import key_text

STEPS: Final = (1, 10, 100, 1000, 10000)
"""Counts of a day at which an error is alerted."""

FRESH: Final = timedelta(hours=24)
"""Older than this is recorded but not alerted: a replay of last week must wake nobody."""


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
