"""Data on stdout, talk on stderr; `--json`; colours; help."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from bridge import __version__
from bridge.cli.application import application
from tests.cli.conftest import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell

HEAVY = ("aiokafka", "aio_pika", "aiormq", "apsw", "fastapi", "sqlalchemy", "pydantic", "uvicorn")


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with its path, those that only group others left out."""
    for name, part in getattr(command, "commands", {}).items():
        if hasattr(part, "commands"):
            yield from verbs(part, (*path, name))
        else:
            yield (*path, name), part


VERBS = dict(verbs(typer.main.get_command(application)))
every_verb = pytest.mark.parametrize("path", VERBS, ids=" ".join)


@every_verb
def test_the_help_of_every_verb_has_an_example_that_names_it(path: tuple[str, ...]) -> None:
    command = VERBS[path]
    text = command.help or ""
    assert "Example:" in text or "Examples:" in text
    examples = text.partition("Example")[2]
    assert f"bridge {' '.join(path)}" in examples


@every_verb
def test_every_option_and_argument_says_what_it_is_for(path: tuple[str, ...]) -> None:
    for parameter in VERBS[path].params:
        assert parameter.help, f"{' '.join(path)}: {parameter.name}"


def test_help_shows_verbs_options_and_examples(shell: Shell) -> None:
    whole = shell.run("--help")
    assert whole.code == 0
    assert whole.err == ""
    for path in VERBS:
        assert path[0] in whole.out
    one = shell.run("send", "-h")
    for word in ("--all", "--real", "--count", "--rate", "--to", "--json", "bridge send --all"):
        assert word in one.out


def test_without_a_verb_help_is_shown(shell: Shell) -> None:
    ended = shell.run()
    assert ended.code == 2
    assert "suppression" in ended.out + ended.err


def test_version(shell: Shell) -> None:
    ended = shell.run("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"bridge {__version__}\n", "")


def test_help_loads_no_library_that_only_work_needs() -> None:
    """So that it answers at once."""
    program = (
        "import sys\n"
        "from bridge.cli.application import application\n"
        "try:\n"
        "    application(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print(sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage:" in done.stdout
    assert done.stderr == "[]\n"


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_topology_says_its_changes_as_json_and_then_that_there_are_none(shell: Shell) -> None:
    planned = shell.run("topology", "plan", "--json")
    assert {frozenset(row) for row in rows(planned.out)} == {
        frozenset({"action", "kind", "name", "detail"})
    }
    applied = shell.run("topology", "apply", "--json")
    assert {row["name"] for row in rows(applied.out)} >= {"crm", "suppression", "alerts"}
    again = shell.run("topology", "apply")
    assert again.out == ""
    assert "as it must be" in again.err


def test_lag_says_its_rows_as_json_with_one_key_for_each_column(shell: Shell) -> None:
    shell.run("topology", "apply")
    ended = shell.run("lag", "--json")
    assert ended.err == ""
    found = {row["group"]: row for row in rows(ended.out)}
    assert set(found) == {"crm", "suppression", "alerts"}
    for row in found.values():
        assert list(row) == ["group", "messages", "seconds", "members"]
        assert row["messages"] == 0
    parts = rows(shell.run("lag", "crm", "--partitions", "--json").out)
    assert list(parts[0]) == ["group", "topic", "partition", "messages", "seconds", "members"]
    shown = shell.run("lag").out.splitlines()
    assert shown[0].split() == ["group", "messages", "seconds", "members"]
    assert len(shown) == 4


def test_the_suppression_list_says_yes_and_nothing_as_json(shell: Shell) -> None:
    shell.run("db", "upgrade")
    verdict = shell.run("suppression", "check", "JANE.DOE@example.com", "--json")
    assert json.loads(verdict.out) == {
        "address": "jane.doe@example.com",
        "scope": "*",
        "sendable": True,
        "entries": [],
    }
    empty = shell.run("suppression", "list")
    assert (empty.out, empty.err) == ("", "The list is empty.\n")
    assert shell.run("suppression", "list", "--json").err == ""


def test_no_dead_letters_are_talk_not_data(shell: Shell) -> None:
    shell.run("topology", "apply")
    ended = shell.run("dead", "list", "crm")
    assert (ended.code, ended.out) == (0, "")
    assert "No dead letters" in ended.err


def test_each_post_of_a_sender_is_one_json_object(shell: Shell) -> None:
    ended = shell.run("send", "--all", "--to", "http://127.0.0.1:1/hooks/x", "--json")
    found = rows(ended.out)
    assert len(found) == 8
    assert found[0] == {"type": "sending_Bounce", "status": 0, "real": False}


def test_a_reader_who_has_seen_enough_is_no_failure(shell: Shell) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{BRIDGE} topology plan --json | head -n 1; echo ${{PIPESTATUS[0]}}"],
        cwd=shell.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(shell.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_talk_is_coloured_on_a_terminal_unless_NO_COLOR_is_set(  # noqa: N802 - the variable's name
    shell: Shell, variables: dict[str, str], *, coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [BRIDGE, "ingress"],
            cwd=shell.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(shell.folder), **variables},
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            timeout=60,
            check=False,
        )
        os.close(theirs)
        said = read_all(ours)
    finally:
        os.close(ours)
    assert done.returncode == 2
    assert "BRIDGE_TOKENS" in said
    assert ("\x1b[" in said) is coloured


def read_all(terminal: int) -> str:
    """What a terminal got until its other end was closed."""
    found = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux's word for: nobody is at the other end
                raise
            part = b""
        if not part:
            return found.decode()
        found += part


def test_off_a_terminal_nothing_is_coloured(shell: Shell) -> None:
    assert "\x1b[" not in shell.run("ingress").err
