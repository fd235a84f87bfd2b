"""The interface of every service, whichever way it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from tests.services.waiting import TooLate, until


class Unobtainable(Exception):
    """A service cannot be had on this machine; the text says how to get it."""


class FaultImpossible(Exception):
    """A fault was asked of a service that is not ours to break."""


class Runner(Protocol):
    """What runs a service: a process of ours, a container of ours, or somebody else."""

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def discard(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def output(self) -> str: ...


class Given:
    """Runs a service that somebody else runs: it can be used and not be broken."""

    running = True

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """Leave it as it is."""

    def kill(self) -> None:
        self._refuse("kill")

    def discard(self) -> None:
        """Leave it as it is."""

    def pause(self) -> None:
        self._refuse("pause")

    def resume(self) -> None:
        self._refuse("resume")

    def output(self) -> str:
        return f"(given by {self._variable})"

    def _refuse(self, fault: str) -> None:
        raise FaultImpossible(f"cannot {fault} the service given by {self._variable}")


class Service(ABC):
    """A real server for tests. Every method blocks: in a coroutine use asyncio.to_thread.

    The address stays the same over stop, kill, restart; so does the data.
    """

    name: str
    start_seconds = 90.0

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @property
    @abstractmethod
    def url(self) -> str:
        """As the bridge's settings take it."""

    @abstractmethod
    def answers(self, seconds: float = 2.0) -> bool:
        """Whether it answers a request of its own protocol within about `seconds`."""

    @property
    def breakable(self) -> bool:
        """Whether it is ours to stop, kill and pause."""
        return not isinstance(self._runner, Given)

    def start(self) -> None:
        """Return when it answers; on failure nothing is left running."""
        try:
            self._runner.start()
            until(self._ready_or_dead, f"{self.name} to answer", self.start_seconds)
        except BaseException as failure:  # Ctrl-C too
            failure.add_note(self._runner.output())
            self.discard()
            raise

    def stop(self) -> None:
        """End it in order; data stays until the end of the run."""
        self._runner.stop()

    def restart(self) -> None:
        """Stop it if it runs, start it again with the same address and data."""
        if isinstance(self._runner, Given):
            raise FaultImpossible(f"cannot restart {self.name}: {self._runner.output()}")
        self._runner.stop()
        self.start()

    def kill(self) -> None:
        """End it at once, as a power cut of the process would."""
        self._runner.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._runner.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._runner.resume()

    def discard(self) -> None:
        """End it in the quickest way: nobody needs it or its data any more."""
        self._runner.discard()

    def output(self) -> str:
        """The end of its log."""
        return self._runner.output()

    def _ready_or_dead(self) -> bool:
        if not self._runner.running:
            raise TooLate(f"{self.name} ended before it answered")
        return self.answers()
