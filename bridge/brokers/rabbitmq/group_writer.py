"""Writes publishes over one channel of aiormq, past its own way of publishing.

The channel's counters and queues that are used here have no underscore and no documentation: the
version is pinned, and tests hold acks, nacks, returns, splits and a lost connection to it.
"""

import uuid
from collections.abc import Sequence

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from bridge.brokers.rabbitmq import frames
from bridge.brokers.rabbitmq.confirms import Request, TagsByMessageId, settle_in_order


class GroupWriter:
    """Used by one task; nothing else publishes over the channel, since tags are counted here.

    Args:
        channel: fresh, with confirms on, raising on returns.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tags = TagsByMessageId(uuid.uuid4().hex)
        self._methods: dict[tuple[str, str], bytes] = {}
        channel.message_id_delivery_tag = self._tags
        settle_in_order(channel)

    def encode(self, request: Request) -> list[bytes]:
        """The frames of a request, to be written next; the channel now waits for its confirms.

        Raises:
            PublishRejected: a header cannot be carried; then nothing of it waits.
        """
        channel, number = self._channel, self._channel.number
        frame_max = channel.connection.connection_tune.frame_max
        heads = [frames.encode_headers(e.message, e.extra) for e in request.entries]
        frames.check_heads(heads, frame_max)
        parts: list[bytes] = []
        for entry, head in zip(request.entries, heads, strict=True):
            channel.delivery_tag += 1
            tag = channel.delivery_tag
            channel.confirmations[tag] = request  # type: ignore[assignment]  # counted, not awaited
            parts.append(self._method(entry.exchange, entry.routing_key))
            parts += frames.content_frames(
                number,
                frame_max,
                message_id=self._tags.id_of(tag),
                head=head,
                body=entry.message.body,
            )
        return parts

    async def write(self, parts: Sequence[bytes]) -> None:
        """Hand encoded frames to the connection in one piece."""
        if parts:
            frame = ChannelFrame(payload=b"".join(parts), should_close=False)
            await self._channel.write_queue.put(frame)

    def _method(self, exchange: str, routing_key: str) -> bytes:
        where = exchange, routing_key
        if where not in self._methods:
            self._methods[where] = frames.publish_frame(self._channel.number, *where)
        return self._methods[where]
