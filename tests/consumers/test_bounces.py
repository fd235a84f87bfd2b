"""How final a bounce is."""

import pytest

from consumers.bounces import hardness


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
