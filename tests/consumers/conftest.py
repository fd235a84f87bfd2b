"""A fresh consumers' database for a test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from consumers.schema import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table; on SQLite not even a file."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'consumers.db'}"
        return
    with _own_database(request.getfixturevalue("postgres"), "template1") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An upgraded database."""
    if request.param == "sqlite":
        empty: Path = request.getfixturevalue("upgraded_sqlite")
        yield f"sqlite:///{shutil.copy(empty, tmp_path / 'consumers.db')}"
        return
    template: str = request.getfixturevalue("upgraded_postgresql")
    with _own_database(request.getfixturevalue("postgres"), template) as url:
        yield url


@pytest.fixture
def sqlite_url(upgraded_sqlite: Path, tmp_path: Path) -> str:
    """An upgraded database on SQLite."""
    return f"sqlite:///{shutil.copy(upgraded_sqlite, tmp_path / 'consumers.db')}"


@pytest.fixture
def postgresql_url(postgres: Postgres, upgraded_postgresql: str) -> Iterator[str]:
    """An upgraded database on PostgreSQL."""
    with _own_database(postgres, upgraded_postgresql) as url:
        yield url


@pytest.fixture(scope="session")
def upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("consumers") / "upgraded.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def upgraded_postgresql(postgres: Postgres) -> Iterator[str]:
    """The name of a database to be copied."""
    with _own_database(postgres, "template1") as url:
        upgrade(url)
        yield url.rpartition("/")[2]


@contextmanager
def _own_database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield f"{postgres.url.rpartition('/')[0]}/{name}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
