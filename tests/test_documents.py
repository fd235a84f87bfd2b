"""What the documents say is what the code does: settings, headers, commands, files, links."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from pydantic import SecretStr

from bridge import message as wire
from bridge.brokers.kafka import layout as kafka_layout
from bridge.cli.application import application
from bridge.settings import Settings
from bridge.sources import json_scanner
from bridge.sources.malformed import Reason
from bridge.topics import KNOWN_TYPES, Group, Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FIRST_SCREEN_LINES = 50

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"\bBRIDGE_[A-Z0-9_]*[A-Z0-9]\b")

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table(name: str, first_heading: str) -> list[list[str]]:
    """The rows of every table in a document whose first column has this heading."""
    rows: list[list[str]] = []
    wanted = False
    previous = ""
    for line in text_of(name).splitlines():
        if not line.startswith("|"):
            wanted = False
        elif re.fullmatch(r"\|(-+\|)+", line):
            wanted = previous.split("|")[1].strip() == first_heading
        elif wanted:
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        previous = line
    # The heading of a table that follows another one directly is no row; there is none such.
    assert rows, f"{name} has no table with the first column {first_heading!r}"
    return rows


def names_in(cell: str) -> list[str]:
    return _SPAN.findall(cell)


def as_written(value: object) -> str:
    """A default as the documents write it."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ((), ""):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`"


def test_every_setting_has_its_row_with_its_default_and_every_row_its_setting() -> None:
    documented = {names_in(row[0])[0]: row[1] for row in table("README.md", "Variable")}
    settings = {
        f"BRIDGE_{name.upper()}": as_written(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert documented == settings


@every_document
def test_every_variable_that_a_document_names_is_a_setting(path: Path) -> None:
    known = {f"BRIDGE_{name.upper()}" for name in Settings.model_fields} | {"BRIDGE_CONFIG"}
    for variable in _VARIABLE.findall(path.read_text(encoding="utf-8")):
        if not variable.startswith("BRIDGE_TEST_"):
            assert variable in known or variable.removesuffix("_FILE") in known


def test_the_contract_names_every_header_and_no_other() -> None:
    documented = [name for row in table("docs/contract.md", "Header") for name in names_in(row[0])]
    constants = {
        value
        for name, value in vars(wire).items()
        if name.startswith(("CE_", "DEAD_", "REPLAYED_")) and isinstance(value, str)
    }
    mentioned_below_the_tables = {wire.REPLAYED_TIME}
    assert len(documented) == len(set(documented))
    assert set(documented) | mentioned_below_the_tables == constants | {
        wire.CONTENT_TYPE,
        wire.TRACEPARENT,
    }
    assert f"`{wire.REPLAYED_TIME}`" in text_of("docs/contract.md")


def test_the_contract_names_every_topic_and_no_other() -> None:
    documented = {name for row in table("docs/contract.md", "Topic") for name in names_in(row[0])}
    documented = {name for name in documented if name.startswith("<prefix>")}
    published = {name.replace("notifications", "<prefix>", 1) for name in Topics().published}
    assert documented == published | {"<prefix>.<type>"}
    assert len(KNOWN_TYPES) == 8


def test_the_contract_names_every_reason_of_malformed_bodies_and_no_other() -> None:
    rows = table("docs/contract.md", "`ce_malformedreason`")
    assert [names_in(row[0])[0] for row in rows] == [str(reason) for reason in Reason]
    said = {names_in(row[0])[0]: row[1] for row in rows}
    assert f"{json_scanner.MAX_ELEMENTS:,}" in said[Reason.TOO_MANY_ELEMENTS]
    assert f"{json_scanner.MAX_CONTAINERS:,}" in said[Reason.TOO_COMPLEX]
    assert f" {json_scanner.MAX_DEPTH} " in said[Reason.TOO_DEEP]
    assert f"{json_scanner.MAX_DIGITS:,}" in said[Reason.NUMBER_TOO_LONG]
    assert f"{wire.MAX_ELEMENT_BYTES // 1024} KiB" in said[Reason.TOO_LARGE]


def test_the_contract_says_how_topics_are_set_on_kafka() -> None:
    topics = Topics()
    wanted = kafka_layout.wanted(Settings(), [Group("crm", frozenset(KNOWN_TYPES))], 3)
    specs = {spec.name: spec for spec in wanted}
    rows = {row[0]: row[1:] for row in table("docs/contract.md", "Topic") if len(row) == 5}
    names = {
        "each type, `unknown`, `test`, `retry.<group>`": (
            *topics.by_type.values(),
            topics.unknown,
            topics.test,
            topics.retry("crm"),
        ),
        "`malformed`": (topics.malformed,),
        "`dead.<group>`": (topics.dead("crm"),),
        "`groups`": (kafka_layout.groups_topic(topics),),
    }
    assert set(rows) == set(names)
    assert {name for part in names.values() for name in part} == set(specs)
    for row, part in names.items():
        for name in part:
            spec = specs[name]
            said = [cell.split(" ")[0].strip("`") for cell in rows[row]]
            assert said == [
                str(spec.partitions),
                spec.configs.get("retention.ms", ""),
                spec.configs["max.message.bytes"],
                spec.configs["cleanup.policy"],
            ]
            assert spec.configs["min.insync.replicas"] == "2"


def commands(text: str) -> Iterator[list[str]]:
    """Every `bridge ...` command in code, as its words after `bridge`."""
    blocks = [line for _, block in _FENCE.findall(text) for line in block.splitlines()]
    spans = _SPAN.findall(_FENCE.sub("", text))
    for code in (*blocks, *spans):
        found = re.match(r"(?:\w+=\S+ )*(?:\.venv/bin/)?bridge (.*)", code.strip())
        if found:
            yield shlex.split(found[1], comments=True)


def check_command(words: list[str]) -> None:
    """Walk down the verbs; then every option named must be one of the last verb's."""
    command: Any = typer.main.get_command(application)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"bridge {' '.join(words)}: no verb {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    for word in rest:
        if word.startswith("-"):
            assert word.split("=")[0] in options | {"--help"}, f"bridge {' '.join(words)}: {word}"


@every_document
def test_every_command_that_a_document_shows_exists(path: Path) -> None:
    for words in commands(path.read_text(encoding="utf-8")):
        check_command(words)


def test_commands_are_found_in_the_readme() -> None:
    found = [" ".join(words) for words in commands(text_of("README.md"))]
    assert "send --all --real" in found
    assert "tail" in found


def test_every_file_that_the_readme_lists_is_there() -> None:
    named = [name for row in table("README.md", "File") for name in names_in(row[0])]
    assert len(named) >= 8
    for name in named:
        assert (ROOT / name).exists(), name


@every_document
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        leads_to = (path.parent / file).resolve() if file else path
        assert leads_to.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", leads_to.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_what_it_is_and_how_to_run_it_fit_on_the_first_screen_of_the_readme() -> None:
    first_screen = text_of("README.md").splitlines()[:FIRST_SCREEN_LINES]
    for sentence in ("make run", "bridge send --all --real", "docker compose up", "kafka://"):
        assert any(sentence in line for line in first_screen), sentence
