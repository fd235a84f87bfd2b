"""The dead letters of one group on Kafka.

Kafka cannot take one record out of a topic. So a dead letter's id is its record's key, leaving is
a tombstone with that key, and readers fold the topic: the newest record of an id counts.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from aiokafka import ConsumerRecord

from bridge.brokers.base import DeadLetter
from bridge.brokers.kafka import layout
from bridge.brokers.kafka.publisher import GroupPublisher, open_publisher
from bridge.brokers.kafka.reading import scan
from bridge.brokers.kafka.records import headers_of
from bridge.message import DEAD_HEADERS, REPLAYED_TIME, Message
from bridge.settings import Settings

# What a record of another key and topic must remember. Taken off again on reading.
_TOPIC: Final = "bridge_topic"
_KEY: Final = "bridge_key"
_REPLAY_AT_ONCE: Final = 100


class KafkaDeadLetters:
    """`DeadLetters` on Kafka."""

    def __init__(self, settings: Settings, group: str, publisher: GroupPublisher) -> None:
        self._settings = settings
        self._publisher = publisher
        self._dead = settings.topics.dead(group)
        self._retry = settings.topics.retry(group)

    async def put(self, message: Message, origin: str) -> None:
        """See `DeadLetters`. The same delivery put twice is one dead letter."""
        headers = (*message.headers, (_TOPIC, message.topic.encode()), (_KEY, message.key))
        await self._publisher.write([(self._dead, origin.encode(), message.body, headers)])

    async def read(self) -> AsyncGenerator[DeadLetter, None]:
        """See `DeadLetters`. Reads the topic twice, so that only ids are held in memory."""
        newest: dict[bytes, int | None] = {}
        async for record in scan(self._settings, self._dead):
            newest[record.key or b""] = None if record.value is None else record.offset
        if not any(offset is not None for offset in newest.values()):
            return
        async for record in scan(self._settings, self._dead):
            key = record.key or b""
            if newest.get(key) == record.offset:
                yield _letter(key, record)

    async def replay(self, ids: Sequence[str]) -> int:
        """See `DeadLetters`.

        Raises:
            PublishError: the broker did not confirm; those already confirmed are replayed.
            BrokerUnavailable: not reachable.
        """
        count = 0
        letters: list[DeadLetter] = []
        async for letter in self._named(set(ids)):
            letters.append(letter)
            if len(letters) == _REPLAY_AT_ONCE:
                count += await self._replay(letters)
                letters = []
        return count + await self._replay(letters)

    async def discard(self, ids: Sequence[str]) -> int:
        """See `DeadLetters`.

        Raises:
            PublishError: the broker did not confirm.
            BrokerUnavailable: not reachable.
        """
        found = [letter.id async for letter in self._named(set(ids))]
        await self._leave(found)
        return len(found)

    async def _named(self, ids: Collection[str]) -> AsyncIterator[DeadLetter]:
        async for letter in self.read():
            if letter.id in ids:
                yield letter

    async def _replay(self, letters: Sequence[DeadLetter]) -> int:
        mark = datetime.now(UTC).isoformat(timespec="milliseconds").encode()
        copies = []
        for letter in letters:
            headers = dict(letter.message.headers)
            kept = {name: value for name, value in headers.items() if name not in DEAD_HEADERS}
            kept[REPLAYED_TIME] = mark
            copies.append(
                Message(self._retry, letter.message.key, letter.message.body, tuple(kept.items()))
            )
        await self._publisher.publish(copies)
        await self._leave([letter.id for letter in letters])
        return len(letters)

    async def _leave(self, ids: Sequence[str]) -> None:
        await self._publisher.write([(self._dead, id_.encode(), None, ()) for id_ in ids])


def _letter(id_: bytes, record: ConsumerRecord) -> DeadLetter:
    headers = dict(headers_of(record))
    topic = headers.pop(_TOPIC, b"").decode("utf-8", "replace")
    key = headers.pop(_KEY, b"")
    message = Message(topic, key, record.value or b"", tuple(headers.items()))
    return DeadLetter(id_.decode("utf-8", "replace"), message)


@asynccontextmanager
async def open_dead_letters(settings: Settings, group: str) -> AsyncIterator[KafkaDeadLetters]:
    """The dead letters of one group.

    Raises:
        TopologyMissing: the group's topology is not applied.
    """
    topics = settings.topics
    names = [topics.dead(group), topics.retry(group)]
    async with open_publisher(
        settings, names, lambda topic: layout.max_bytes(topics, topic)
    ) as publisher:
        yield KafkaDeadLetters(settings, group, publisher)
