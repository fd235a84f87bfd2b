"""Dialog Insight: an array of notifications in, messages out.

Read `messages` from top to bottom: split, read the envelope of each element, route, label. The
rules of splitting are in `json_scanner`, those of the envelope in `envelope`, the reasons for
which something is malformed in `malformed`.
"""

import hashlib
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from bridge.message import (
    CE_ID,
    CE_MALFORMEDREASON,
    CE_PARTITIONKEY,
    CE_RECEIVEDTIME,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_SUBJECT,
    CE_TEST,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    MAX_ELEMENT_BYTES,
    Message,
)
from bridge.sources.envelope import SOURCE, Envelope, read_envelope
from bridge.sources.json_scanner import check_readable, split
from bridge.sources.malformed import Malformed, Reason
from bridge.topics import Topics

MALFORMED_TYPE: Final = "malformed"
"""The `ce_type` of everything in the `malformed` topic."""

_log = structlog.get_logger()

_Header = tuple[str, bytes]
_SPECVERSION: Final[_Header] = (CE_SPECVERSION, b"1.0")
_TEST: Final[_Header] = (CE_TEST, b"true")
_JSON: Final[_Header] = (CONTENT_TYPE, b"application/json")
# Nobody may expect to parse what is malformed.
_RAW: Final[_Header] = (CONTENT_TYPE, b"application/octet-stream")


class DialogInsight:
    """The source for Dialog Insight's webhooks (see `bridge.sources.base.Source`).

    Args:
        topics: where each type goes.
    """

    name = "dialog-insight"

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def messages(self, body: bytes, received: datetime) -> Sequence[Message]:
        """One message for each element of the array, in order; see the seam for the contract.

        A body that cannot be split is one message to `malformed`, whole. An object in place of
        the array is one notification.
        """
        received_time = (
            CE_RECEIVEDTIME,
            received.astimezone(UTC).isoformat().replace("+00:00", "Z").encode(),
        )
        try:
            elements = split(body)
        except Malformed as malformed:
            return [self._malformed(body, malformed.reason, received_time)]
        except Exception as error:  # noqa: BLE001 - nothing authentic is thrown away
            return [self._failed_on(body, error, received_time)]
        return [self._message(element, received_time) for element in elements]

    def _message(self, element: bytes, received_time: _Header) -> Message:
        try:
            _check_bytes(element)
            envelope = read_envelope(element)
            check_readable(element)
            return self._well_formed(element, envelope, received_time)
        except Malformed as malformed:
            return self._malformed(element, malformed.reason, received_time)
        except Exception as error:  # noqa: BLE001 - nothing authentic is thrown away
            return self._failed_on(element, error, received_time)

    def _well_formed(self, element: bytes, envelope: Envelope, received_time: _Header) -> Message:
        headers = [
            _SPECVERSION,
            (CE_ID, envelope.id),
            (CE_SOURCE, envelope.source),
            (CE_TYPE, envelope.type.encode()),
            (CE_PARTITIONKEY, envelope.key),
            received_time,
            _JSON,
        ]
        if envelope.time is not None:
            headers.append((CE_TIME, envelope.time))
        if envelope.subject is not None:
            headers.append((CE_SUBJECT, envelope.subject))
        if envelope.test:
            headers.append(_TEST)
        topic = self._topics.test if envelope.test else self._topics.of(envelope.type)
        return Message(topic, envelope.key, element, tuple(headers))

    def _failed_on(self, body: bytes, error: Exception, received_time: _Header) -> Message:
        """A bug of ours: said aloud, without the error's text, which may quote the body."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        _log.error(
            "source_failed", error=type(error).__name__, where=f"{frame.filename}:{frame.lineno}"
        )
        return self._malformed(body, Reason.BRIDGE_ERROR, received_time)

    def _malformed(self, body: bytes, reason: Reason, received_time: _Header) -> Message:
        """What cannot be identified is identified by its bytes."""
        digest = hashlib.sha256(body).hexdigest().encode()
        return Message(
            topic=self._topics.malformed,
            key=digest,
            body=body,
            headers=(
                _SPECVERSION,
                (CE_ID, digest),
                (CE_SOURCE, SOURCE.encode()),
                (CE_TYPE, MALFORMED_TYPE.encode()),
                (CE_MALFORMEDREASON, reason.encode()),
                (CE_PARTITIONKEY, digest),
                received_time,
                _RAW,
            ),
        )


def _check_bytes(element: bytes) -> None:
    """Refuse what no topic carries, or no reader reads.

    Raises:
        Malformed: too large, or not UTF-8.
    """
    if len(element) > MAX_ELEMENT_BYTES:
        raise Malformed(Reason.TOO_LARGE)
    # The JSON decoder passes over invalid bytes in fields that it does not keep.
    if not element.isascii():
        try:
            element.decode()
        except UnicodeDecodeError:
            raise Malformed(Reason.NOT_UTF_8) from None
