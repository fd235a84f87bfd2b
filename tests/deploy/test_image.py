"""The Dockerfile, as far as it can be judged without building it."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

from typer.main import get_command

from bridge.cli.application import application
from bridge.ingress.admin import admin_app
from bridge.ingress.health import Health
from bridge.ingress.listener import listen
from tests.deploy.repository import ROOT, known, variables

if TYPE_CHECKING:
    from pathlib import Path

# One instruction on one line, without comments.
DOCKERFILE = re.sub(
    r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
)


def instructions(name: str) -> list[str]:
    """What follows each instruction of this name."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def test_hadolint_has_nothing_to_say(hadolint: Path) -> None:
    done = subprocess.run(
        [str(hadolint), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_process_itself_gets_the_signals() -> None:
    """Exec form: a shell in between would keep SIGTERM to itself, and nothing would drain."""
    assert [json.loads(text) for text in instructions("ENTRYPOINT")] == [["bridge"]]
    assert [json.loads(text) for text in instructions("CMD")][-1] == ["up"]
    assert "up" in getattr(get_command(application), "commands")  # noqa: B009 - typed as Command


def test_the_user_is_a_number_that_is_not_root() -> None:
    """By a name alone an orchestrator cannot tell that it is not root."""
    assert instructions("USER") == ["10001:10001"]


def test_the_working_directory_is_the_volume() -> None:
    assert (
        instructions("VOLUME") == instructions("WORKDIR")[-1:] == ["/var/lib/notification-bridge"]
    )


def test_no_registry_and_no_index_is_named() -> None:
    assert instructions("ARG")[0] == "BASE_IMAGE=python:3.11-slim-bookworm"
    assert "://" not in DOCKERFILE
    assert "index-url" not in DOCKERFILE


def test_every_installed_package_is_pinned_by_hash() -> None:
    installs = re.findall(r"pip[^&]* install [^&]*", DOCKERFILE)
    assert len(installs) == 3

    for install in installs:
        assert "--require-hashes" in install or "--no-deps /wheels/" in install, install
    for name in ("requirements.txt", "requirements-build.txt"):
        pins = re.findall(
            r"^[\w.-]+==.*?(?=^\S|\Z)", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL
        )
        assert pins, name
        assert all("--hash=sha256:" in pin for pin in pins), name


def test_the_build_set_holds_what_the_project_builds_with() -> None:
    """Without isolation pip takes what is there: a missing backend would end the image's build."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pinned = re.findall(
        r"^([\w.-]+)==", (ROOT / "requirements-build.txt").read_text(), re.MULTILINE
    )

    assert {re.split(r"[<>=~ ]", requirement)[0] for requirement in wanted} <= set(pinned)


def test_what_is_copied_exists_and_is_in_the_build_context() -> None:
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    ]
    assert copied

    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


def test_every_setting_that_it_names_exists() -> None:
    assert {"BRIDGE_HOST", "BRIDGE_ADMIN_HOST"} <= variables(DOCKERFILE)
    assert [name for name in sorted(variables(DOCKERFILE)) if not known(name)] == []


async def test_its_health_check_asks_whether_the_role_is_ready() -> None:
    (text,) = instructions("HEALTHCHECK")
    check = json.loads(text.partition("CMD ")[2])
    assert check[:2] == ["python3", "-c"]

    async def verdict(port: int) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *check[1:],
            # A proxy of the environment must not be asked for an address of this container.
            env={
                "PATH": os.environ["PATH"],
                "BRIDGE_ADMIN_PORT": str(port),
                "http_proxy": "http://127.0.0.1:1",
            },
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()

    health = Health()
    async with listen(admin_app(health), host="127.0.0.1", port=0, receive_timeout=5) as listener:
        port = listener.port
        assert await verdict(port) == 1
        health.started = True
        assert await verdict(port) == 0
        health.draining = True
        assert await verdict(port) == 1
    assert await verdict(port) == 1
