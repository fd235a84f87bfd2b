"""Commits of one consumer, joined: while one is on its way, the acks of all lanes gather."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from bridge.errors import LaneLost

_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger()


class Commits:
    """Takes positions, commits them together.

    Args:
        send: commits explicit positions at the broker.
        owned: the partitions that this replica has now.
    """

    def __init__(
        self,
        send: Callable[[dict[TopicPartition, int]], Awaitable[None]],
        owned: Callable[[], set[TopicPartition]],
    ) -> None:
        self._send = send
        self._owned = owned
        self._positions: dict[TopicPartition, int] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._stopped = False

    async def commit(self, positions: dict[TopicPartition, int]) -> None:
        """Return when the broker has these positions.

        Raises:
            LaneLost: this replica does not own them any more.
        """
        if self._stopped or not self._owned().issuperset(positions):
            raise LaneLost("the partition went to another replica")
        for tp, position in positions.items():
            self._positions[tp] = max(position, self._positions.get(tp, 0))
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        await waiter

    async def run(self) -> None:
        """Commit what gathers. Runs until cancelled; then whoever waits hears `LaneLost`."""
        sent: list[asyncio.Future[None]] = []
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                positions, self._positions = self._positions, {}
                sent, self._waiters = self._waiters, []
                _tell(sent, await self._attempt(positions))
        finally:
            self._stopped = True
            _tell(sent + self._waiters, LaneLost("the subscriber ended"))

    async def _attempt(self, positions: dict[TopicPartition, int]) -> LaneLost | None:
        while self._owned().issuperset(positions):
            try:
                await self._send(positions)
            except (CommitFailedError, IllegalStateError) as error:
                # The whole generation is over for this member, so for all its lanes.
                lost = LaneLost("the group was rebalanced meanwhile")
                lost.__cause__ = error
                return lost
            except Exception as error:  # noqa: BLE001 - ours still: their acks wait
                _log.warning("kafka_commit_failed", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return None
        return LaneLost("the partition went to another replica")


def _tell(waiters: list[asyncio.Future[None]], failure: LaneLost | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(failure)
