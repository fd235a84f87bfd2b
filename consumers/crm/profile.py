"""The seam between the CRM consumer and one kind of CRM.

A profile is two pure functions: a change becomes a request, an answer becomes an outcome. It does
no I/O, knows no state and no broker; `consumers.crm.client` carries its requests. Its outcomes are
those of any handler: None for done, `Reject`, `Unavailable`, or another exception to try again.
"""

from typing import Protocol

import msgspec

from consumers.crm.change import Change


class Request(msgspec.Struct, frozen=True):
    """One HTTP request. `url` is absolute; `headers` holds no credentials, the client adds them."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What came back. `headers` has lower-case names; `body` is the beginning of the body only."""

    status: int
    headers: dict[str, str]
    body: bytes


class Profile(Protocol):
    """How one kind of CRM is told of a change."""

    def request(self, change: Change) -> Request:
        """The request that makes the CRM's contact agree with `change`.

        Sending it twice must have the effect of sending it once: a crash between the answer and
        our own commit repeats it.

        Raises:
            Reject: this CRM cannot be told, e.g. a value it has no form for.
        """

    def outcome(self, change: Change, answer: Answer) -> Exception | None:
        """What the answer means: None for done, else what the handler raises.

        `Reject` is for what is wrong with this contact; what is wrong with the CRM, or with our
        access to it, is `Unavailable`: a wrong password must not empty a day into the dead letters.
        Reasons hold no personal data.
        """
