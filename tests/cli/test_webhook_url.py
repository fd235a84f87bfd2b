"""The token that `bridge up` makes and keeps, and the URLs that follow from it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from bridge.cli.webhook_url import TOKEN_FILE, local_url, webhook_url, with_kept_token
from bridge.errors import ConfigurationError
from bridge.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = "first=a-token-of-sixteen-characters,second=another-token-of-sixteen"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BRIDGE_")]:
        monkeypatch.delenv(name)


def test_a_token_is_made_once_and_kept_for_its_owner_alone() -> None:
    made = with_kept_token(load_settings()).named_tokens
    assert list(made) == ["default"]
    assert stat.S_IMODE(TOKEN_FILE.stat().st_mode) == 0o600
    assert with_kept_token(load_settings()).named_tokens == made


@pytest.mark.parametrize("kept", ["", "short", "two words that are no token"])
def test_a_kept_token_that_is_none_is_refused_and_never_shown(kept: str) -> None:
    """An empty one would be a bridge that anybody can post to."""
    TOKEN_FILE.parent.mkdir()
    TOKEN_FILE.write_text(kept)
    for ask in (with_kept_token, local_url):
        with pytest.raises(ConfigurationError, match="no usable token") as refused:
            ask(load_settings())
        assert not kept or kept not in str(refused.value)


def test_tokens_that_are_set_leave_no_file() -> None:
    settings = load_settings(tokens=TOKENS)
    assert with_kept_token(settings) is settings
    assert not TOKEN_FILE.exists()


def test_the_printed_url_has_the_first_token() -> None:
    settings = load_settings(tokens=TOKENS)
    url = webhook_url(settings, "https://hooks.example.com/")
    assert url == "https://hooks.example.com/hooks/dialog-insight/a-token-of-sixteen-characters"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://127.0.0.1:9000"),
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("::1", "http://[::1]:9000"),
    ],
)
def test_the_url_for_this_machine_is_one_that_can_be_reached(host: str, base: str) -> None:
    url = local_url(load_settings(tokens=TOKENS, host=host, port=9000))
    assert url.startswith(f"{base}/hooks/dialog-insight/")


def test_a_folder_that_cannot_be_written_is_told_with_the_way_out() -> None:
    TOKEN_FILE.parent.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match="set BRIDGE_TOKENS"):
        with_kept_token(load_settings())
