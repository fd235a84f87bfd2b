"""How the command line speaks: data on stdout, talk on stderr, failures as exit codes.

| Code | Means |
|---|---|
| 0 | done |
| 1 | it failed while running |
| 2 | a setting or argument cannot work |
| 3 | broker, database or server not reachable |
| 4 | topology or database schema not as it must be: the message names the command |
| 5 | the answer is no (`suppression check`: must not be sent to) |
| 130 | interrupted |
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bridge.errors import (
    BridgeError,
    BrokerUnavailable,
    ConfigurationError,
    PublishError,
    SchemaOutOfDate,
    StoreError,
    TopologyMissing,
)

FAILED: Final = 1
MISUSED: Final = 2
UNREACHABLE: Final = 3
NOT_PREPARED: Final = 4
ANSWER_IS_NO: Final = 5
INTERRUPTED: Final = 130


def run(application: Callable[[], Any]) -> int:
    """Run the application; map what it raises to a line on stderr and an exit code."""
    try:
        application()
    except BridgeError as error:
        say(f"error: {error}", style="red")
        return _code(error)
    except BrokenPipeError:
        # The reader of a pipe has seen enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def _code(error: BridgeError) -> int:
    if isinstance(error, ConfigurationError):
        return MISUSED
    if isinstance(error, TopologyMissing | SchemaOutOfDate):
        return NOT_PREPARED
    if isinstance(error, BrokerUnavailable | PublishError | StoreError):
        return UNREACHABLE
    return FAILED


_STYLES: Final = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "cyan": "36", "dim": "2"}


def paint(text: str, style: str, *, stream: Any = None) -> str:
    """`text` in a terminal style; plain off a terminal or with NO_COLOR."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def say(text: str, *, style: str | None = None) -> None:
    """Talk to the person: stderr, never data."""
    print(paint(text, style) if style else text, file=sys.stderr, flush=True)  # noqa: T201


def emit(line: str) -> None:
    """One line of data on stdout."""
    print(line, flush=True)  # noqa: T201


def emit_json(value: object) -> None:
    """One JSON document on one line of stdout."""
    emit(json.dumps(value, ensure_ascii=False, default=str))


def emit_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """A list of like rows: an aligned table, or with `--json` one JSON object a line.

    Args:
        rows: each with the same keys, in the order of the columns.
        as_json: NDJSON instead of a table.
        empty: what to say (on stderr) where there is nothing to show.
    """
    if as_json:
        for row in rows:
            emit_json(row)
        return
    if not rows:
        say(empty)
        return
    cells = [list(rows[0])] + [["-" if v is None else str(v) for v in row.values()] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for line in cells:
        emit(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
