"""How a request ended: its answer, what is counted, the one log line of a failure."""

from typing import Final, NamedTuple

from bridge import telemetry
from bridge.errors import PublishError, PublishRejected, RequestRefused, StorageFailed
from bridge.ingress.accounts import Accounts
from bridge.ingress.answers import BY_STATUS, Answer
from bridge.ingress.logbook import Logbook, where
from bridge.ingress.request import Request
from bridge.message import CE_MALFORMEDREASON

_UNAVAILABLE: Final = BY_STATUS[503]


class _Verdict(NamedTuple):
    answer: Answer
    outcome: str
    event: str


def _judge(error: Exception) -> _Verdict:
    match error:
        case RequestRefused():
            return _Verdict(BY_STATUS[error.status], "refused", telemetry.REQUEST_REFUSED)
        case PublishRejected():
            return _Verdict(_UNAVAILABLE, "rejected", telemetry.PUBLISH_FAILED)
        case PublishError():
            return _Verdict(_UNAVAILABLE, "unconfirmed", telemetry.PUBLISH_FAILED)
        case StorageFailed():
            return _Verdict(_UNAVAILABLE, "unconfirmed", telemetry.FAIL_STOP)
        case _:
            return _Verdict(_UNAVAILABLE, "failed", telemetry.REQUEST_FAILED)


class Outcomes:
    """Accounts for each request once, when it ended.

    Log lines hold names, sizes and reasons, never a token, a path or a body.
    """

    def __init__(self, accounts: Accounts, logbook: Logbook) -> None:
        self._accounts = accounts
        self._logbook = logbook

    def stored(self, request: Request) -> None:
        """Every notification of the request is confirmed."""
        malformed = self._accounts.published(request.messages)
        self._accounts.request(
            status="200", token=request.token, outcome="stored", seconds=request.seconds
        )
        if malformed:
            first = malformed[0]
            self._logbook.report(
                telemetry.MALFORMED_STORED,
                token=request.token,
                notifications=len(malformed),
                bytes=len(first.body),
                reason=first.text(CE_MALFORMEDREASON),
            )

    def left(self, request: Request) -> None:
        """The client left before its body was whole: nobody to answer, nothing stored."""
        self._accounts.request(
            status="gone", token=request.token, outcome="gone", seconds=request.seconds
        )
        self._logbook.report(telemetry.CLIENT_GONE, token=request.token, peer=request.peer)

    def failed(self, request: Request, error: Exception) -> Answer:
        """The request was refused, or failed on the way. Gives its answer, never 200 or 500."""
        answer, outcome, event = _judge(error)
        ours = event != telemetry.REQUEST_FAILED
        if outcome in ("rejected", "unconfirmed"):
            self._accounts.not_confirmed(request.messages, outcome)
        self._accounts.request(
            status=str(answer.status),
            token=request.token,
            outcome=outcome,
            seconds=request.seconds,
        )
        self._logbook.report(
            event,
            status=answer.status,
            token=request.token,
            peer=request.peer,
            error=type(error).__name__,
            # The text of an exception that is not ours may quote the body.
            reason=str(error) if ours else None,
            where=None if ours else where(error),
            notifications=len(request.messages) or None,
            seconds=round(request.seconds, 3),
        )
        return answer
