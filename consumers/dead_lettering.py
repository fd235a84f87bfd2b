"""How a delivery that no handler can finish is set aside."""

import re
from datetime import UTC, datetime

from bridge import message as wire
from bridge.brokers.base import Delivery
from bridge.message import Message

_MAX_REASON = 2000  # characters; brokers bound headers, and the body is there for the rest
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]+")


def dead_letter(
    delivery: Delivery,
    *,
    group: str,
    error: BaseException,
    attempts: int,
    first: datetime,
) -> Message:
    """The message as it is set aside: untouched, plus why.

    Args:
        delivery: what could not be handled.
        group: the group that gives it up.
        error: what the last attempt raised.
        attempts: how many there were.
        first: when the first began.
    """
    reason = _UNSAFE.sub(" ", _text(error)).strip()[:_MAX_REASON] or type(error).__name__
    why = (
        (wire.DEAD_REASON, reason),
        (wire.DEAD_ERROR, type(error).__name__),
        (wire.DEAD_ATTEMPTS, str(attempts)),
        (wire.DEAD_FIRST_TIME, first.isoformat()),
        (wire.DEAD_LAST_TIME, datetime.now(UTC).isoformat()),
        (wire.DEAD_ORIGIN, delivery.origin),
        (wire.DEAD_GROUP, group),
    )
    kept = tuple(pair for pair in delivery.message.headers if pair[0] not in wire.DEAD_HEADERS)
    return Message(
        topic=delivery.message.topic,
        key=delivery.message.key,
        body=delivery.message.body,
        headers=kept
        + tuple((name, text.encode("utf-8", "backslashreplace")) for name, text in why),
    )


def _text(error: BaseException) -> str:
    """What the exception says; a `__str__` that fails itself must not cost the dead letter."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a stranger's code
        return ""
