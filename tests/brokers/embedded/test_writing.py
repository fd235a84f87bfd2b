"""The log's one writer: synced, all or nothing, and never a word after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw
import pytest
from pydantic import SecretStr

from bridge.brokers.embedded.connections import refuse_old_library
from bridge.errors import BrokerUnavailable, PublishRejected, StorageFailed
from bridge.settings import Settings
from tests.brokers.bench import Bench, group
from tests.brokers.embedded.conftest import changed, overwrite
from tests.brokers.embedded.files import faulty_disk
from tests.brokers.faults import EmbeddedFaults


async def test_every_confirm_comes_after_a_sync(bench: Bench) -> None:
    await bench.apply(group())
    with faulty_disk() as disk:
        async with bench.publisher() as publisher:
            for _ in range(5):
                before = disk.syncs
                await publisher.publish([bench.message()])
                assert disk.syncs > before


async def test_requests_that_wait_share_one_sync(bench: Bench) -> None:
    await bench.apply(group())
    with faulty_disk() as disk:
        async with bench.publisher() as publisher:
            before = disk.syncs
            async with asyncio.TaskGroup() as tasks:
                for _ in range(100):
                    tasks.create_task(publisher.publish([bench.message()]))
            assert disk.syncs - before < 50


async def test_after_a_failed_sync_nothing_is_confirmed_any_more(bench: Bench) -> None:
    await bench.apply(group())
    with faulty_disk() as disk:
        async with bench.publisher() as publisher:
            await publisher.publish([bench.message("before")])
            disk.sync_fails = True
            with pytest.raises(StorageFailed):
                await publisher.publish([bench.message("during")])

            disk.sync_fails = False
            for _ in range(3):
                with pytest.raises(StorageFailed):
                    await publisher.publish([bench.message("after")])

    async with bench.replica(group()) as replica:
        await replica.has("before")
        assert "after" not in replica.ids


async def test_a_full_disk_is_a_clean_refusal(bench: Bench) -> None:
    await bench.apply(group())
    with faulty_disk() as disk:
        async with bench.publisher() as publisher:
            await publisher.publish([bench.message("before")])
            disk.full = True
            with pytest.raises(PublishRejected, match="no space"):
                await publisher.publish([bench.message("during"), bench.message("during too")])
            disk.full = False
            await publisher.publish([bench.message("after")])

    async with bench.replica(group()) as replica:
        await replica.has("before", "after")
        assert sorted(replica.ids) == ["after", "before"]


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.0"])
def test_a_library_that_can_corrupt_its_log_is_refused(version: str) -> None:
    with pytest.raises(StorageFailed, match="too old"):
        refuse_old_library(version)
    refuse_old_library("3.51.3")


async def test_the_floor_of_free_space_is_kept(bench: Bench) -> None:
    await bench.apply(group())
    async with changed(bench, embedded_min_free_bytes=2**60).broker.publisher() as publisher:
        with pytest.raises(PublishRejected, match="embedded_min_free_bytes"):
            await publisher.publish([bench.message()])
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("room again")])


async def test_the_size_cap_is_kept_and_nothing_confirmed_is_lost(bench: Bench) -> None:
    await bench.apply(group())
    confirmed: list[str] = []
    async with changed(bench, embedded_max_bytes=1024 * 1024).broker.publisher() as publisher:
        for n in range(40):
            with contextlib.suppress(PublishRejected):
                await publisher.publish([bench.message(f"{n}", body=b"x" * 50_000)])
                confirmed.append(f"{n}")
        with pytest.raises(PublishRejected, match="embedded_max_bytes"):
            await publisher.publish([bench.message("over", body=b"x" * 50_000)])
    assert 10 < len(confirmed) < 22

    async with bench.replica(group()) as replica:
        await replica.has(*confirmed)
        assert sorted(replica.ids) == sorted(confirmed)


async def test_what_waited_behind_a_stalled_disk_is_withdrawn_and_never_stored(
    bench: Bench, log: Path
) -> None:
    await bench.apply(group())
    quick = changed(bench, publish_timeout=0.3)
    async with quick.publisher() as publisher:
        async with EmbeddedFaults(log).frozen():
            first = asyncio.create_task(publisher.publish([quick.message("taken")]))
            # The writer has taken it once the second is left alone in the queue.
            await asyncio.wait([first], timeout=0.2)
            with pytest.raises(PublishRejected):
                await publisher.publish([quick.message("withdrawn")])
            await asyncio.gather(first, return_exceptions=True)
        async with bench.replica(group()) as replica:
            await replica.has("taken")
            assert "withdrawn" not in replica.ids


async def test_a_second_publisher_is_refused_and_says_why(bench: Bench) -> None:
    await bench.apply()
    async with bench.publisher() as publisher:
        with pytest.raises(BrokerUnavailable, match=rf"pid {os.getpid()}.*one ingress"):
            async with bench.broker.publisher():
                pass
        await publisher.publish([bench.message()])
    async with bench.publisher():
        pass


async def test_a_second_publisher_in_another_process_is_refused(bench: Bench, log: Path) -> None:
    await bench.apply()
    async with bench.publisher():
        child = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.brokers.embedded.publishing", f"sqlite:///{log}", "0"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert child.returncode != 0
    assert "is written by another process" in child.stderr
    assert child.stdout == ""


async def test_a_damaged_log_is_refused_at_the_start(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(body=b"x" * 500) for _ in range(200)])

    def scribble(content: bytearray) -> None:
        for offset in range(4096 * 3, len(content), 4096):
            content[offset : offset + 64] = b"\xff" * 64

    overwrite(log, scribble)
    with pytest.raises(StorageFailed):
        async with bench.broker.publisher():
            pass


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 500])
async def test_a_file_of_something_else_is_refused_and_left_as_it_is(
    bench: Bench, log: Path, content: bytes
) -> None:
    await bench.apply()
    overwrite(log, lambda old: old.__setitem__(slice(None), content))
    with pytest.raises(StorageFailed):
        async with bench.broker.publisher():
            pass
    found: list[bytes] = []
    overwrite(log, lambda old: found.append(bytes(old)))
    assert found == [content]


async def test_a_log_of_a_newer_version_is_refused(bench: Bench, log: Path) -> None:
    await bench.apply()
    with apsw.Connection(str(log)) as connection:
        connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(StorageFailed, match="format 99"):
        async with bench.broker.publisher():
            pass


def publish_as_nobody(log: Path) -> subprocess.CompletedProcess[str]:
    """Root writes everywhere: a child without its rights tries."""
    program = (
        "import asyncio, os, sys\n"
        "import bridge.brokers.embedded\n"
        "from tests.brokers.embedded.publishing import main\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "asyncio.run(main(sys.argv[1], '0'))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{log}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("folder_mode", "file_mode"), [(0o555, 0o444), (0o555, 0o666), (0o000, 0o666), (0o777, 0o444)]
)
def test_files_that_cannot_be_written_are_refused(folder_mode: int, file_mode: int) -> None:
    # Not under tmp_path, whose parents are closed to others.
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log" / "bridge.db"
        bench = Bench(Settings(broker_url=SecretStr(f"sqlite:///{log}")))
        asyncio.run(bench.apply())
        Path(name).chmod(0o755)
        log.chmod(file_mode)
        log.parent.chmod(folder_mode)
        child = publish_as_nobody(log)
        log.parent.chmod(0o755)

    assert child.returncode != 0
    assert child.stdout == ""
    assert "bridge.errors.StorageFailed" in child.stderr.splitlines()[-1]


async def test_the_files_can_be_read_by_their_owner_only(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    async with bench.publisher():
        files = [log, log.with_name("bridge.db-wal"), log.with_suffix(".d") / "loyalty.db"]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3


async def test_the_write_ahead_log_stays_small_while_replicas_read(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    biggest = 0
    async with bench.publisher() as publisher, bench.replica(group(), limit=100) as replica:
        last = ""
        for n in range(60):
            batch = [bench.message(f"{n}-{i}", body=b"x" * 8_000) for i in range(100)]
            await publisher.publish(batch)
            last = f"{n}-99"
            biggest = max(biggest, log.with_name("bridge.db-wal").stat().st_size)
        await replica.has(last)
    # 48 MB went through it. 16 MB are its usual size; readers may hold a checkpoint back a little.
    assert biggest < 40 * 1024 * 1024
