"""Log lines as a process writes them: seen from outside, in both formats."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FAILING = """
import logging, structlog
from bridge.logs import configure_logging
from bridge.settings import Settings
configure_logging(Settings(log_format={format!r}))

def handler(address, password):
    raise ValueError("no such programme")

for _ in range(3):
    logging.getLogger("library").warning("broker %s is away", "b1")
try:
    handler("mary.private@example.com", "hunter2-hunter2")
except ValueError as error:
    structlog.get_logger().warning("handler_failed", group="loyalty", exc_info=error)
"""


def lines(log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FAILING.format(format=log_format)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(log_format: str) -> None:
    text = "\n".join(lines(log_format))

    assert "no such programme" in text
    # The call itself is source text; what a variable holds is not.
    assert "address = " not in text
    assert text.count("mary.private@example.com") <= 1
    assert "│" not in text


def test_json_lines_are_json_with_time_level_and_event_first() -> None:
    parsed = [json.loads(line) for line in lines("json")]

    assert [list(line)[:3] for line in parsed] == [["timestamp", "level", "event"]] * 2
    assert parsed[1]["group"] == "loyalty"
    assert "Traceback" in parsed[1]["exception"]


def test_a_library_s_line_takes_our_form_and_its_repeats_are_held_back() -> None:
    first, _ = (json.loads(line) for line in lines("json"))

    assert first["event"] == "broker b1 is away"
    assert first["logger"] == "library"
