"""Migrations: by command, verified at start, the same tables as the consumers define."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, text

from bridge.errors import SchemaOutOfDate, StoreError
from consumers import ledger
from consumers.alerts import state as alerts_tables
from consumers.crm import state as crm_tables
from consumers.engine import database_url as checked_url
from consumers.engine import make_engine
from consumers.schema import UPGRADE_LOCK, VERSION_TABLE, plan, upgrade
from consumers.store import Store
from consumers.suppression import tables as suppression_tables
from tests.services.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_empty_database_is_refused_with_the_command_to_run(
    empty_database_url: str,
) -> None:
    with pytest.raises(SchemaOutOfDate, match="bridge db upgrade"):
        async with Store.open(empty_database_url):
            pass


def test_the_plan_says_what_an_upgrade_does_and_changes_nothing(
    empty_database_url: str, tmp_path: Path
) -> None:
    before = plan(empty_database_url)
    assert before.current is None
    assert before.pending[0].title == "The ledger of handled notifications."
    assert not list(tmp_path.iterdir()), "no file is made by asking"
    assert upgrade(empty_database_url) == before.pending
    after = plan(empty_database_url)
    assert (after.current, after.pending) == (before.head, [])
    assert upgrade(empty_database_url) == [], "again: nothing to do"


async def test_a_database_of_a_newer_release_is_refused(database_url: str) -> None:
    async with Store.open(database_url) as store:
        await store.run(
            lambda c: c.exec_driver_sql("UPDATE bridge_schema_version SET version_num = '9999'")
        )
    with pytest.raises(SchemaOutOfDate, match="newer than this release"):
        async with Store.open(database_url):
            pass
    with pytest.raises(SchemaOutOfDate, match="newer than this release"):
        upgrade(database_url)


def test_two_upgrades_at_once_both_end_well(empty_database_url: str) -> None:
    command = "import sys; from consumers.store import upgrade; print(len(upgrade(sys.argv[1])))"

    def run() -> int:
        done = subprocess.run(
            [sys.executable, "-c", command, empty_database_url],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    steps = len(plan(empty_database_url).pending)
    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(lambda _: run(), range(3))) == [0, 0, steps]


def test_an_upgrade_on_postgresql_waits_for_another(postgresql_url: str) -> None:
    # given an upgrade that is under way, and holds the lock
    engine = make_engine(checked_url(postgresql_url))
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    with engine.connect() as first, ThreadPoolExecutor(1) as threads:
        first.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
        # when a second one starts, then it waits
        second = threads.submit(upgrade, postgresql_url)
        until(lambda: first.execute(waiting).scalar_one() == 1, "the second to wait")
        assert not second.done()
        # and goes on when the first has ended
        first.commit()
        assert second.result(timeout=30) == []
    engine.dispose()


def test_the_migrations_make_the_tables_that_the_consumers_define(database_url: str) -> None:
    engine = make_engine(checked_url(database_url))
    defined = MetaData()
    for module in (ledger, suppression_tables, crm_tables, alerts_tables):
        for table in module.METADATA.tables.values():
            table.to_metadata(defined)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda item, *_: getattr(item, "name", "") != VERSION_TABLE,
            },
        )
        differences = compare_metadata(context, defined)
    engine.dispose()
    assert differences == []


def test_keys_on_postgresql_are_compared_by_code_point_whatever_its_locale(
    postgresql_url: str,
) -> None:
    engine = make_engine(checked_url(postgresql_url))
    compared = ("group_name", "project", "address_key", "event_id", "kind", "subject", "scope")
    keys = text(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns "
        "WHERE (table_name LIKE 'suppression%' OR table_name LIKE 'handled%') "
        "AND column_name = ANY(:compared)"
    ).bindparams(compared=list(compared))
    with engine.connect() as connection:
        found = connection.execute(keys).all()
    engine.dispose()
    assert {row.table_name for row in found} >= {"handled_notifications", "suppression_entries"}
    assert {row.collation_name for row in found} == {"C"}


def test_another_application_s_migrations_in_the_same_database_are_left_alone(
    empty_database_url: str,
) -> None:
    # given a database in which another application keeps Alembic's own table
    engine = make_engine(checked_url(empty_database_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('theirs')")
    # when ours is upgraded
    assert upgrade(empty_database_url)
    # then theirs is as it was
    with engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
        assert found.all() == ["theirs"]
    engine.dispose()


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "consumers.db"

    upgrade(f"sqlite:///{file}")

    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"cannot make .*consumers\.db"):
        upgrade(f"sqlite:///{tmp_path}/file/consumers.db")
