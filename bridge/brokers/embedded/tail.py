"""What is published from now on, for people to watch."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Final

from bridge.brokers.base import Delivery
from bridge.brokers.embedded import signals
from bridge.brokers.embedded.connections import open_database
from bridge.brokers.embedded.paths import Places, is_there
from bridge.brokers.embedded.reading import View, newest, read_log
from bridge.brokers.embedded.schema import APPLY
from bridge.brokers.partition import partition_of
from bridge.errors import TopologyMissing

_POLL: Final = 0.1
_PAGE: Final = 100


async def tail(places: Places, topics: Sequence[str], lanes: int) -> AsyncGenerator[Delivery, None]:
    """See `Broker.tail`."""
    if not is_there(places.log):
        raise TopologyMissing(f"there is no log {places.log}: {APPLY}")
    everything = View(0, 1, tuple(topics))
    with signals.listening(places.log) as news:
        async with open_database(places.log, "read") as log:
            after = await log.run(newest)
            while True:
                part = await log.run(partial(read_log, view=everything, after=after, limit=_PAGE))
                for stored in part.found:
                    message = stored.message
                    lane = partition_of(message.key, lanes)
                    origin = f"{message.topic}/{lane}@{stored.position}"
                    yield Delivery(message, origin, stored.stored_at, redelivered=False, token=None)
                after = part.scanned
                if not part.found:
                    await news.wait(_POLL)
