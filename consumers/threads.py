"""Threads for the database's blocking calls, and a deadline for those who wait for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, TypeVar

from consumers.consumer import Unavailable

CLOSE_SECONDS: Final = 3.0

T = TypeVar("T")


class Threads:
    """Some threads.

    Args:
        size: how many.
        answer_seconds: how long a caller waits for its work, the queue included.
    """

    def __init__(self, size: int, answer_seconds: float) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="store")
        self._answer_seconds = answer_seconds
        self._under_way: set[Future[Any]] = set()

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread. Work that has begun goes on when the caller is cancelled.

        Raises:
            Unavailable: of the group: there was no answer in time. The work may still be done.
        """
        future = self._pool.submit(work)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(self._answer_seconds) as deadline:
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Unavailable("the consumers' database does not answer", scope="group") from error

    def end(self, cut: Callable[[], None]) -> None:
        """Drop what waits, give what runs `CLOSE_SECONDS`, then `cut` what it waits for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(set(self._under_way), timeout=CLOSE_SECONDS)
        cut()
        self._pool.shutdown(wait=True)
