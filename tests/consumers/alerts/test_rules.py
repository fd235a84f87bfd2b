"""When an alert is due, and how errors are told apart."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from consumers.alerts.rules import day_of, is_fresh, step_due

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def test_counting_to_twenty_thousand_alerts_at_each_decade_once() -> None:
    alerted = 0
    steps = []
    for count in range(1, 20001):
        step = step_due(count, alerted=alerted)
        if step is not None:
            steps.append((count, step))
            alerted = step

    assert steps == [(1, 1), (10, 10), (100, 100), (1000, 1000), (10000, 10000)]


def test_a_count_that_jumped_over_steps_alerts_the_greatest_only() -> None:
    assert step_due(150, alerted=1) == 100
    assert step_due(150, alerted=100) is None


def test_the_day_begins_at_midnight_of_the_zone() -> None:
    zone = ZoneInfo("America/Toronto")

    assert day_of(datetime(2026, 11, 24, 4, 59, 59, tzinfo=UTC), zone) == date(2026, 11, 23)
    assert day_of(datetime(2026, 11, 24, 5, 0, 0, tzinfo=UTC), zone) == date(2026, 11, 24)


def test_what_is_older_than_a_day_wakes_nobody() -> None:
    assert is_fresh(NOW - timedelta(hours=24), now=NOW)
    assert not is_fresh(NOW - timedelta(hours=24, seconds=1), now=NOW)
    assert is_fresh(NOW + timedelta(hours=3), now=NOW)  # the sender's clock is ahead
