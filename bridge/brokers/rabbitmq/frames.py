"""A message as AMQP 0-9-1 frames, built by hand: the library's way costs ten times as much.

On the wire a header `ce_id` is called `ce-id`, as the CloudEvents binding for RabbitMQ wants it,
and `bridge_reason` `bridge-reason`; the content type is a property. Values are UTF-8 strings; one
that is no UTF-8 travels as a byte array.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from struct import Struct
from typing import Any, Final, TypeAlias

from aiormq.abc import DeliveredMessage

from bridge.errors import PublishRejected
from bridge.message import CE_PARTITIONKEY, CONTENT_TYPE, Message

KEY: Final = "bridge-key"
"""Our header for a key that `ce-partitionkey` does not say already."""
TOPIC: Final = "bridge-topic"
"""Our header for the topic, where the routing key cannot say it: dead letters and replays."""
_OURS: Final = frozenset({KEY, TOPIC})
_BROKERS: Final = ("x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired")
"""What the broker adds."""

_FRAME: Final = Struct(">BHI").pack
_METHOD: Final = Struct(">HHHB").pack
_HEADER: Final = Struct(">HHQH").pack
_LONG: Final = Struct(">I").pack
_TIME: Final = Struct(">Q").pack
_METHOD_FRAME, _HEADER_FRAME, _BODY_FRAME, _END = 1, 2, 3, b"\xce"
_BASIC, _PUBLISH, _MANDATORY = 60, 40, b"\x01"
_PERSISTENT: Final = b"\x02"
# Which properties follow: headers, delivery mode, message id, timestamp; and the content type.
_FLAGS: Final = 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6
_CONTENT_TYPE_FLAG: Final = 1 << 15
_SHORT: Final = 255
FRAME_OVERHEAD: Final = 8
_HEADER_ROOM: Final = 128
"""Bytes of the header frame beside content type and table, rounded up."""

Extra: TypeAlias = Sequence[tuple[str, bytes]]
"""Headers of ours, in the spelling of the wire."""

_texts: dict[str, bytes] = {}
_MAX_NAMES: Final = 1000


def publish_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    """The method frame: always mandatory, so that nothing disappears unrouted."""
    to, key = exchange.encode(), routing_key.encode()
    payload = _METHOD(_BASIC, _PUBLISH, 0, len(to)) + to + bytes((len(key),)) + key + _MANDATORY
    return _FRAME(_METHOD_FRAME, channel, len(payload)) + payload + _END


def encode_headers(message: Message, extra: Extra) -> tuple[bytes, bytes]:
    """The content type (empty: none) and the table of the other headers, without its length.

    Raises:
        PublishRejected: a header name that AMQP cannot carry.
    """
    content_type = b""
    parts: list[bytes] = []
    key = None
    for name, value in message.headers:
        if name == CE_PARTITIONKEY:
            key = value
        elif name == CONTENT_TYPE and 0 < len(value) <= _SHORT and value.isascii():
            content_type = value
            continue
        if value.isascii():
            parts += (_texts.get(name) or _text_name(name), _LONG(len(value)), value)
        else:
            parts += _field(name, value)
    for name, value in extra:
        parts += _field(name, value)
    if key != message.key:
        parts += _field(KEY, message.key)
    return content_type, b"".join(parts)


def content_frames(
    channel: int, frame_max: int, *, message_id: bytes, head: tuple[bytes, bytes], body: bytes
) -> list[bytes]:
    """The header frame and as many body frames as the negotiated size asks for."""
    content_type, table = head
    payload = b"".join(
        (
            _HEADER(_BASIC, 0, len(body), _FLAGS | (_CONTENT_TYPE_FLAG if content_type else 0)),
            bytes((len(content_type),)) + content_type if content_type else b"",
            _LONG(len(table)),
            table,
            _PERSISTENT,
            bytes((len(message_id),)),
            message_id,
            _TIME(int(time.time())),
        )
    )
    frames = [_FRAME(_HEADER_FRAME, channel, len(payload)), payload, _END]
    room = frame_max - FRAME_OVERHEAD
    for start in range(0, len(body), room):
        part = body[start : start + room] if len(body) > room else body
        frames += (_FRAME(_BODY_FRAME, channel, len(part)), part, _END)
    return frames


def check_heads(heads: Sequence[tuple[bytes, bytes]], frame_max: int) -> None:
    """Refuse headers that do not fit into one frame: AMQP cannot split them.

    Raises:
        PublishRejected: they are too large.
    """
    limit = frame_max - FRAME_OVERHEAD - _HEADER_ROOM
    if any(len(content_type) + len(table) > limit for content_type, table in heads):
        raise PublishRejected(f"the headers of a message take more than {limit} bytes")


def decode(delivered: DeliveredMessage, topic: str) -> Message:
    """The message as the seam knows it; `topic` is what the routing key says."""
    found: dict[str, Any] = delivered.header.properties.headers or {}
    headers: list[tuple[str, bytes]] = [
        (_seam_name(name), _value(value))
        for name, value in found.items()
        if name not in _OURS and not name.startswith(_BROKERS)
    ]
    if content_type := delivered.header.properties.content_type:
        headers.append((CONTENT_TYPE, content_type.encode()))
    key = found.get(KEY, found.get("ce-partitionkey", b""))
    return Message(
        topic=_value(found[TOPIC]).decode() if TOPIC in found else topic,
        key=_value(key),
        body=delivered.body,
        headers=tuple(headers),
    )


def stored_at(delivered: DeliveredMessage) -> float | None:
    """When the publisher stamped it, unix seconds."""
    stamp = delivered.header.properties.timestamp
    return stamp.timestamp() if isinstance(stamp, datetime) else None


def message_id(delivered: DeliveredMessage) -> str:
    """What names this copy: ours are unique for each publish."""
    return str(delivered.header.properties.message_id or "")


def _field(name: str, value: bytes) -> tuple[bytes, bytes, bytes]:
    """One field of a table: name and kind, length, value."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return _wire_name(name) + b"x", _LONG(len(value)), value
    return _text_name(name), _LONG(len(value)), value


def _text_name(name: str) -> bytes:
    """A field's name and the mark of a string, kept for the next time."""
    encoded = _wire_name(name) + b"S"
    if len(_texts) < _MAX_NAMES:
        _texts[name] = encoded
    return encoded


def _wire_name(name: str) -> bytes:
    wire = name
    for prefix in ("ce_", "bridge_"):
        if name.startswith(prefix):
            wire = f"{prefix[:-1]}-{name[len(prefix) :]}"
    encoded = wire.encode()
    if not 0 < len(encoded) <= _SHORT:
        raise PublishRejected("a header's name must have 1 to 255 bytes on RabbitMQ")
    return bytes((len(encoded),)) + encoded


def _seam_name(name: str) -> str:
    for prefix in ("ce-", "bridge-"):
        if name.startswith(prefix):
            return f"{prefix[:-1]}_{name[len(prefix) :]}"
    return name


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode()
