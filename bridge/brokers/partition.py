"""Key -> partition, equal to the Java Kafka client's, so that foreign producers agree with us."""

from struct import Struct
from typing import Final

# Keys under 256 bytes (all of ours, unless a sender's event id is absurd) unpack in one call.
_UNPACK: Final = [Struct(f"<{words}I").unpack_from for words in range(64)]
_MASK: Final = 0xFFFFFFFF
_MULTIPLIER: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C


def murmur2(data: bytes) -> int:
    """32-bit MurmurHash2 of `data` as `org.apache.kafka.common.utils.Utils.murmur2`, unsigned."""
    length = len(data)
    words = length >> 2
    unpack = _UNPACK[words] if words < 64 else Struct(f"<{words}I").unpack_from  # noqa: PLR2004
    hash_ = _SEED ^ length
    for word in unpack(data):
        word = word * _MULTIPLIER & _MASK  # noqa: PLW2901 - a third name would cost 5 % of the loop
        hash_ = hash_ * _MULTIPLIER & _MASK ^ ((word ^ word >> 24) * _MULTIPLIER & _MASK)
    if length & 3:
        hash_ = (hash_ ^ int.from_bytes(data[-(length & 3) :], "little")) * _MULTIPLIER & _MASK
    hash_ = (hash_ ^ hash_ >> 13) * _MULTIPLIER & _MASK
    return hash_ ^ hash_ >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`, as the Java client's default partitioner."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
