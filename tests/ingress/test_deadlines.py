"""Deadlines by sweep: they end a task's wait, and never swallow another's cancellation."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from structlog.testing import capture_logs

from bridge import telemetry
from bridge.ingress.deadlines import Deadlines, sweeping
from tests.ingress.rig import PATIENCE


async def test_a_deadline_that_passes_is_a_timeout() -> None:
    deadlines = Deadlines()
    async with sweeping(deadlines.sweep):
        with pytest.raises(TimeoutError), deadlines.at(monotonic()):
            await asyncio.Event().wait()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert not deadlines._open


async def test_a_deadline_that_is_kept_changes_nothing() -> None:
    deadlines = Deadlines()
    with deadlines.at(monotonic() + 100):
        deadlines.sweep()
        await asyncio.sleep(0)
    assert not deadlines._open


async def test_an_error_inside_stays_itself() -> None:
    deadlines = Deadlines()
    with pytest.raises(ValueError, match="inside"), deadlines.at(monotonic() + 100):
        raise ValueError("inside")
    assert not deadlines._open


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    deadlines = Deadlines()

    async def wait() -> None:
        with deadlines.at(monotonic() + 100):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines._open


async def test_a_cancellation_wins_over_a_deadline_of_the_same_moment() -> None:
    deadlines = Deadlines()

    async def wait() -> None:
        with deadlines.at(monotonic() - 1):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    deadlines.sweep()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_cancels_only_once() -> None:
    deadlines = Deadlines()
    cleaned = False

    async def wait() -> None:
        nonlocal cleaned
        with deadlines.at(monotonic() - 1):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                cleaned = True

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    deadlines.sweep()
    await asyncio.sleep(0)
    deadlines.sweep()
    with pytest.raises(TimeoutError):
        await task
    assert cleaned


async def test_a_sweep_that_fails_is_logged_and_is_not_the_last() -> None:
    swept = 0
    twice = asyncio.Event()

    def sweep() -> None:
        nonlocal swept
        swept += 1
        if swept == 2:
            twice.set()
        raise RuntimeError("anna@example.org")

    with capture_logs() as lines:
        async with sweeping(sweep), asyncio.timeout(PATIENCE):
            await twice.wait()

    assert [line["event"] for line in lines] == [telemetry.SWEEP_FAILED] * 2
    assert "anna" not in str(lines)
