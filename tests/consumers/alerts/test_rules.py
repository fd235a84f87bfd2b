"""When an alert is due, and how errors are told apart."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from consumers.alerts.rules import day_of, hardness, is_fresh, step_due

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


@pytest.mark.parametrize(
    ("code", "diagnostic", "invalid_mailbox", "expected"),
    [
        ("5.1.1", "smtp;550 5.1.1 no such user", False, "hard"),
        ("4.2.2", "", False, "soft"),
        ("", "smtp;451 4.7.1 greylisted", False, "soft"),
        ("", "smtp; 550 no such user", False, "hard"),
        ("450", "", False, "soft"),
        ("5.2.2", "", False, "soft"),  # a full mailbox is emptied
        ("5.2.2", "", True, "hard"),  # unless the sender knows better
        ("4.0.0", "", True, "hard"),
        ("4.4.1", "smtp;550 5.1.1 no such user", False, "soft"),  # the field before the prose
        ("", "", False, "unknown"),
        ("2.0.0", "", False, "unknown"),
        ("", "from 10.5.1.1 connection refused", False, "unknown"),
        ("550 ", "", False, "hard"),
        ("", "smtp;queued since 450 minutes", False, "unknown"),
        ("", "gave up, 5.1.1.", False, "hard"),
        ("5.1.1000", "", False, "unknown"),
    ],
)
def test_hardness_comes_from_the_status_code(
    code: str, diagnostic: str, *, invalid_mailbox: bool, expected: str
) -> None:
    assert hardness(code, diagnostic, invalid_mailbox=invalid_mailbox) == expected
