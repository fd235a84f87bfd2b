"""The first ten minutes of a newcomer: `bridge up` in an empty folder, with nothing set."""

from __future__ import annotations

import json
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cli.output import ANSWER_IS_NO, INTERRUPTED, MISUSED, UNREACHABLE
from bridge.sources import samples
from bridge.topics import KNOWN_TYPES
from tests.acceptance.foreign import need
from tests.acceptance.terminal import COMMAND_SECONDS, START_SECONDS, Terminal, end
from tests.services.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.workspace import Workspace


@pytest.fixture
def terminal(workspace: Workspace) -> Iterator[Terminal]:
    ports = (workspace.ports.take(), workspace.ports.take())
    opened = Terminal(workspace, workspace.folder("first-run"), ports)
    yield opened
    opened.close()


def curl(url: str, body: Path) -> int:
    """Post a file as a person would; returns the status."""
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", f"@{body}", url],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )
    return int(done.stdout)


def test_the_first_run_prints_the_url_keeps_its_token_and_ends_with_ctrl_c(
    terminal: Terminal,
) -> None:
    # when: for the first time
    process, url = terminal.up("first")
    # then: there is a token that nobody else can read, and data went nowhere but to its files
    token = terminal.folder / "var" / "token"
    assert url.endswith(f"/{token.read_text().strip()}")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert terminal.out("first") == ""
    # and: it tells what to do next
    for command in ("bridge send --all", "bridge tail", "bridge lag", "bridge suppression list"):
        assert command in terminal.err("first")
    # and: Ctrl-C ends all of it
    assert end(process) == 0
    assert terminal.err("first").count("group_ended") == 3
    assert "Traceback" not in terminal.err("first")
    # and: the second run says the same
    process, again = terminal.up("second")
    assert again == url
    assert end(process) == 0


def test_the_samples_of_the_guide_change_nothing_and_the_same_for_real_take_effect(
    terminal: Terminal,
) -> None:
    need("curl")
    process, url = terminal.up("up")

    # when: the guide's samples as they stand, with curl and with our own command
    for type_ in KNOWN_TYPES:
        body = terminal.folder / f"{type_}.json"
        body.write_bytes(samples.sample(type_))
        assert curl(url, body) == 200
    sent = terminal.run("send", "--all", "--json")
    assert (sent.returncode, sent.stderr) == (0, "")
    assert [json.loads(line)["status"] for line in sent.stdout.splitlines()] == [200] * 8
    terminal.until_all_is_handled()
    # then: the list is empty
    assert terminal.run("suppression", "list", "--json").stdout == ""
    assert terminal.run("suppression", "check", "jane.doe@example.com").returncode == 0

    # when: for real, a reader watching
    watched = watch_real(terminal)
    terminal.until_all_is_handled()
    # then: he sees the eight, in the order of their posts
    assert [row["headers"]["ce_type"] for row in watched] == list(KNOWN_TYPES)
    for row in watched:
        assert row["topic"] == f"notifications.{row['headers']['ce_type']}"
        assert row["key"] == "1234|1"
    # and: they take effect
    verdict = terminal.run("suppression", "check", "Jane.Doe@example.com", "--json")
    assert verdict.returncode == ANSWER_IS_NO
    reasons = {entry["reason"] for entry in json.loads(verdict.stdout)["entries"]}
    assert reasons == {"complaint", "hard_bounce", "opt_out", "quarantine"}

    # when: all of it ends and starts again
    assert end(process) == 0
    process, _ = terminal.up("again")
    # then: what was handled stays so, and is not handled again
    assert terminal.run("suppression", "check", "jane.doe@example.com").returncode == ANSWER_IS_NO
    terminal.until_all_is_handled()
    assert "a spam complaint" not in terminal.err("again")
    assert end(process) == 0


def watch_real(terminal: Terminal) -> list[dict[str, Any]]:
    """Start `bridge tail`, post the eight kinds for real, and return what it shows of them."""
    tail = terminal.start("tail", "--json", name="tail")

    def sees() -> bool:
        # It shows what is published from now on, and nobody knows when now is: a test tells.
        terminal.run("send", "contact_created")
        return bool(terminal.out("tail"))

    until(sees, "the tail to see a test", START_SECONDS)
    assert terminal.run("send", "--all", "--real").returncode == 0

    def real() -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in whole_lines(terminal.out("tail"))]
        return [row for row in rows if "ce_test" not in row["headers"]]

    until(lambda: len(real()) == 8, "eight in the tail")
    assert end(tail) == INTERRUPTED
    return real()


def whole_lines(text: str) -> list[str]:
    """All but a last line that is still being written."""
    return text[: text.rfind("\n") + 1].splitlines()


def test_a_tail_of_so_many_ends_by_itself(terminal: Terminal) -> None:
    process, _ = terminal.up("up")
    tail = terminal.start("tail", "-n", "8", "--json", name="tail")

    def ended() -> bool:
        assert terminal.run("send", "--all").returncode == 0
        return tail.poll() is not None

    until(ended, "the tail to end", START_SECONDS)
    assert tail.returncode == 0
    assert len(terminal.out("tail").splitlines()) == 8
    assert end(process) == 0


def test_a_second_one_in_the_same_folder_is_refused_and_the_first_goes_on(
    terminal: Terminal,
) -> None:
    process, _ = terminal.up("first")
    second = terminal.run("up")
    assert second.returncode == UNREACHABLE
    assert "is written by another process" in second.stderr
    assert f"(pid {process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert terminal.run("send", "contact_optout").returncode == 0
    assert end(process) == 0


def test_a_port_in_use_is_told_with_the_setting_that_changes_it(
    terminal: Terminal, workspace: Workspace
) -> None:
    process, url = terminal.up("first")
    ports = (int(url.split(":")[2].split("/")[0]), workspace.ports.take())
    neighbour = Terminal(workspace, workspace.folder("neighbour"), ports)
    ended = neighbour.run("up")
    assert ended.returncode == MISUSED
    assert "BRIDGE_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert end(process) == 0
