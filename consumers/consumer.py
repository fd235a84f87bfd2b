"""What a person who writes a consumer touches: `Consumer`, and the outcomes of a handler."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar

import msgspec

from bridge.errors import ConfigurationError
from bridge.topics import Group
from consumers.notifications import Notification

_H = TypeVar("_H", bound=Callable[..., Awaitable[Any]])


class Reject(Exception):
    """This notification can never be handled: it becomes a dead letter at once.

    Args:
        reason: one sentence for the person who looks at the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unavailable(Exception):
    """The outside is down: pause, back off, try again. Nothing is set aside, however long it takes.

    Args:
        reason: what is down, for the log and the operator.
        retry_after: seconds to wait before the next probe; None leaves it to the worker's backoff.
        scope: `partition` pauses the lane of this notification, `group` all lanes of this replica.

    Raises:
        TypeError, ValueError: retry_after or scope is something else.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        retry_after: float | None = None,
        scope: Literal["partition", "group"] = "partition",
    ) -> None:
        super().__init__(reason)
        if retry_after is not None and not isinstance(retry_after, int | float):
            raise TypeError(f"retry_after: seconds as a number, not {retry_after!r}")
        if scope not in ("partition", "group"):
            raise ValueError(f'scope: "partition" or "group", not {scope!r}')
        self.reason = reason
        self.retry_after = retry_after
        self.scope = scope


class Registration(msgspec.Struct, frozen=True):
    """One handler and what it asked for.

    Attributes:
        handler: takes one notification, or a sequence of them when `size` is over 1.
        types: the types it handles.
        tests: whether it wants test notifications.
        batch: whether it takes a sequence.
        size: the most notifications in one call.
        wait: seconds to wait for a batch to fill.
    """

    handler: Callable[..., Awaitable[Any]]
    types: tuple[str, ...]
    tests: bool = False
    batch: bool = False
    size: int = 1
    wait: float = 0.0


class Consumer:
    """A group and its handlers.

    Handlers of one contact's notifications run one after the other; those of different contacts
    may run at the same time. A handler may be called more than once for one notification (a crash
    before the ack, a sender's repeat): make its effect idempotent, or use `consumers.store`.

    Args:
        group: the group's name; every replica of this consumer uses the same.
        lifespan: opens what the handlers need (a client, a database) for as long as the worker
            runs, e.g. a function made with `contextlib.asynccontextmanager`.
    """

    def __init__(
        self,
        group: str,
        *,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    ) -> None:
        self.name = Group(name=group, types=frozenset()).name
        self.lifespan = lifespan
        self.registrations: dict[str, Registration] = {}

    def on(self, *types: str, tests: bool = False) -> Callable[[_H], _H]:
        """Register an async function that handles one notification of these types at a time.

        Args:
            types: as the sender spells them, e.g. `contact_created`.
            tests: also hand over test notifications; by default they are passed over.

        Raises:
            ConfigurationError: no types, a type that has a handler already, or not async.
        """

        def register(handler: _H) -> _H:
            self._register(Registration(handler=handler, types=types, tests=tests))
            return handler

        return register

    def on_batch(
        self, *types: str, size: int = 100, wait: float = 0.05, tests: bool = False
    ) -> Callable[[_H], _H]:
        """Register an async function that handles a sequence of notifications in one call.

        It returns None when all are done, or one outcome for each notification in order: None
        for done, a `Reject`, an `Unavailable`, or any other exception to retry that one. Raising
        means that outcome for all of them.

        Args:
            types: as the sender spells them.
            size: the most notifications in one call.
            wait: seconds to wait for a batch to fill.
            tests: also hand over test notifications.

        Raises:
            ConfigurationError: as `on`, or size below 1, or a negative wait.
        """
        if size < 1 or wait < 0:
            raise ConfigurationError("on_batch: size must be at least 1 and wait not negative")

        def register(handler: _H) -> _H:
            self._register(
                Registration(
                    handler=handler, types=types, tests=tests, batch=True, size=size, wait=wait
                )
            )
            return handler

        return register

    def _register(self, registration: Registration) -> None:
        if not registration.types or not all(isinstance(name, str) for name in registration.types):
            raise ConfigurationError(
                f'group {self.name}: name the types, e.g. @consumer.on("contact_created")'
            )
        if not inspect.iscoroutinefunction(registration.handler):
            raise ConfigurationError(
                f"group {self.name}: the handler of {', '.join(registration.types)} must be async"
            )
        for name in registration.types:
            if name in self.registrations:
                raise ConfigurationError(f"group {self.name}: {name} already has a handler")
            self.registrations[name] = registration

    @property
    def group(self) -> Group:
        """The group as brokers know it.

        Raises:
            ConfigurationError: it has no handler.
        """
        if not self.registrations:
            raise ConfigurationError(f"group {self.name} has no handler: use @consumer.on(...)")
        return Group(
            name=self.name,
            types=frozenset(self.registrations),
            tests=any(registration.tests for registration in self.registrations.values()),
        )

    def registration_for(self, notification: Notification) -> Registration | None:
        """The handler of one notification; None when this group passes it over."""
        registration = self.registrations.get(notification.type)
        if registration is None or (notification.is_test and not registration.tests):
            return None
        return registration
