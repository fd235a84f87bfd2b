"""What a sink is given: one page, as JSON. Holds counts and ids, never an address or a body."""

from datetime import date, datetime

import msgspec

from consumers.alerts.rules import Signal
from consumers.columns import key_text


class Incident(msgspec.Struct, frozen=True):
    """What is known of one key since it began to fail. There is one open incident per key.

    Attributes:
        id: stable for as long as the incident is open.
        count: notifications in it.
        first_seen, last_seen: event times.
        samples: up to three event ids, the newest last.
    """

    id: str
    count: int
    first_seen: datetime
    last_seen: datetime
    samples: tuple[str, ...]


class Page(msgspec.Struct, frozen=True):
    """One alert; its JSON is what a webhook is posted.

    Attributes:
        dedup_key: the same whenever this same alert is posted again; a receiver that remembers it
            is alerted once even if we crash between the post and our own note of it.
        incident: the incident it belongs to: later pages of the same key update that one.
        text: one sentence for people; chat webhooks show this field.
        severity: `warning`, or `critical` from 1,000 a day on and for every complaint.
        company, project, type, error: what failed; see `Signal`.
        day: the day of the escalation, in the zone of the settings.
        today: how many there were that day.
        step: the step of the escalation that was reached; None for complaints.
        count, first_seen, last_seen, samples: of the incident.
    """

    dedup_key: str
    incident: str
    text: str
    severity: str
    company: str
    project: str
    type: str
    error: str
    day: date
    today: int
    step: int | None
    count: int
    first_seen: datetime
    last_seen: datetime
    samples: tuple[str, ...]


_CRITICAL = 1000  # a day


def page(signal: Signal, incident: Incident, *, day: date, today: int, step: int | None) -> Page:
    """The page for one signal.

    Args:
        signal: what happened.
        incident: the incident with this signal counted in.
        day: the signal's day.
        today: how many of its key there are that day, this one included.
        step: the step of the escalation it reaches, None if each one is alerted.
    """
    return Page(
        dedup_key=key_text(
            f"{signal.key}|{signal.event_id}" if step is None else f"{signal.key}|{day}|{step}"
        ),
        incident=incident.id,
        text=_text(signal, day=day, today=today),
        severity="critical" if step is None or step >= _CRITICAL else "warning",
        company=signal.company,
        project=signal.project,
        type=signal.type,
        error=signal.error,
        day=day,
        today=today,
        step=step,
        count=incident.count,
        first_seen=incident.first_seen,
        last_seen=incident.last_seen,
        samples=incident.samples,
    )


def _text(signal: Signal, *, day: date, today: int) -> str:
    if signal.every:
        return f"Project {signal.project}: a spam complaint, number {today:,} of {day}"
    return f"Project {signal.project}: {signal.type} ({signal.error}) number {today:,} of {day}"
