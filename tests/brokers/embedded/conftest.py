"""A log of this test's own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from pydantic import SecretStr

from bridge.settings import Settings
from tests.brokers.bench import LANES, Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "bridge.db"


@pytest.fixture
def settings(log: Path) -> Settings:
    return Settings(
        broker_url=SecretStr(f"sqlite:///{log}"),
        embedded_lanes=LANES,
        embedded_min_free_bytes=0,
        consume_drain_timeout=5.0,
    )


@pytest.fixture
def bench(settings: Settings) -> Bench:
    return Bench(settings)


@contextmanager
def child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, from the modules beside this one; killed at the end."""
    command = [sys.executable, "-m", f"tests.brokers.embedded.{module}", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def overwrite(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change the bytes of a file in place."""
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def execute(path: Path, statement: str, bindings: tuple[int, ...] = ()) -> Any:
    """One statement on a file, from outside; its one value or row."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(statement, bindings).get
    finally:
        connection.close()


def changed(bench: Bench, **settings: object) -> Bench:
    """The same log with other settings."""
    return Bench(bench.settings.model_copy(update=settings))
