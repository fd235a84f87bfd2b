"""The wire contract: what lies on a broker for one notification.

Headers are CloudEvents 1.0 in binary mode. On this seam they carry Kafka's spelling (`ce_id`);
an adapter whose protocol spells them otherwise (RabbitMQ: `ce-id`) translates both ways, so that
code above the seam sees one spelling.
"""

from typing import Final

import msgspec

CE_SPECVERSION: Final = "ce_specversion"
CE_ID: Final = "ce_id"
"""The sender's EventUniqueID; without one, the SHA-256 of the notification's bytes in hex."""
CE_SOURCE: Final = "ce_source"
"""`/dialog-insight/<idCompany>/<idProject>`."""
CE_TYPE: Final = "ce_type"
"""The notification's type as sent. Workers dispatch by it, never by topic."""
CE_TIME: Final = "ce_time"
"""dtExecution in RFC 3339 with its own offset; absent when the sender's text is no date."""
CE_SUBJECT: Final = "ce_subject"
"""idContact; absent without a contact."""
CE_PARTITIONKEY: Final = "ce_partitionkey"
"""The key as text."""
CE_RECEIVEDTIME: Final = "ce_receivedtime"
"""When the ingress received it, RFC 3339 UTC."""
CE_TEST: Final = "ce_test"
"""`true` on test notifications, otherwise absent."""
CE_MALFORMEDREASON: Final = "ce_malformedreason"
"""Only in `malformed`: why the body could not be split or identified."""
CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"

# On dead letters.
DEAD_REASON: Final = "bridge_reason"
"""What an operator reads first: one sentence."""
DEAD_ERROR: Final = "bridge_error"
"""The error class, e.g. `Reject` or `ValueError`."""
DEAD_ATTEMPTS: Final = "bridge_attempts"
DEAD_FIRST_TIME: Final = "bridge_firsttime"
DEAD_LAST_TIME: Final = "bridge_lasttime"
DEAD_ORIGIN: Final = "bridge_origin"
"""Where the delivery came from: topic, partition and position, as the broker names them."""
DEAD_GROUP: Final = "bridge_group"
# On replayed messages.
REPLAYED_TIME: Final = "bridge_replayedtime"
"""When an operator handed it back, RFC 3339 UTC. Present only on replays."""

DEAD_HEADERS: Final = frozenset(
    {
        DEAD_REASON,
        DEAD_ERROR,
        DEAD_ATTEMPTS,
        DEAD_FIRST_TIME,
        DEAD_LAST_TIME,
        DEAD_ORIGIN,
        DEAD_GROUP,
    }
)
"""What a replay takes off again."""

MAX_ELEMENT_BYTES: Final = 900 * 1024
"""A larger notification is malformed: Kafka's default record limit leaves room for headers."""
MAX_MESSAGE_BYTES: Final = 1_048_588
"""max.message.bytes of ordinary topics."""
MAX_LARGE_MESSAGE_BYTES: Final = 9 * 1024 * 1024
"""max.message.bytes of `malformed` and dead letters."""

Headers = tuple[tuple[str, bytes], ...]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One notification as a broker stores it.

    Attributes:
        topic: full name, e.g. `notifications.contact_optout` (see `bridge.topics`).
        key: the ordering unit, `<idProject>|<idContact>`, or the event id without a contact.
        body: the notification's bytes exactly as received, never re-encoded.
        headers: (name, value) pairs in the spelling of this module, each name once.
    """

    topic: str
    key: bytes
    body: bytes
    headers: Headers

    def header(self, name: str) -> bytes | None:
        """The value of one header, or None where it is absent."""
        for candidate, value in self.headers:
            if candidate == name:
                return value
        return None

    def text(self, name: str) -> str:
        """One header as text, empty where it is absent. Undecodable bytes are replaced."""
        value = self.header(name)
        return "" if value is None else value.decode("utf-8", "replace")

    @property
    def is_test(self) -> bool:
        """Whether the sender marked it as a test."""
        return self.header(CE_TEST) is not None
