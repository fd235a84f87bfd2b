"""Every answer the webhook endpoint gives, made once."""

from http import HTTPStatus
from typing import Final

from starlette.types import Message as Event

RETRY_AFTER_SECONDS: Final = 10
"""In answers 503. The sender has a schedule of its own; others may heed it."""


class Answer:
    """One fixed answer.

    Attributes:
        status: the HTTP status.
        start: ASGI event with status and headers.
        closing: the same, and the connection closes after it.
        body: ASGI event with the body.
    """

    def __init__(self, status: int, text: str, *more: tuple[bytes, bytes]) -> None:
        content = f"{text}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(content)).encode()),
            *more,
        ]
        self.status: Final = int(status)
        self.start: Final[Event] = _start(self.status, headers)
        self.closing: Final[Event] = _start(self.status, [*headers, (b"connection", b"close")])
        self.body: Final[Event] = {"type": "http.response.body", "body": content}


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> Event:
    return {"type": "http.response.start", "status": status, "headers": headers}


STORED: Final = Answer(HTTPStatus.OK, "stored")
GREETING: Final = Answer(
    HTTPStatus.OK, "This is the notification bridge: notifications are to be POSTed to this URL."
)
BY_STATUS: Final = {
    answer.status: answer
    for answer in (
        Answer(HTTPStatus.NOT_FOUND, "not found"),
        Answer(HTTPStatus.METHOD_NOT_ALLOWED, "POST only", (b"allow", b"POST, GET, HEAD")),
        Answer(HTTPStatus.REQUEST_TIMEOUT, "too slow"),
        Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large"),
        Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: identity only"),
        Answer(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not stored, repeat later",
            (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
        ),
    )
}
"""The answers to requests that were not stored."""
