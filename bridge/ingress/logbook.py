"""Log lines about requests, bounded in rate: a flood of refusals must not fill the disk."""

import traceback
from time import monotonic
from typing import Final, cast

import structlog

LINES_PER_WINDOW: Final = 20
"""So many lines of one kind are written in each window."""
WINDOW: Final = 60.0
"""Seconds."""
_MAX_TEXT: Final = 300
_FRAMES: Final = 6


class Logbook:
    """Writes at most LINES_PER_WINDOW lines of one kind in WINDOW seconds.

    A kind is an event and a status. The first line after a pause says how many were left out.
    """

    def __init__(self) -> None:
        self._log = cast("structlog.typing.FilteringBoundLogger", structlog.get_logger("ingress"))
        self._windows: dict[tuple[str, object], _Window] = {}

    def report(self, event: str, *, status: object = None, **details: object) -> None:
        """One line about one request. Strings are made safe to print; None is left out."""
        window = self._windows.setdefault((event, status), _Window())
        if not window.take(monotonic()):
            return
        said = {"status": status, **details}
        shown = {name: _safe(value) for name, value in said.items() if value is not None}
        if window.left_out:
            shown["left_out"] = window.left_out
            window.left_out = 0
        self._log.warning(event, **shown)

    def inform(self, event: str, **details: object) -> None:
        """One line about the ingress itself, never bounded."""
        self._log.info(event, **details)


class _Window:
    def __init__(self) -> None:
        self.ends = 0.0
        self.lines = 0
        self.left_out = 0

    def take(self, now: float) -> bool:
        if now >= self.ends:
            self.ends = now + WINDOW
            self.lines = 0
        self.lines += 1
        if self.lines > LINES_PER_WINDOW:
            self.left_out += 1
            return False
        return True


def where(error: BaseException) -> str:
    """The innermost places that an exception passed, without its text, which may quote a body."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])


def _safe(value: object) -> object:
    """No control characters (a log line stays one line) and no endless text."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() else "?" for c in value[:_MAX_TEXT])
