"""The command of Compose's `token` service, run as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bridge.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.compose import Compose

GIVEN = "given-token-0123456789"


@pytest.fixture(scope="module")
def script(compose: Compose) -> str:
    service = compose.services("kafka")["token"]
    assert service["entrypoint"] == ["python3", "-c"]
    (text,) = service["command"]
    assert isinstance(text, str)
    return text


def run(script: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "BRIDGE_PUBLIC_URL": "http://127.0.0.1:8080", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_it_makes_a_token_keeps_it_and_prints_the_url(script: str, tmp_path: Path) -> None:
    first = run(script, tmp_path)
    second = run(script, tmp_path)

    token = (tmp_path / "var" / "token").read_text(encoding="utf-8").strip()
    assert first == second
    assert first.endswith(f"  http://127.0.0.1:8080/hooks/dialog-insight/{token}\n")
    assert (tmp_path / "var" / "token").stat().st_mode & 0o077 == 0


def test_the_ingress_takes_the_kept_token_unless_one_is_given(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(script, tmp_path)
    monkeypatch.chdir(tmp_path)
    # As the Compose file sets them for the ingress, whether a token is given or not.
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", "var/token")
    monkeypatch.setenv("BRIDGE_TOKENS", "")
    kept = (tmp_path / "var" / "token").read_text(encoding="utf-8").strip()
    assert dict(Settings().named_tokens) == {"default": kept}

    monkeypatch.setenv("BRIDGE_TOKENS", f"production={GIVEN}")
    assert dict(Settings().named_tokens) == {"production": GIVEN}


def test_with_a_token_given_that_one_is_in_the_url_and_the_ingress_still_finds_its_file(
    script: str, tmp_path: Path
) -> None:
    printed = run(script, tmp_path, BRIDGE_TOKENS=f"production={GIVEN}")

    assert printed.endswith(f"/hooks/dialog-insight/{GIVEN}\n")
    assert (tmp_path / "var" / "token").exists()
