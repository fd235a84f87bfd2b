"""One message as the embedded log stores it: packed headers, the key's hash, a checksum."""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec

from bridge.brokers.partition import murmur2
from bridge.errors import StorageFailed
from bridge.message import Headers, Message

Row = tuple[str, int, bytes, bytes, int, bytes]
"""topic, hash, key, headers, checksum, body."""

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode
_MASK: Final = 0x7FFFFFFF


def row_of(message: Message) -> Row:
    """Pack a message. `hash % lanes` is its lane, as `partition_of` says."""
    key = message.key
    headers = _pack(message.headers)
    checksum = _checksum(message.topic, key, headers, message.body)
    return message.topic, murmur2(key) & _MASK, key, headers, checksum, message.body


def message_of(row: Sequence[object], where: str) -> Message:
    """Unpack topic, hash, key, headers, checksum, body.

    Args:
        row: as `row_of` made it.
        where: named in the failure.

    Raises:
        StorageFailed: it is not what was stored.
    """
    topic, hash_, key, headers, checksum, body = row
    if (
        not isinstance(topic, str)
        or not isinstance(key, bytes)
        or not isinstance(headers, bytes)
        or not isinstance(body, bytes)
        or checksum != _checksum(topic, key, headers, body)
        or hash_ != murmur2(key) & _MASK
    ):
        raise StorageFailed(f"{where} is damaged: it does not match its checksum")
    return Message(topic, key, body, _headers(headers))


def _headers(packed: bytes) -> Headers:
    return _unpack(packed)


def _checksum(topic: str, key: bytes, headers: bytes, body: bytes) -> int:
    return crc32(body, crc32(headers, crc32(key, crc32(topic.encode()))))
