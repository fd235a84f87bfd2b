"""How the tests of the source post a body, and what they look at."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import HealthCheck, settings

from bridge.message import CE_MALFORMEDREASON, Message
from bridge.sources.dialog_insight import DialogInsight
from bridge.sources.samples import notification
from bridge.topics import Topics

RECEIVED: Final = datetime(2026, 11, 24, 10, 30, 0, 125_000, tzinfo=UTC)
HAPPENED: Final = datetime.fromisoformat("2016-09-19T10:54:49-04:00")
TOPICS: Final = Topics("notifications", extra_types=["contact_merged"])

AT_ANY_SPEED: Final = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
"""For property tests: a slow machine is no failure; what reproduces a failure is printed."""


def post(body: bytes) -> Sequence[Message]:
    """What the source makes of one request body."""
    return DialogInsight(TOPICS).messages(body, RECEIVED)


def post_one(element: dict[str, Any] | bytes) -> Message:
    """The one message of an array with one element."""
    [message] = post(b"[" + (element if isinstance(element, bytes) else encoded(element)) + b"]")
    return message


def opt_out(**changes: Any) -> dict[str, Any]:
    """A real opt-out of contact 77, with some fields set otherwise."""
    made = notification("contact_optout", id="opt-out", at=HAPPENED, contact=77, test=False)
    return made | changes


def without(*names: str) -> dict[str, Any]:
    """A real opt-out that lacks some fields."""
    return {name: value for name, value in opt_out().items() if name not in names}


def encoded(value: object) -> bytes:
    """JSON as the samples write it, lone surrogates and NaN let through."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def reason(message: Message) -> str:
    """Why it is malformed; empty when it is not."""
    assert (message.topic == TOPICS.malformed) == (message.text(CE_MALFORMEDREASON) != "")
    return message.text(CE_MALFORMEDREASON)


def sha256(data: bytes) -> bytes:
    """Hex, as headers carry it."""
    return hashlib.sha256(data).hexdigest().encode()
