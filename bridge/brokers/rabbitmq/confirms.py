"""What is on its way to RabbitMQ: one object for each publish call, however many messages."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from aiormq import spec
from aiormq.abc import ConfirmationFrameType
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError
from aiormq.exceptions import PublishError as ReturnedError

from bridge.brokers.rabbitmq.frames import Extra
from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed
from bridge.message import Message


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message and where it goes.

    Attributes:
        exchange: the empty name is the default exchange, whose routing keys are queues.
        extra: headers of ours beside those of the message, as the wire spells them.
    """

    exchange: str
    routing_key: str
    message: Message
    extra: Extra = ()


class Request:
    """One publish call. The library's channel reports to it as if it were a confirmation.

    Attributes:
        entries: what it publishes.
        size: bytes of all its bodies.
        waiter: done when the outcome is known; owned by one caller, so that a cancelled caller
            cancels nobody else's.
        deadline: loop time at which its caller stops waiting.
    """

    __slots__ = (
        "_ended",
        "_nacked",
        "_pending",
        "_returned",
        "deadline",
        "entries",
        "size",
        "waiter",
    )

    def __init__(
        self,
        entries: Sequence[Outgoing],
        *,
        size: int,
        waiter: asyncio.Future[None],
        deadline: float,
        ended: "Callable[[Request], None]",
    ) -> None:
        self.entries = entries
        self.size = size
        self.waiter = waiter
        self.deadline = deadline
        self._pending = len(entries)
        self._returned = 0
        self._nacked = 0
        self._ended = ended

    # The next four are what the channel calls.

    def done(self) -> bool:
        """Never before the last confirm: each must be counted, whoever still waits."""
        return False

    def cancelled(self) -> bool:
        """Never."""
        return False

    def set_result(self, _frame: object) -> None:
        """The broker has stored one."""
        self._settle()

    def set_exception(self, error: BaseException) -> None:
        """The broker returned one, and will not store it; or it refused one after the write."""
        if isinstance(error, ReturnedError):
            self._returned += 1
        else:
            self._nacked += 1
        self._settle()

    def _settle(self) -> None:
        self._pending -= 1
        if self._pending == 0:
            self._ended(self)

    @property
    def failure(self) -> PublishError | None:
        """What the broker's answers to all its messages amount to; None: everything is stored."""
        if self._nacked:
            # Of the queues that a message goes to, one refused it; the others may hold it.
            return PublishUnconfirmed("RabbitMQ refused a message (nack): a queue may be full")
        if self._returned == len(self.entries):
            return PublishRejected(
                "RabbitMQ has no queue for the message: run `bridge topology apply`"
            )
        if self._returned:
            return PublishUnconfirmed("RabbitMQ has no queue for some messages of the request")
        return None

    def fail(self, failure: PublishError) -> None:
        """Tell the caller, if it still waits."""
        if not self.waiter.done():
            self.waiter.set_exception(failure)


def settle_in_order(channel: Channel) -> None:
    """Let `channel` settle confirms from its oldest publish on.

    Its own way walks everything unconfirmed for each confirm of several, and plans a callback for
    each; with thousands out that costs more than the publishing.
    """
    unconfirmed = channel.confirmations

    async def on_confirm(frame: ConfirmationFrameType) -> None:
        tag = frame.delivery_tag or 0
        if not getattr(frame, "multiple", False):
            _settle_one(unconfirmed.pop(tag, None), frame)
            return
        while unconfirmed and next(iter(unconfirmed)) <= tag:
            _settle_one(unconfirmed.pop(next(iter(unconfirmed))), frame)

    channel._on_confirm_frame = on_confirm  # type: ignore[method-assign]  # noqa: SLF001 - see above


def _settle_one(confirmation: object, frame: ConfirmationFrameType) -> None:
    """Anything but a request was returned before, and counted then."""
    if not isinstance(confirmation, Request):
        return
    if isinstance(frame, spec.Basic.Ack):
        confirmation.set_result(frame)
    else:
        confirmation.set_exception(DeliveryError(None, frame))


class TagsByMessageId(dict[str, int]):
    """Message id -> delivery tag, with nothing kept: our ids end in their tag.

    The channel looks here for the message that the broker returned. Ids carry a prefix that no
    other channel has, and no tag repeats within one.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def id_of(self, tag: int) -> bytes:
        """The message id to publish under this tag."""
        return b"%s.%d" % (self._prefix.encode(), tag)

    def get(self, message_id: str, default: int | None = None) -> int | None:  # type: ignore[override]  # as the channel calls it
        """The tag that an id ends in."""
        prefix, _, tag = message_id.rpartition(".")
        return int(tag) if prefix == self._prefix and tag.isdecimal() else default
