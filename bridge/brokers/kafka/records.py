"""Kafka record <-> `Message`. Headers have one spelling on both sides, so they pass through."""

from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from bridge.brokers.base import Delivery
from bridge.message import Headers, Message

BATCH_OVERHEAD: Final = 61
"""Bytes of a batch (format 2) besides its records; the broker's limit is on the batch."""
_RECORD_OVERHEAD: Final = 21
# Two varints of at most 5 bytes before name and value.
_HEADER_OVERHEAD: Final = 10


def record_size(key: bytes, value: bytes | None, headers: Headers) -> int:
    """The most bytes that one record takes in a batch. Exact to a few dozen bytes."""
    size = _RECORD_OVERHEAD + len(key) + (0 if value is None else len(value)) + _HEADER_OVERHEAD
    for name, content in headers:
        # A name of n characters takes up to 4 n bytes; ours are ASCII, foreign ones may not be.
        size += _HEADER_OVERHEAD + len(name.encode()) + len(content)
    return size


def headers_of(record: ConsumerRecord) -> Headers:
    """Its headers. Foreign producers may leave a value out: that is an empty one here."""
    return tuple((name, value or b"") for name, value in record.headers)


def message_of(record: ConsumerRecord) -> Message:
    """What a record holds. A foreign record without key or value has an empty one."""
    return Message(
        topic=record.topic,
        key=record.key or b"",
        body=record.value or b"",
        headers=headers_of(record),
    )


def origin_of(record: ConsumerRecord) -> str:
    """Where it lies: `notifications.contact_optout/3@1742`."""
    return f"{record.topic}/{record.partition}@{record.offset}"


def delivery_of(record: ConsumerRecord) -> Delivery:
    """One hand-over of a record. Kafka does not know whether it is the first."""
    return Delivery(
        message=message_of(record),
        origin=origin_of(record),
        stored_at=record.timestamp / 1000 if record.timestamp > 0 else None,
        redelivered=False,
        token=(TopicPartition(record.topic, record.partition), record.offset),
    )
