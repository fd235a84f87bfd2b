"""The consumers' database: transactions off the event loop, each notification's effect once.

    async with Store.open(url) as store:
        match await store.once("loyalty", notification, lambda connection: enroll(connection)):
            case Handled(result): ...
            case AlreadyHandled(): ...

An effect and its ledger entry commit together: whatever crashes, there are both or neither.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from bridge import telemetry
from bridge.errors import SchemaOutOfDate
from consumers.consumer import Unavailable
from consumers.engine import (
    POOL_SIZE,
    READ_ONLY,
    TryAgain,
    cut,
    database_url,
    file_of,
    make_engine,
    mapped_errors,
    store_errors,
)
from consumers.ledger import (
    LEDGER_RETENTION,
    AlreadyHandled,
    Handled,
    HandledMany,
    enter,
    forget,
    ledger_key,
)
from consumers.notifications import Notification
from consumers.schema import plan, upgrade, verify
from consumers.threads import Threads

__all__ = [
    "LEDGER_RETENTION",
    "AlreadyHandled",
    "Handled",
    "HandledMany",
    "Store",
    "plan",
    "upgrade",
]

PRUNE_EVERY: Final = timedelta(hours=1)
ANSWER_SECONDS: Final = 40.0
"""More than a statement may take, less than `handler_timeout`: an outage is not poison."""
_ATTEMPTS: Final = 5  # at a transaction that ends in a deadlock
_LONGEST_PAUSE: Final = 0.1  # seconds between them

T = TypeVar("T")
N = TypeVar("N", bound=Notification)
_log = structlog.get_logger()


class Store:
    """The consumers' database. Made by `Store.open`; safe for any number of tasks.

    Functions given to it run in a thread, inside one transaction, and may run again after a
    deadlock: they touch nothing but their connection. Cancelling the caller does not stop a
    transaction that has begun; it may still commit, and the next attempt finds it handled.
    SQLite has one thread; what waits for it waits in order.
    """

    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._engine = engine
        self._threads = threads

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, prune: bool = False, answer_seconds: float = ANSWER_SECONDS
    ) -> AsyncIterator["Store"]:
        """Connect and verify the schema.

        Args:
            url: `sqlite:///file.db` or `postgresql://user:password@host/name`.
            prune: for long-running roles: forget, now and every hour, ids older than
                `LEDGER_RETENTION`.
            answer_seconds: a transaction that takes longer is `Unavailable`.

        Raises:
            ConfigurationError: not such an address.
            SchemaOutOfDate: run `bridge db upgrade`.
            StoreError: the database cannot be reached.
        """
        address = database_url(url)
        if (file := file_of(address)) is not None and not file.exists():
            raise SchemaOutOfDate(f"there is no database {file}: run `bridge db upgrade`")
        engine = make_engine(address)
        store = cls(engine, Threads(1 if file else POOL_SIZE, answer_seconds))
        pruning: asyncio.Task[None] | None = None
        try:
            with store_errors():
                await store._threads.run(store._verify)
            if prune:
                pruning = asyncio.create_task(store._prune_for_ever())
            yield store
        finally:
            if pruning is not None:
                pruning.cancel()
                await asyncio.wait([pruning])
            await asyncio.to_thread(store._close)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work(connection)` in one transaction: it commits when `work` returns.

        Raises:
            Unavailable: the database is down (of the group). The transaction may have committed
                when the connection was lost during its commit.
        """
        return await self._threads.run(lambda: self._transaction(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Like `run`, for work that only reads: on SQLite it waits for no writer's lock."""
        return await self._threads.run(lambda: self._transaction(work, read_only=True))

    async def rehearse(self, work: Callable[[Connection], T]) -> T:
        """Like `run`, but everything is rolled back."""
        return await self._threads.run(lambda: self._transaction(work, keep=False))

    async def once(
        self, group: str, notification: Notification, effect: Callable[[Connection], T]
    ) -> Handled[T] | AlreadyHandled:
        """Run an effect unless this group has handled this id; both commit together or not at all.

        Of callers with the same id at the same time, in this process or another, one runs the
        effect and the others wait for it to commit. A test notification is rehearsed: the effect
        runs and is rolled back, and no id is entered.

        Args:
            group: the ledger's column; an effect that must be separate takes another name.
            notification: whose company, project and id make the key.
            effect: as `run`.

        Raises:
            Unavailable: as `run`.
        """
        if notification.is_test:
            return Handled(await self.rehearse(effect), rehearsed=True)

        def work(connection: Connection) -> Handled[T] | AlreadyHandled:
            if not enter(connection, group, [notification]):
                return AlreadyHandled()
            return Handled(effect(connection))

        handled = await self.run(work)
        if isinstance(handled, AlreadyHandled):
            telemetry.HANDLED_BEFORE.labels(group).inc()
        return handled

    async def once_many(
        self,
        group: str,
        notifications: Sequence[N],
        effect: Callable[[Connection, Sequence[N]], T],
    ) -> HandledMany[T]:
        """`once` for a batch, in one transaction.

        The effect gets those not handled before, in order, each id once: of equal ids in the
        batch the first. It is not called with none. Test notifications are rehearsed, apart.

        Raises:
            Unavailable: as `run`; nothing of the batch is entered.
        """
        tests = [item for item in notifications if item.is_test]
        real = [item for item in notifications if not item.is_test]
        firsts = {ledger_key(group, item): item for item in reversed(real)}

        def work(connection: Connection) -> tuple[T | None, set[int]]:
            entered = enter(connection, group, list(firsts.values()))
            ran = {id(firsts[key]) for key in entered}
            fresh = [item for item in real if id(item) in ran]
            return (effect(connection, fresh) if fresh else None), ran

        rehearsed = await self.rehearse(lambda c: effect(c, tests)) if tests else None
        result, ran = await self.run(work) if real else (None, set[int]())
        telemetry.HANDLED_BEFORE.labels(group).inc(len(real) - len(ran))
        return HandledMany(
            result=result,
            rehearsed=rehearsed,
            fresh=[item.is_test or id(item) in ran for item in notifications],
        )

    async def prune(self, *, before: datetime) -> int:
        """Forget ids handled before a moment; how many there were.

        A message delivered after its id was forgotten is handled again: keep them for longer than
        the broker keeps messages.
        """
        forgotten = 0
        while rows := await self.run(lambda connection: forget(connection, before)):
            forgotten += rows
        return forgotten

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                rows = await self.prune(before=datetime.now(UTC) - LEDGER_RETENTION)
                _log.info("ledger_pruned", rows=rows)
            except Exception as error:  # noqa: BLE001 - the next hour tries again
                _log.warning("ledger_not_pruned", error=type(error).__name__)
            await asyncio.sleep(PRUNE_EVERY.total_seconds())

    def _transaction(
        self, work: Callable[[Connection], T], *, keep: bool = True, read_only: bool = False
    ) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with mapped_errors(), self._engine.connect() as connection:
                    connection.execution_options(**{READ_ONLY: read_only})
                    with connection.begin() as transaction:
                        result = work(connection)
                        if not keep:
                            transaction.rollback()
                    return result
            except TryAgain as error:
                if attempt == _ATTEMPTS:
                    raise Unavailable("the database reports deadlocks") from error
                time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 - jitter, no secret
        raise AssertionError  # the last attempt returns or raises

    def _verify(self) -> None:
        with self._engine.connect() as connection:
            verify(connection.execution_options(**{READ_ONLY: True}))

    def _close(self) -> None:
        # First the threads: a connection that comes back after the engine's end stays open.
        self._threads.end(lambda: cut(self._engine))
        self._engine.dispose()
