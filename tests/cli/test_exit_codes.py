"""How commands end: the exit codes of `bridge.cli.output`, with one line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cli import output

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Shell

SECRET = "s3cret-and-more"
TOKEN = "a-token-of-sixteen-characters-or-more"
NOBODY_THERE = {
    "kafka": "kafka://127.0.0.1:1",
    "rabbitmq": f"amqp://guest:{SECRET}@127.0.0.1:1/",
}
ASKING = [("lag",), ("topology", "plan"), ("dead", "list", "crm")]

broker = pytest.mark.parametrize("url", NOBODY_THERE.values(), ids=NOBODY_THERE.keys())


def refused(ended: Ended, code: int, *words: str) -> None:
    """It ended with this code, and with one line on stderr that holds these words."""
    assert ended.code == code, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert SECRET not in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ended.err
    assert ended.err.rstrip().splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0]


def test_the_table_of_exit_codes_is_the_constants() -> None:
    documented = {
        int(line.split("|")[1])
        for line in (output.__doc__ or "").splitlines()
        if line.startswith("| ") and line.split("|")[1].strip().isdigit()
    }
    assert documented == {
        0,
        output.FAILED,
        output.MISUSED,
        output.UNREACHABLE,
        output.NOT_PREPARED,
        output.ANSWER_IS_NO,
        output.INTERRUPTED,
    }


@broker
@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_a_broker_that_is_not_there_is_told_in_one_line(
    shell: Shell, url: str, command: tuple[str, ...]
) -> None:
    refused(shell.run(*command, BRIDGE_BROKER_URL=url), output.UNREACHABLE, "cannot connect")


@broker
def test_a_consumer_whose_broker_is_not_there_ends(shell: Shell, url: str) -> None:
    assert shell.run("db", "upgrade").code == 0
    ended = shell.run("consume", "suppression", BRIDGE_BROKER_URL=url, BRIDGE_ADMIN_PORT="0")
    refused(ended, output.UNREACHABLE, "cannot connect")


def test_a_database_that_is_not_there_is_told_without_its_password(shell: Shell) -> None:
    url = f"postgresql://bridge:{SECRET}@127.0.0.1:1/bridge"
    for command in (("suppression", "list"), ("db", "upgrade")):
        ended = shell.run(*command, BRIDGE_DATABASE_URL=url)
        assert ended.code == output.UNREACHABLE
        assert ended.err.startswith("error: ")
        assert SECRET not in ended.err
        assert "Traceback" not in ended.err


def test_a_sender_without_an_answer_fails(shell: Shell) -> None:
    ended = shell.run("send", "contact_optout", "--to", "http://127.0.0.1:1/hooks/x")
    assert ended.code == output.FAILED
    assert "no answer" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    "command",
    [("ingress",), ("lag",), ("dead", "list", "crm"), ("tail", "-n", "1")],
    ids=" ".join,
)
def test_a_missing_topology_is_told_with_the_command_that_makes_it(
    shell: Shell, command: tuple[str, ...]
) -> None:
    ended = shell.run(*command, BRIDGE_TOKENS=TOKEN, BRIDGE_PORT="0", BRIDGE_ADMIN_PORT="0")
    refused(ended, output.NOT_PREPARED, "bridge topology apply")


def test_a_consumer_without_its_topology_is_told_the_command(shell: Shell) -> None:
    assert shell.run("db", "upgrade").code == 0
    ended = shell.run("consume", "suppression", BRIDGE_ADMIN_PORT="0")
    refused(ended, output.NOT_PREPARED, "bridge topology apply")


@pytest.mark.parametrize(
    "command",
    [("suppression", "list"), ("consume", "suppression"), ("consume", "crm")],
    ids=" ".join,
)
def test_a_missing_schema_is_told_with_the_command_that_makes_it(
    shell: Shell, command: tuple[str, ...]
) -> None:
    ended = shell.run(*command, BRIDGE_ADMIN_PORT="0")
    refused(ended, output.NOT_PREPARED, "bridge db upgrade")


def test_a_suppressed_address_is_a_no_and_another_a_yes(shell: Shell) -> None:
    assert shell.run("db", "upgrade").code == 0
    ended = shell.run("suppression", "check", "jane.doe@example.com")
    assert ended.code == 0
    assert "may be sent to" in ended.out


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"BRIDGE_BROKERURL": "x"}, ("BRIDGE_BROKERURL", "did you mean BRIDGE_BROKER_URL?")),
        ({"BRIDGE_NONSENSE": SECRET}, ("BRIDGE_NONSENSE", "unknown")),
        ({"BRIDGE_PORT": "http"}, ("BRIDGE_PORT",)),
        ({"BRIDGE_TOKENS": "short"}, ("BRIDGE_TOKENS", "16")),
        ({"BRIDGE_TOPIC_PREFIX": "a b"}, ("BRIDGE_TOPIC_PREFIX",)),
        ({"BRIDGE_TOKENS_FILE": "missing"}, ("BRIDGE_TOKENS_FILE", "missing")),
        ({"BRIDGE_CONFIG": "missing.toml"}, ("BRIDGE_CONFIG", "missing.toml")),
        ({"BRIDGE_BROKER_URL": f"redis://me:{SECRET}@there"}, ("BRIDGE_BROKER_URL", "kafka://")),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_a_setting_that_cannot_work_is_named_and_its_value_is_not_shown(
    shell: Shell, variables: dict[str, str], words: tuple[str, ...]
) -> None:
    refused(shell.run("lag", **variables), output.MISUSED, *words)


def test_an_ingress_without_tokens_does_not_start(shell: Shell) -> None:
    refused(shell.run("ingress"), output.MISUSED, "BRIDGE_TOKENS")


def test_a_sender_without_a_token_is_told_what_to_set(shell: Shell) -> None:
    refused(shell.run("send", "contact_optout"), output.MISUSED, "BRIDGE_TOKENS", "--to")


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("contact_optout", "--all")])
def test_a_sender_without_types_or_with_unknown_ones_is_told_which_there_are(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    refused(shell.run("send", *arguments), output.MISUSED, "contact_quarantine")


def test_a_group_that_is_not_there_is_told(shell: Shell) -> None:
    assert shell.run("topology", "apply").code == 0
    refused(shell.run("lag", "loyalty"), output.MISUSED, "loyalty")


def test_dead_letters_are_not_removed_without_saying_which(shell: Shell) -> None:
    assert shell.run("topology", "apply").code == 0
    refused(shell.run("dead", "discard", "crm", "--yes"), output.MISUSED, "--all")


def test_what_cannot_be_undone_asks_first_and_takes_silence_for_no(shell: Shell) -> None:
    assert shell.run("topology", "apply").code == 0
    for command in (("topology", "remove", "crm"), ("dead", "discard", "crm", "--all")):
        ended = shell.run(*command)
        assert ended.code == output.FAILED
        assert "for good" in ended.err or "Remove the group" in ended.err
    assert shell.run("topology", "plan", "--json").out == ""


@pytest.mark.parametrize("arguments", [("nonsense",), ("lag", "--nonsense"), ("send", "-n", "0")])
def test_a_verb_or_option_that_does_not_exist_is_misuse(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    ended = shell.run(*arguments)
    assert ended.code == output.MISUSED
    assert ended.out == ""
    assert "Traceback" not in ended.err


def test_a_group_that_is_not_there_is_told_from_one_without_dead_letters(shell: Shell) -> None:
    assert shell.run("topology", "apply").code == 0
    refused(shell.run("dead", "list", "cmr"), output.MISUSED, "alerts, crm, suppression")
    assert shell.run("dead", "list", "crm").code == 0


@pytest.mark.parametrize("command", [("replay",), ("discard", "--yes")])
def test_ids_that_are_not_there_are_counted_and_told(
    shell: Shell, command: tuple[str, ...]
) -> None:
    assert shell.run("topology", "apply").code == 0
    verb, *options = command
    ended = shell.run("dead", verb, "crm", "no-such-id", "--json", *options)
    assert ended.code == output.FAILED
    assert "1 of these ids are not there" in ended.err
    assert ended.out.strip().endswith("0}")
