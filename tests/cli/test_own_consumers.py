"""`bridge consume NAME` and `bridge topology apply NAME`: names that lead nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cli import output

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

LOYALTY = """
from consumers import Consumer

consumer = Consumer(group="loyalty")

@consumer.on("contact_created")
async def enroll(notification):
    pass

def make(settings):
    return consumer

number = 5
"""

both_verbs = pytest.mark.parametrize(
    "verb", [("consume",), ("topology", "plan")], ids=["consume", "topology"]
)


@both_verbs
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", ("names no consumer", "suppression")),
        ("supression", ("names no consumer", "suppression")),
        (":consumer", ("names no consumer",)),
        ("loyalty:", ("names no consumer",)),
        ("nowhere:consumer", ("no module 'nowhere'",)),
        ("./nowhere.py:consumer", ("nowhere",)),
        ("loyalty:consumr", ("no 'consumr'",)),
        ("loyalty:number", ("int", "not a Consumer")),
    ],
)
def test_a_name_that_leads_to_no_consumer_is_explained(
    shell: Shell, verb: tuple[str, ...], name: str, words: tuple[str, ...]
) -> None:
    (shell.folder / "loyalty.py").write_text(LOYALTY)
    ended = shell.run(*verb, name)
    assert ended.code == output.MISUSED, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


@pytest.mark.parametrize("name", ["loyalty:consumer", "./loyalty.py:consumer", "loyalty:make"])
def test_a_consumer_of_ones_own_is_found_in_the_working_directory(shell: Shell, name: str) -> None:
    (shell.folder / "loyalty.py").write_text(LOYALTY)
    ended = shell.run("topology", "plan", name, "--json")
    assert ended.code == 0, ended
    assert '"name": "loyalty"' in ended.out


def test_a_consumer_that_cannot_be_imported_is_told_in_one_line_with_the_place(
    shell: Shell,
) -> None:
    (shell.folder / "broken.py").write_text("import not_installed_anywhere\n")
    ended = shell.run("consume", "broken:consumer")
    assert ended.code == output.MISUSED
    assert "broken.py line 1: ModuleNotFoundError" in ended.err
    assert "not_installed_anywhere" in ended.err
    assert len(ended.err.splitlines()) == 1
