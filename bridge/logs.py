"""Where log lines go and what they look like: one line for each unit of work, on stderr."""

import logging
import sys
import time
from typing import Final

import structlog

from bridge.settings import Settings

_REPEAT_SECONDS: Final = 30.0
_MAX_REMEMBERED: Final = 1000


def configure_logging(settings: Settings) -> None:
    """JSON, or readable text on a terminal. Libraries' own lines take the same form.

    Args:
        settings: `log_level` and `log_format`.
    """
    colours = sys.stderr.isatty()
    console = settings.log_format == "console" or (settings.log_format == "auto" and colours)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        # The renderer's own tracebacks show local variables: addresses, passwords.
        [
            structlog.dev.ConsoleRenderer(
                colors=colours, exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [
            structlog.processors.format_exc_info,
            _in_order,
            structlog.processors.JSONRenderer(),
        ]
    )
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # What a library says below a warning is about itself, not about notifications.
    root.setLevel(max(level, logging.WARNING))


def _in_order(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Time, level and event first: a person reads the line from the left."""
    del logger, method
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}


class _Repeats(logging.Filter):
    """Let one line pass and hold its repeats back for a while.

    Client libraries log each retry: a broker that restarts would fill the disk with one sentence.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        now = time.monotonic()
        key = (record.name, record.getMessage())
        if now - self._seen.get(key, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()
        self._seen[key] = now
        return True
